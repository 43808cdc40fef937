"""c = act(a b + bias) and the gradient of its epilogue: the tiles, the kernels and their launchers."""

from .epilogue import matmul_epilogue_backward
from .product import matmul, matmul_reference
from .tiles import Tile, pick_tile

__all__ = ["Tile", "matmul", "matmul_epilogue_backward", "matmul_reference", "pick_tile"]
