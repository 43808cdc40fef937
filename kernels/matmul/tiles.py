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


@dataclass(frozen=True)
class _Default:
    """What the rule knows of a kind of device, for elements of one size.

    tiles: each with the share of the peak that its inner loop can reach.
    units: programs that run at once; None: the device's own number. Fixed where the bits of a result must not depend
        on how many there are (threads).
    sum_cost, launch_cost: of adding an element of a partial product, of a second launch; in multiply-adds of a unit.
    """

    tiles: tuple[tuple[Tile, float], ...]
    units: int | None
    sum_cost: float
    launch_cost: float


_CPU_TILES = ((Tile(128, 128, 256), 1.0), (Tile(64, 64, 256), 0.9), (Tile(64, 16, 256), 0.6))
_DEFAULTS = {
    ("cpu", 2): _Default(_CPU_TILES, 8, 20, 5e5),
    ("cpu", 4): _Default(_CPU_TILES, 8, 20, 5e5),
    ("cpu", 8): _Default(((Tile(64, 64, 256), 1.0), (Tile(64, 16, 128), 0.6)), 8, 20, 2e5),
    ("gpu", 2): _Default(
        (
            (Tile(128, 256, 64, num_warps=8, num_stages=4), 0.92),
            (Tile(128, 128, 64, num_warps=8, num_stages=3), 0.85),
            (Tile(64, 128, 64, num_warps=4, num_stages=4), 0.7),
            (Tile(128, 64, 64, num_warps=4, num_stages=4), 0.7),
            (Tile(64, 64, 64, num_warps=4, num_stages=4), 0.5),
            (Tile(16, 64, 128, num_warps=4, num_stages=3), 0.2),
            (Tile(64, 16, 128, num_warps=4, num_stages=3), 0.2),
        ),
        None,
        300,
        1.5e7,
    ),
    ("gpu", 4): _Default(
        (
            (Tile(128, 128, 16, num_warps=8, num_stages=3), 0.9),
            (Tile(128, 64, 16, num_warps=8, num_stages=3), 0.85),
            (Tile(64, 64, 16, num_warps=4, num_stages=3), 0.8),
            (Tile(32, 32, 32, num_warps=4, num_stages=3), 0.4),
        ),
        None,
        30,
        1.5e6,
    ),
    ("gpu", 8): _Default(
        ((Tile(64, 64, 16, num_warps=8, num_stages=2), 0.9), (Tile(32, 32, 16, num_warps=4, num_stages=2), 0.5)),
        None,
        30,
        1.5e6,
    ),
}
_SPLITS = (1, 2, 4, 8, 16)
_SHORTEST_SPLIT = 512


def pick_tile(M: int, N: int, K: int, Z: int, dtype: torch.dtype, target: Target) -> Tile:
    """The tile for Z products [M, K] x [K, N]: the measured one, else the one whose slowest unit has least to do."""
    if found := measured("matmul", target, dtype, (M, N, K, Z)):
        return Tile(**found)
    default = _DEFAULTS[target.kind, dtype.itemsize]
    units = default.units or target.units

    def cost(tile: Tile, share: float) -> float:
        programs = Z * triton.cdiv(M, tile.BLOCK_M) * triton.cdiv(N, tile.BLOCK_N) * tile.SPLIT_K
        steps = triton.cdiv(K, tile.BLOCK_K * tile.SPLIT_K) * tile.BLOCK_K
        product = triton.cdiv(programs, units) * tile.BLOCK_M * tile.BLOCK_N * steps / share
        if tile.SPLIT_K == 1:
            return product
        return product + default.launch_cost + default.sum_cost * Z * M * N * (tile.SPLIT_K + 1) / units

    splits = [split for split in _SPLITS if split == 1 or split * _SHORTEST_SPLIT <= K]
    fitting = [entry for entry in default.tiles if _fits(entry[0], dtype, target)] or [default.tiles[-1]]
    candidates = [(replace(tile, SPLIT_K=split), share) for tile, share in fitting for split in splits]
    return min(candidates, key=lambda candidate: cost(*candidate))[0]


def _fits(tile: Tile, dtype: torch.dtype, target: Target) -> bool:
    return tile.num_stages * (tile.BLOCK_M + tile.BLOCK_N) * tile.BLOCK_K * dtype.itemsize <= target.shared
