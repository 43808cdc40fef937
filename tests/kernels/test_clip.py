"""total_norm, clip_norm_, clip_value_: against their references, over many tensors of any strides; NaN, errors."""

import importlib
import math
import re

import pytest
import torch
import triton.language as tl

from tritonnet.errors import DtypeError, LayoutError, ShapeError
from tritonnet.kernels import _tune, clip_norm_, clip_value_, total_norm, use
from tritonnet.kernels.clip import (
    _lines,
    clip_norm_reference,
    clip_table,
    clip_value_reference,
    pick_tile,
    total_norm_reference,
)
from tritonnet.testing import check

source = importlib.import_module("tritonnet.kernels.clip")

CPU = _tune.Target("cpu", "no such processor", 2, 512 << 10)
GPU = _tune.Target("gpu", "no such gpu", 132, 232448)
BLOCK = pick_tile(1 << 20, CPU).BLOCK
ORDERS = [1.0, 2.0, 0.0, math.inf, -math.inf, 3.0, 0.5, -1.0, -2.5]


def lists(sizes, generator):
    return [torch.randn(n, generator=generator).double() for n in (sizes["N"], 3)]


DIMS = {"N": [1, 7, 1000, BLOCK, BLOCK + 1]}


def test_total_norm():
    check(
        total_norm,
        total_norm_reference,
        {"tensors": lists},
        dims=DIMS,
        hyper=[{"norm_type": order} for order in (1.0, 0.0, math.inf, -math.inf, 3.0)],
        layouts=["contiguous"],
    )


@pytest.mark.parametrize("max_norm", [2.0, 8.0])
def test_clip_norm(max_norm):
    check(
        clip_norm_,
        clip_norm_reference,
        {"tensors": lists, "total_norm": lambda *_: torch.full((), 7.0), "max_norm": lambda *_: max_norm},
        dims=DIMS,
        layouts=["contiguous"],
    )


def test_clip_value():
    inputs = {"tensors": lists, "clip_value": lambda *_: 0.7}
    check(clip_value_, clip_value_reference, inputs, dims=DIMS, layouts=["contiguous"])


def views():
    """Tensors of which some lie in memory with gaps, in another order, in one place."""
    return [
        torch.randn(3 * BLOCK + 5)[1:],
        torch.randn(7, 90)[:, :70],
        torch.randn(70, 9)[:, ::3],
        torch.randn(4, 6, 5, 8)[:, ::2, :, 1:5].permute(3, 1, 0, 2),
        torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        torch.randn(()),
        torch.randn(0, 4),
        torch.randn(5, 1).t(),
    ]


@pytest.mark.parametrize("order", ORDERS)
def test_norms_over_any_strides(order):
    tensors = [*views(), torch.randn(1, 4).expand(3, 4)]
    flat = torch.cat([t.reshape(-1).double() for t in tensors])
    expected = torch.linalg.vector_norm(flat, order).float()
    torch.testing.assert_close(total_norm(tensors, order), expected)


def test_clipping_in_place_over_any_strides():
    for clip, factor in (
        (lambda tensors: clip_norm_(tensors, torch.tensor(4.0), 2.0), 0.5),
        (lambda t: clip_value_(t, 0.3), None),
    ):
        tensors = views()
        bases = [t if t._base is None else t._base for t in tensors]
        expected = [t * 0.5 if factor else t.clamp(-0.3, 0.3) for t in tensors]
        around = [base.clone() for base in bases]
        versions = [t._version for t in tensors]
        clip(tensors)
        assert [t._version for t in tensors] == [version + 1 for version in versions]
        for t, e, base, before in zip(tensors, expected, bases, around, strict=True):
            torch.testing.assert_close(t, e)
            outside = torch.ones_like(before, dtype=torch.bool).as_strided(base.shape, base.stride())
            outside.as_strided(t.shape, t.stride(), t.storage_offset()).fill_(False)
            assert torch.equal(base[outside], before[outside])


def test_a_kept_table():
    tensors = views()
    table = clip_table(tensors)
    norm = total_norm(tensors, table=table)
    assert torch.equal(norm, total_norm(tensors))
    clip_norm_(tensors, norm, 1.0, table=table)
    torch.testing.assert_close(total_norm(tensors, table=table), torch.tensor(1.0))
    clip_value_(tensors, 1e-3, table=table)
    assert total_norm(tensors, math.inf) == torch.tensor(1e-3)


def test_lines():
    assert _lines((4, 6), (6, 1)) == [(24, 1, 0)]
    assert _lines((6, 4), (1, 6)) == [(24, 1, 0)]
    assert _lines((), ()) == _lines((1, 1), (5, 3)) == [(1, 1, 0)]
    assert _lines((3, 70), (100, 1)) == [(70, 1, 0), (70, 1, 100), (70, 1, 200)]
    assert _lines((90, 2), (4, 1)) == [(90, 4, 0), (90, 4, 1)]
    assert _lines((2, 64), (0, 1)) == [(64, 1, 0), (64, 1, 0)]
    assert sum(size for size, _, _ in _lines((0, 4), (8, 1))) == 0


