"""torch.nn.utils.stateless: functional_call under its older path."""

from ...module import functional_call

__all__ = ["functional_call"]
