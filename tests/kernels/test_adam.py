"""adam: the kernel against its reference; pointers unaligned, None and empty; memory layouts."""

import importlib
import itertools
import re

import pytest
import torch
import triton.language as tl

from tritonnet.errors import DeviceError, DtypeError, ShapeError
from tritonnet.kernels import _tune, adam, use
from tritonnet.kernels.adam import adam_reference, adam_table, pick_tile
from tritonnet.testing import check

source = importlib.import_module("tritonnet.kernels.adam")

BLOCK = pick_tile(_tune.Target("cpu", "no such processor", 2, 512 << 10)).BLOCK
HYPER = torch.tensor([[1e-2, 0.9, 0.99, 1e-6, 0.1], [3e-3, 0.8, 0.999, 1e-8, 0.0]], dtype=torch.float64)


def lists(
    dtype=torch.float64, grad_dtype=None, state_dtype=None, shapes=((3,), (2 * BLOCK + 5,), (BLOCK,), (1,), (0,), ())
):
    """params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, steps."""
    params = [torch.randn(shape).to(dtype) for shape in shapes]
    grads = [torch.randn(shape).to(grad_dtype or dtype) for shape in shapes]
    moments = [[torch.rand(shape).to(state_dtype or dtype) for shape in shapes] for _ in range(3)]
    return [params, grads, *moments, [torch.full((), float(at)) for at in range(len(shapes))]]


def copies(of):
    return [[t.clone(memory_format=torch.preserve_format) for t in tensors] for tensors in of]


def test_adam():
    def values(scale=1.0):
        def make(sizes, generator):
            return [scale * torch.rand(n, generator=generator).double() for n in (sizes["N"], 3)]

        return make

    def step(function):
        # Steps and hyper-parameters keep their dtypes whatever the case's.
        def run(params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, amsgrad=False, **options):
            steps = [torch.tensor(4.0), torch.tensor(9.0)]
            largest = max_exp_avg_sqs if amsgrad else None
            function(params, grads, exp_avgs, exp_avg_sqs, largest, steps, HYPER, groups=[0, 1], **options)
            if not amsgrad:
                torch.autograd.graph.increment_version(max_exp_avg_sqs)
            return steps

        return run

    check(
        step(adam),
        step(adam_reference),
        {name: values() for name in ("params", "grads", "exp_avgs", "exp_avg_sqs", "max_exp_avg_sqs")},
        dims={"N": [1, 7, BLOCK, BLOCK + 1]},
        hyper=[{"decoupled": True}, {"amsgrad": True, "maximize": True}],
        inplace=["params", "exp_avgs", "exp_avg_sqs", "max_exp_avg_sqs"],
        layouts=["contiguous"],
    )


@pytest.mark.parametrize(
    "dtypes",
    [
        (torch.float32, torch.float32, torch.float32),
        (torch.float64, torch.float64, torch.float64),
        (torch.bfloat16, torch.bfloat16, torch.float32),
        (torch.bfloat16, torch.float32, torch.float32),
        (torch.float16, torch.float16, torch.float16),
    ],
    ids=str,
)
@pytest.mark.parametrize("decoupled, amsgrad, scaled", [(False, True, False), (True, False, True)])
def test_mixtures_of_dtypes_over_steps(dtypes, decoupled, amsgrad, scaled):
    ours = lists(*dtypes)
    theirs = copies(ours)
    options = {"groups": [0, 1, 0, 1, 0, 1], "decoupled": decoupled, "maximize": scaled}
    for overflowed in (0.0, 1.0, 0.0):
        if scaled:
            options |= {"grad_scale": torch.tensor(4.0), "found_inf": torch.tensor(overflowed)}
        for function, (*first, largest, steps) in ((adam, ours), (adam_reference, theirs)):
            function(*first, largest if amsgrad else None, steps, HYPER, **options)
    assert float(ours[-1][0]) == (2 if scaled else 3)
    for one, other in zip(itertools.chain(*ours), itertools.chain(*theirs), strict=True):
        torch.testing.assert_close(one, other)


