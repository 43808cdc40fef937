"""sgd: the kernel against its reference; momenta that begin, pointers unaligned, None and empty; memory layouts."""

import importlib
import itertools
import re

import pytest
import torch
import triton.language as tl

from tritonnet.errors import DeviceError, DtypeError, ShapeError
from tritonnet.kernels import _tune, sgd, use
from tritonnet.kernels.sgd import all_begun, pick_tile, sgd_reference, sgd_table
from tritonnet.testing import check

source = importlib.import_module("tritonnet.kernels.sgd")

BLOCK = pick_tile(_tune.Target("cpu", "no such processor", 2, 512 << 10)).BLOCK
HYPER = torch.tensor([[1e-2, 0.9, 0.4, 0.1], [3e-3, 0.8, 0.0, 0.0]], dtype=torch.float64)


def lists(dtype=torch.float64, grad_dtype=None, state_dtype=None, shapes=((3,), (2 * BLOCK + 5,), (BLOCK,), (0,), ())):
    """params, grads, momentum_buffers."""
    dtypes = dtype, grad_dtype or dtype, state_dtype or dtype
    return [[torch.randn(shape).to(dtype) for shape in shapes] for dtype in dtypes]


def copies(of):
    return [[t.clone(memory_format=torch.preserve_format) for t in tensors] for tensors in of]


def assert_same(ours, theirs):
    for one, other in zip(itertools.chain(*ours), itertools.chain(*theirs), strict=True):
        torch.testing.assert_close(one, other)


def test_sgd():
    def values(sizes, generator):
        return [torch.randn(n, generator=generator).double() for n in (sizes["N"], 3)]

    def step(function):
        def run(params, grads, momentum_buffers, momentum=True, **options):
            buffers = momentum_buffers if momentum else None
            function(params, grads, buffers, HYPER, groups=[0, 1], **options)
            if not momentum:
                torch.autograd.graph.increment_version(momentum_buffers)

        return run

    check(
        step(sgd),
        step(sgd_reference),
        dict.fromkeys(("params", "grads", "momentum_buffers"), values),
        dims={"N": [1, 7, BLOCK, BLOCK + 1]},
        hyper=[{"nesterov": True, "maximize": True}, {"first": [True, False]}, {"momentum": False}],
        inplace=["params", "momentum_buffers"],
        layouts=["contiguous"],
    )


@pytest.mark.parametrize(
    "dtypes",
    [(torch.bfloat16, torch.bfloat16, torch.float32), (torch.bfloat16, torch.float32, torch.float32)],
    ids=str,
)
def test_mixtures_of_dtypes_over_steps(dtypes):
    ours = lists(*dtypes)
    theirs = copies(ours)
    before = ours[2][0].clone()
    for overflowed in (1.0, 0.0, 0.0):
        scaled = {"grad_scale": torch.tensor(4.0), "found_inf": torch.tensor(overflowed)}
        for function, tensors in ((sgd, ours), (sgd_reference, theirs)):
            function(*tensors, HYPER, groups=[0, 1, 0, 1, 0], **scaled)
        if overflowed:
            assert torch.equal(ours[2][0], before)
    assert_same(ours, theirs)


def test_a_momentum_begins_as_the_gradient_whatever_was_there():
    params, grads, buffers = lists(shapes=((5,), (5,)))
    buffers[0].fill_(torch.nan)
    expected = params[0] - 0.01 * (grads[0] + 0.1 * params[0])
    sgd(params, grads, buffers, HYPER, first=[True, False])
    torch.testing.assert_close(params[0], expected)
    assert params[1].isfinite().all()


def test_a_table_is_told_that_all_have_begun():
    ours = lists()
    theirs = copies(ours)
    table = sgd_table(*ours, [0] * 5, [True] * 5)
    for _ in range(2):
        sgd(*ours, HYPER, table=table)
        all_begun(table)
    sgd_reference(*theirs, HYPER, first=[True] * 5)
    sgd_reference(*theirs, HYPER)
    assert_same(ours, theirs)


@pytest.mark.parametrize("which", range(3))
def test_any_pointer_may_be_unaligned(which):
    n = BLOCK + 3
    ours = lists(torch.float32, shapes=((n,), (n,)))
    ours[which][0] = torch.randn(n + 1)[1:]
    assert ours[which][0].data_ptr() % 16
    theirs = copies(ours)
    sgd(*ours, HYPER)
    sgd_reference(*theirs, HYPER)
    assert_same(ours, theirs)


