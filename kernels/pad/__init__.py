"""pad and its gradient."""

from .backward import pad_backward, pad_backward_reference
from .forward import pad, pad_reference
from .geometry import MODES

__all__ = ["MODES", "pad", "pad_backward", "pad_backward_reference", "pad_reference"]