def test_a_step_that_overflowed_changes_nothing():
    tensors = lists(torch.float32)
    tensors[1][0].fill_(torch.inf)
    before = copies(tensors)
    adam(*tensors, HYPER, found_inf=torch.ones(1))
    assert all(torch.equal(a, b) for a, b in zip(itertools.chain(*tensors), itertools.chain(*before), strict=True))


@pytest.mark.parametrize("which", range(5))
def test_any_pointer_may_be_unaligned(which):
    n = BLOCK + 3
    ours = lists(torch.float32, shapes=((n,), (n,)))
    ours[which][0] = torch.randn(n + 1).abs()[1:]
    assert ours[which][0].data_ptr() % 16
    theirs = copies(ours)
    adam(*ours, HYPER)
    adam_reference(*theirs, HYPER)
    for one, other in zip(itertools.chain(*ours), itertools.chain(*theirs), strict=True):
        torch.testing.assert_close(one, other)


def test_no_gradient_no_step():
    params, grads, m, v, _, steps = lists(torch.float32)
    before = params[2].clone()
    missing = [None if at == 2 else g for at, g in enumerate(grads)]
    table = adam_table(params, missing, m, v, None, steps, [0] * len(params))
    adam(params, grads, m, v, None, steps, HYPER, table=table)
    assert torch.equal(params[2], before)
    assert [float(step) for step in steps] == [1, 2, 2, 4, 5, 6]


def test_channels_last():
    shape = (6, 5, 3, 3)
    ours = lists(torch.float32, shapes=(shape,))
    theirs = copies(ours)
    for tensors in ours[:5]:
        tensors[0] = tensors[0].to(memory_format=torch.channels_last)
    adam(*ours, HYPER)
    adam_reference(*theirs, HYPER)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one[0], other[0])


def test_layouts_that_differ():
    tensors = lists(torch.float32, shapes=((4, 6),))
    tensors[1][0] = torch.randn(6, 4).t()
    with pytest.raises(ShapeError, match=r"adam: a parameter is \(4, 6\) with strides \(6, 1\); it, its gradient"):
        adam(*tensors, HYPER)
    tensors = lists(torch.float32, shapes=((4, 6),))
    tensors[0][0] = torch.randn(4, 12)[:, ::2]
    with pytest.raises(ShapeError, match="without gaps"):
        adam(*tensors, HYPER)
    tensors = lists(torch.float32, shapes=((4, 6),))
    tensors[5][0] = torch.zeros((), dtype=torch.float64)
    with pytest.raises(DtypeError, match="adam: one of steps is not one float32"):
        adam(*tensors, HYPER)