@pytest.mark.parametrize("order", ORDERS)
def test_nan_and_infinity(order):
    for values in ([1.0, math.nan, 2.0], [math.inf, 1.0], [math.nan, math.inf], [0.0, 0.0], [0.0, 3.0]):
        x = torch.tensor(values)
        torch.testing.assert_close(total_norm([x], order), torch.linalg.vector_norm(x, order), equal_nan=True)


def test_what_is_clipped_by_and_to_nan_and_infinity():
    for norm, max_norm in ((math.nan, 1.0), (math.inf, 1.0), (0.0, 0.0), (2.0, math.inf), (2.0, math.nan), (2.0, -1.0)):
        x = torch.tensor([1.0, math.nan, math.inf])
        clip_norm_([x], torch.tensor(norm), max_norm)
        factor = torch.clamp(max_norm / (torch.tensor(norm) + 1e-6), max=1.0)
        torch.testing.assert_close(x, torch.tensor([1.0, math.nan, math.inf]) * factor, equal_nan=True)
    for bound in (0.5, -0.5, math.inf, math.nan):
        x = torch.tensor([1.0, math.nan, -math.inf, 0.1])
        expected = x.clamp_min(-bound).clamp_max(bound)
        clip_value_([x], bound)
        torch.testing.assert_close(x, expected, equal_nan=True)


def test_no_elements():
    for backend in ("triton", "reference"):
        with use(backend):
            empty = [torch.ones(0), torch.ones(3, 0)]
            assert [float(total_norm(empty, order)) for order in ORDERS] == [
                0,
                0,
                0,
                0,
                math.inf,
                0,
                0,
                math.inf,
                math.inf,
            ]
            clip_norm_(empty, torch.tensor(2.0), 1.0)
            clip_value_(empty, 1.0)


def test_dtypes():
    x = torch.full((3,), 3e4).half()
    assert total_norm([x, x]) == math.inf and total_norm([x, x]).dtype == torch.float16
    assert float(total_norm([x, x], dtype=torch.float32)) == pytest.approx(math.sqrt(6) * 3e4, rel=1e-3)


@pytest.mark.parametrize("backend", ["triton", "reference"])
def test_errors(backend):
    one = torch.ones(3)
    with use(backend):
        for call in (total_norm, lambda t: clip_norm_(t, torch.tensor(9.0), 1.0), lambda t: clip_value_(t, 0.1)):
            with pytest.raises(DtypeError, match="clip: tensors are float32 and float16; all must be of one dtype"):
                call([one, one.half()])
            with pytest.raises(DtypeError, match=r"got int64|got complex64"):
                call([torch.ones(3, dtype=torch.complex64)])
            with pytest.raises(LayoutError, match="layout torch.sparse_coo"):
                call([one, torch.eye(3).to_sparse()])
            if call is not total_norm:
                with pytest.raises(ShapeError, match=r"clip: x of shape \(2, 3\) and strides \(0, 1\) is expanded"):
                    call([one, torch.ones(3).expand(2, 3)])
        for norm in (torch.ones(2), torch.tensor(1)):
            with pytest.raises(
                ShapeError, match=r"clip_norm_: total_norm is \(2,\) of float32|is \(\) of int64; it is one"
            ):
                clip_norm_([one], norm, 1.0)
    assert torch.equal(one, torch.ones(3))


def test_tiles_take_all_of_a_small_tensor():
    for target in (CPU, GPU):
        assert pick_tile(0, target) == pick_tile(1024, target) != pick_tile(1025, target)


@pytest.mark.parametrize(
    "kind, strided, loads", [(tl.float32, False, 8), (tl.bfloat16, False, 4), (tl.float64, True, None)]
)
def test_gpu_kernels_spill_nothing_and_load_16_bytes_at_once(compile_for_gpu, kind, strided, loads):
    tile = pick_tile(1 << 20, GPU)
    types = {
        "table_ptr": "*i64",
        "chunks_ptr": "*i32",
        "total_norm_ptr": "*fp32",
        "T": "i32",
        "P": "i32",
        "norm_ptr": "*fp32",
    }
    types |= {"order": "fp64", "max_norm": "fp64", "clip_value": "fp64", "partials_ptr": "*fp32"}
    constants = {"TYPE": kind, "STRIDED": strided, "BLOCK": tile.BLOCK}

    def compiled(kernel, **more):
        made, spilled = compile_for_gpu(kernel, types, constants | more, 90, tile.num_warps)
        assert spilled == 0
        if loads is not None:
            assert len(re.findall(r"ld\.global\.v4", made.asm["ptx"])) == loads

    compiled(source._norm_kernel, ORDER="2")
    compiled(source._clip_norm_kernel)
    compiled(source._clip_value_kernel)
    types["partials_ptr"] = "*fp64"
    loads = None
    compiled(source._norm_kernel, ORDER="p")
    compile_for_gpu(source._root_kernel, types, {"ORDER": "p", "BLOCK": source._ROOT_BLOCK}, 90)
