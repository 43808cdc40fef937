"""The tiles of matrix products, and the rule that picks one."""

from dataclasses import dataclass, replace

import torch
import triton

from .._tune import Target, measured


@dataclass(frozen=True)
class Tile:
    """How one launch cuts [M, N] and K; SPLIT_K parts of K go to programs of their own and are summed afterwards."""

    BLOCK_M: int
    BLOCK_N: int
    BLOCK_K: int
    GROUP_M: int = 8
    SPLIT_K: int = 1
    num_warps: int = 4
    num_stages: int = 1


_CPU_BLOCK_K = 256
# For each kind of device and size of element: tiles, each with the share of the peak that its inner loop can reach.
# Which of a CPU's tiles is taken depends on the number of threads, and the bits of the result must not: they all step
# along K by one BLOCK_K.
_TILES: dict[tuple[str, int], tuple[tuple[Tile, float], ...]] = {
    ("cpu", 2): (
        (Tile(128, 64, _CPU_BLOCK_K), 1.0),
        (Tile(64, 64, _CPU_BLOCK_K), 0.95),
        (Tile(64, 16, _CPU_BLOCK_K), 0.85),
        (Tile(16, 64, _CPU_BLOCK_K), 0.6),
    ),
    ("gpu", 2): (
        (Tile(128, 256, 64, num_warps=8, num_stages=4), 0.92),
        (Tile(128, 128, 64, num_warps=8, num_stages=3), 0.85),
        (Tile(64, 128, 64, num_warps=4, num_stages=4), 0.7),
        (Tile(128, 64, 64, num_warps=4, num_stages=4), 0.7),
        (Tile(64, 64, 64, num_warps=4, num_stages=4), 0.5),
        (Tile(16, 64, 128, num_warps=4, num_stages=3), 0.2),
        (Tile(64, 16, 128, num_warps=4, num_stages=3), 0.2),
    ),
    ("gpu", 4): (
        (Tile(128, 128, 16, num_warps=8, num_stages=3), 0.9),
        (Tile(128, 64, 16, num_warps=8, num_stages=3), 0.85),
        (Tile(64, 64, 16, num_warps=4, num_stages=3), 0.8),
        (Tile(32, 32, 32, num_warps=4, num_stages=3), 0.4),
    ),
    ("gpu", 8): (
        (Tile(64, 64, 16, num_warps=8, num_stages=2), 0.9),
        (Tile(32, 32, 16, num_warps=4, num_stages=2), 0.5),
    ),
}
_TILES["cpu", 4] = _TILES["cpu", 8] = _TILES["cpu", 2]


@dataclass(frozen=True)
class _Split:
    """When K is parted: while there are fewer than `programs` squares of `side` elements (None: as many as the device
    runs at once), and no further than into parts of `shortest`."""

    side: int
    programs: int | None
    shortest: int


# On a CPU, parts of a long K also keep the operands in the cache; and the number of threads must not change the bits.
_SPLITS = {"cpu": _Split(64, 128, 1024), "gpu": _Split(128, None, 512)}
_MOST_PARTS = 16
_LEAST_K = 16
_LIGHT = ("none", "relu")
"""Activations that take no registers."""
_SUMS_BESIDE_OTHERS = {("gpu", 2): 64, ("gpu", 4): 64, ("gpu", 8): 8}
"""How many sums of so many bytes a thread may hold where another activation needs registers too; more of them spill."""


def pick_tile(
    M: int,
    N: int,
    K: int,
    Z: int,
    dtype: torch.dtype,
    target: Target,
    activation: str = "none",
    operands: tuple[torch.dtype, ...] = (),
) -> Tile:
    """The tile for Z products [M, K] x [K, N]: the measured one, else the one whose busiest unit has least to do.

    dtype: of the products; operands: those that are read, where they are others.
    On a CPU, BLOCK_K and SPLIT_K, and with them the order of every sum, do not depend on `target.units`.
    """
    # Operands wait in shared memory as they were read: a tile takes as many bytes of wider ones, and so a shorter part
    # of K, at least what `tl.dot` takes.
    wider = max([1, *(each.itemsize // dtype.itemsize for each in operands)]) if target.kind == "gpu" else 1
    layout = "" if activation in _LIGHT else "activation"
    if found := measured("matmul", target, dtype, (M, N, K, Z), layout):
        return Tile(**found)
    tiles = [
        (replace(tile, BLOCK_K=tile.BLOCK_K // wider), share)
        for tile, share in _TILES[target.kind, dtype.itemsize]
        if (activation in _LIGHT or has_room(tile, dtype, target.kind)) and tile.BLOCK_K >= wider * _LEAST_K
    ]
    fitting = [entry for entry in tiles if wider * _bytes(entry[0], dtype) <= target.shared] or [tiles[-1]]

    def cost(entry: tuple[Tile, float]) -> float:
        tile, share = entry
        programs = Z * triton.cdiv(M, tile.BLOCK_M) * triton.cdiv(N, tile.BLOCK_N)
        return triton.cdiv(programs, target.units) * tile.BLOCK_M * tile.BLOCK_N / share

    return replace(min(fitting, key=cost)[0], SPLIT_K=_parts(M, N, K, Z, target))


def has_room(tile: Tile, dtype: torch.dtype, kind: str) -> bool:
    """Whether an activation that takes registers finds them beside the sums."""
    most = _SUMS_BESIDE_OTHERS.get((kind, dtype.itemsize))
    return most is None or tile.BLOCK_M * tile.BLOCK_N <= most * 32 * tile.num_warps


def _bytes(tile: Tile, dtype: torch.dtype) -> int:
    return tile.num_stages * (tile.BLOCK_M + tile.BLOCK_N) * tile.BLOCK_K * dtype.itemsize


def _parts(M: int, N: int, K: int, Z: int, target: Target) -> int:
    split = _SPLITS[target.kind]
    squares = Z * triton.cdiv(M, split.side) * triton.cdiv(N, split.side)
    parts = 1
    while (
        parts < _MOST_PARTS and squares * parts < (split.programs or target.units) and K >= 2 * parts * split.shortest
    ):
        parts *= 2
    return parts