def test_no_gradient_no_step():
    params, grads, buffers = lists(torch.float32)
    before = copies([params, buffers])
    table = sgd_table(params, [None if at == 1 else g for at, g in enumerate(grads)], buffers, [0] * 5, [False] * 5)
    sgd(params, grads, buffers, HYPER, table=table)
    assert torch.equal(params[1], before[0][1]) and torch.equal(buffers[1], before[1][1])
    assert not torch.equal(params[2], before[0][2])


def test_a_parameter_that_overflowed_is_not_decayed():
    for function in (sgd, sgd_reference):
        p = torch.tensor([torch.inf, 1.0])
        function([p], [torch.ones(2)], None, HYPER[1:])
        assert p[0] == torch.inf


def test_channels_last():
    ours = lists(torch.float32, shapes=((6, 5, 3, 3),))
    theirs = copies(ours)
    for tensors in ours:
        tensors[0] = tensors[0].to(memory_format=torch.channels_last)
    sgd(*ours, HYPER)
    sgd_reference(*theirs, HYPER)
    assert_same(ours, theirs)


@pytest.mark.parametrize("backend", ["triton", "reference"])
def test_what_does_not_go_together(backend):
    def refused(error, message, *, hyper=HYPER, options=None, **changed):
        tensors = lists(torch.float32, shapes=((4, 6), (3,)))
        for name, change in changed.items():
            at = ("params", "grads", "momentum_buffers").index(name)
            tensors[at] = change(tensors[at])
        before = copies(tensors)
        with use(backend), pytest.raises(error, match=message):
            sgd(*tensors, hyper, **(options or {}))
        assert all(torch.equal(a, b) for a, b in zip(itertools.chain(*tensors), itertools.chain(*before), strict=True))

    for name in ("params", "grads", "momentum_buffers"):
        message = f"sgd: {name} are torch.float32 and torch.float16; all must be of one dtype"
        refused(DtypeError, message, **{name: lambda c: [c[0], c[1].half()]})
        refused(ShapeError, f"sgd: 2 params and 1 {name}|sgd: 1 params and 2 grads", **{name: lambda c: c[:1]})
    for name in ("grads", "momentum_buffers"):
        message = rf"sgd: a parameter is \(4, 6\) and its part of {name} is \(6, 4\)"
        refused(ShapeError, message, **{name: lambda c: [c[0].t().contiguous(), c[1]]})
    refused(DtypeError, "hyper is torch.float32; it must be torch.float64", hyper=HYPER.float())
    refused(ShapeError, r"hyper is \(2, 3\) with strides", hyper=HYPER[:, :3])
    refused(ShapeError, r"groups are \[0, 2\]; each of 2 parameters has a row of 2", options={"groups": [0, 2]})
    refused(ShapeError, "2 params and 1 in first", options={"first": [True]})
    with use(backend), pytest.raises(ShapeError, match="sgd: nesterov is True and there are no momentum_buffers"):
        sgd([torch.ones(2)], [torch.ones(2)], None, HYPER, nesterov=True)


def test_memory_that_the_table_cannot_describe():
    for at, wrong in ((0, torch.randn(4, 12)[:, ::2]), (1, torch.randn(6, 4).t()), (2, torch.randn(6, 4).t())):
        tensors = lists(torch.float32, shapes=((4, 6),))
        tensors[at][0] = wrong
        with pytest.raises(ShapeError, match="it, its gradient and its moments must lie in memory in one way"):
            sgd(*tensors, HYPER)
        tensors[at][0] = torch.ones(4, 6, device="meta")
        if at:
            with pytest.raises(DeviceError, match="sgd: a parameter is on cpu and one of .* on meta"):
                sgd_table(*tensors, [0], [False])


def test_no_parameters():
    sgd([], [], [], HYPER)


@pytest.mark.parametrize(
    "param, state", [(tl.float32, tl.float32), (tl.bfloat16, tl.float32), (tl.float64, tl.float64)]
)
def test_gpu_kernels_spill_nothing_and_load_16_bytes_at_once(compile_for_gpu, param, state):
    tile = pick_tile(_tune.Target("gpu", "no such gpu", 132, 232448))
    types = {"table_ptr": "*i64", "chunks_ptr": "*i32", "hyper_ptr": "*fp64", "T": "i32"}
    types |= {"grad_scale_ptr": "*fp32", "found_inf_ptr": "*fp32"}
    constants = {"PARAM": param, "GRAD": param, "STATE": state, "MOMENTUM": True, "NESTEROV": True, "MAXIMIZE": True}
    constants |= {"BLOCK": tile.BLOCK}
    compiled, spilled = compile_for_gpu(source._sgd_kernel, types, constants, 90, tile.num_warps)
    assert spilled == 0
    if param != tl.float64:
        assert len(re.findall(r"ld\.global\.v4", compiled.asm["ptx"])) == (6 if param == tl.float32 else 4)
