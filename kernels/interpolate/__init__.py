"""interpolate and its gradient."""

from .backward import interpolate_backward, interpolate_backward_reference
from .forward import interpolate, interpolate_reference

__all__ = ["interpolate", "interpolate_backward", "interpolate_backward_reference", "interpolate_reference"]
