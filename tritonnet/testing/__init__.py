"""check: is a function right, in every size, dtype and layout, and does it touch nothing else?"""

from ._check import check
from ._memory import LAYOUTS

__all__ = ["LAYOUTS", "check"]
