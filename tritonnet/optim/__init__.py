"""Optimizers: torch.optim's names and state dicts, one Triton launch a step."""

from .adam import Adam, AdamW

__all__ = ["Adam", "AdamW"]
