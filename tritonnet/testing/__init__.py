"""check: is a function right, in every size, dtype and layout, and does it touch nothing else?"""

from ._check import check

__all__ = ["check"]
