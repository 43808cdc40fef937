"""c = act(a b + bias): the tiles, the kernel and its launcher."""

from .product import matmul, matmul_reference
from .tiles import Tile, pick_tile

__all__ = ["Tile", "matmul", "matmul_reference", "pick_tile"]