@pytest.mark.parametrize("backend", ["triton", "reference"])
def test_what_does_not_go_together(backend):
    shapes = ((4, 6), (3,))

    def refused(error, message, *, hyper=HYPER, groups=None, **changed):
        tensors = lists(torch.float32, shapes=shapes)
        names = ("params", "grads", "exp_avgs", "exp_avg_sqs", "max_exp_avg_sqs", "steps")
        for name, change in changed.items():
            at = names.index(name)
            tensors[at] = change(tensors[at])
        before = copies(tensors)
        with use(backend), pytest.raises(error, match=message):
            adam(*tensors, hyper, groups=groups)
        assert all(torch.equal(a, b) for a, b in zip(itertools.chain(*tensors), itertools.chain(*before), strict=True))

    def second_half(column):
        return [column[0], column[1].half()]

    def all_bfloat16(column):
        return [t.bfloat16() for t in column]

    for name in ("params", "grads", "exp_avgs", "exp_avg_sqs", "max_exp_avg_sqs"):
        message = f"adam: {name} are torch.float32 and torch.float16; all must be of one dtype"
        refused(DtypeError, message, **{name: second_half})
        refused(ShapeError, f"adam: 2 params and 1 {name}|adam: 1 params and 2 grads", **{name: lambda c: c[:1]})
        if name != "params":
            message = rf"adam: a parameter is \(4, 6\) and its part of {name} is \(6, 4\)"
            refused(ShapeError, message, **{name: lambda c: [c[0].t().contiguous(), c[1]]})
    for name in ("exp_avg_sqs", "max_exp_avg_sqs"):
        message = f"exp_avgs are torch.float32 and {name} are torch.bfloat16; all moments"
        refused(DtypeError, message, **{name: all_bfloat16})
    refused(DtypeError, "exp_avgs are torch.bfloat16 and exp_avg_sqs are torch.float32", exp_avgs=all_bfloat16)
    refused(DtypeError, "params are torch.int32; they are float32, ", params=lambda c: [t.int() for t in c])
    refused(ShapeError, "2 params and 0 max_exp_avg_sqs", max_exp_avg_sqs=lambda c: [])
    refused(DtypeError, "hyper is torch.float32; it must be torch.float64", hyper=HYPER.float())
    refused(ShapeError, r"hyper is \(2, 4\) with strides", hyper=HYPER[:, :4])
    refused(ShapeError, r"groups are \[0, 2\]; each of 2 parameters has a row of 2", groups=[0, 2])


def test_a_table_of_two_devices():
    for at, name in enumerate(("params", "grads", "exp_avgs", "exp_avg_sqs", "max_exp_avg_sqs", "steps")):
        tensors = lists(torch.float32, shapes=((4,), (3,)))
        tensors[at][1] = tensors[at][1].to("meta")
        with pytest.raises(DeviceError, match=f"adam: a parameter is on cpu and one of {name} on meta"):
            adam_table(*tensors, [0, 0])


def test_a_table_made_where_another_device_is_the_default():
    tensors = lists(torch.float32)
    with torch.device("meta"):
        table = adam_table(*tensors, [0] * 6)
    assert table.rows.device.type == table.chunks.device.type == "cpu"


def test_the_table_holds_chunks_and_none_for_the_empty():
    tensors = lists(torch.float32)
    table = adam_table(*tensors, [0] * 6)
    assert table.chunks.tolist() == [[0, 0], [1, 0], [1, 1], [1, 2], [2, 0], [3, 0], [5, 0]]
    assert table.grads.ne(0).all()


def test_no_parameters():
    adam([], [], [], [], None, [], HYPER)


@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize(
    "param, state, loads",
    [(tl.float32, tl.float32, (8, 10)), (tl.bfloat16, tl.float32, (6, 8)), (tl.float64, tl.float64, None)],
    ids=str,
)
def test_gpu_kernels_spill_nothing_and_load_16_bytes_at_once(compile_for_gpu, param, state, loads, amsgrad):
    tile = pick_tile(_tune.Target("gpu", "no such gpu", 132, 232448))
    types = {"table_ptr": "*i64", "chunks_ptr": "*i32", "scalars_ptr": "*fp64", "T": "i32"}
    constants = {"PARAM": param, "GRAD": param, "STATE": state, "AMSGRAD": amsgrad, "DECOUPLED": True, "MAXIMIZE": True}
    constants |= {"UNSCALE": True, "BLOCK": tile.BLOCK}
    compiled, spilled = compile_for_gpu(source._adam_kernel, types, constants, 90, tile.num_warps)
    assert spilled == 0
    if loads is not None:
        assert len(re.findall(r"ld\.global\.v4", compiled.asm["ptx"])) == loads[amsgrad]
    types = {"hyper_ptr": "*fp64", "grad_scale_ptr": "*fp32", "found_inf_ptr": "*fp32", "scalars_ptr": "*fp64"}
    types |= {"table_ptr": "*i64", "T": "i32"}
    constants = {"DECOUPLED": True, "BLOCK": source._ADVANCE_BLOCK}
    assert compile_for_gpu(source._advance_kernel, types, constants, 90)[1] == 0
