"""The tiles of the convolution kernels: a block of pixels by a block of channels."""

from dataclasses import dataclass

import torch

from .._tune import Target, measured


@dataclass(frozen=True)
class Tile:
    """BLOCK_M pixels by BLOCK_K output channels by BLOCK_C input channels, or (c, r, s) where channels are few."""

    BLOCK_M: int
    BLOCK_K: int
    BLOCK_C: int
    num_warps: int
    num_stages: int


@dataclass(frozen=True)
class DirectTile:
    """BLOCK_M pixels by BLOCK_K channels, multiplied element by element."""

    BLOCK_M: int
    BLOCK_K: int
    num_warps: int


_LARGEST = {
    ("cpu", "conv2d"): Tile(128, 64, 64, 4, 1),
    ("cpu", "conv2d_grad_weight"): Tile(128, 64, 64, 4, 1),
    ("gpu", "conv2d"): Tile(128, 128, 64, 8, 3),
    ("gpu", "conv2d_grad_weight"): Tile(64, 128, 64, 8, 3),
}
"""The largest tiles, on a GPU for 2-byte operands: wider ones take blocks of the reduction of as many bytes."""
_LEAST = {"cpu": 8, "gpu": 16}
"""The smallest block of channels: what `tl.dot` takes on a GPU, the rows of a CPU's innermost product."""
_DIRECT = {"cpu": 4096, "gpu": 2048}
"""Elements of a direct tile."""
_LEAST_BLOCKS = 4
"""Blocks of pixels that a part of a split sum has at least."""


def pick_tile(
    op: str,
    M: int,
    K: int,
    C: int,
    flat: bool,
    dtype: torch.dtype,
    target: Target,
    layout: str = "",
    operands: tuple[torch.dtype, ...] = (),
    far: bool = False,
) -> Tile:
    """The tile of `op` for M pixels and a reduction over, or a product with, C columns; flat: these are (c, r, s).

    dtype: of the products; operands: those that are read, where they are others; far: with offsets of 64 bits.
    A measured one if there is (sizes M, K, C under its name), else the largest that the sizes fill.
    """
    entry = measured(op, target, dtype, (M, K, C), layout)
    if entry is not None:
        return Tile(**entry)
    largest = _LARGEST[target.kind, op]
    least = _LEAST[target.kind]
    block_m = largest.BLOCK_M
    block_k, block_c = min(largest.BLOCK_K, max(least, _power(K))), min(largest.BLOCK_C, max(least, _power(C)))
    if target.kind == "gpu":
        if dtype.itemsize == 8:
            return Tile(32, 16, 16, 4, 1)
        reduced = 128 // max(each.itemsize for each in (dtype, *operands))
        if op == "conv2d_grad_weight":
            block_m = reduced
        else:
            block_c = min(block_c, reduced)
        if far:
            # Addresses take twice the registers.
            block_k = min(block_k, 64)
        if flat:
            # Every element of the image has an address of its own; those of more columns fill the registers.
            block_c = min(block_c, max(least, reduced // (4 if far else 2)))
    warps = largest.num_warps if block_k >= 64 or (flat and far) else 4
    return Tile(block_m, block_k, block_c, warps, largest.num_stages)


def pick_direct_tile(M: int, K: int, last: bool, target: Target) -> DirectTile:
    """The tile for M pixels and K channels of all groups; `last` where channels are contiguous."""
    elements = _DIRECT[target.kind]
    if last:
        block_k = min(64, _power(K))
        return DirectTile(max(1, min(elements // block_k, _power(M))), block_k, 4)
    block_m = min(256, _power(M))
    return DirectTile(block_m, max(1, min(elements // block_m, _power(K))), 4)


def pick_split(M: int, block_m: int, programs: int, target: Target) -> tuple[int, int]:
    """In how many parts, and of how many pixels each, the M pixels are summed where there are `programs` without parts.

    On a CPU this does not depend on how many threads there are: the bits of the result must not.
    """
    wanted = 16 if target.kind == "cpu" else 4 * target.units
    blocks = max(1, -(-M // block_m))
    split = max(1, min(wanted // max(1, programs), blocks // _LEAST_BLOCKS))
    part = -(-blocks // split) * block_m
    return max(1, -(-M // part)), part


def _power(size: int) -> int:
    """The power of two that covers `size`."""
    return 1 << (max(size, 1) - 1).bit_length()
