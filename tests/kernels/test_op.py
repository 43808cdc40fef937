"""An Op chooses the path of a call and checks what holds for every operation."""

import os
import subprocess
import sys

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from tritonnet import kernels
from tritonnet.kernels import _op, cpu, use
from tritonnet.kernels._errors import DeviceError, DtypeError, LayoutError
from tritonnet.kernels._op import Op


def _double(x, out=None):
    return ("kernel", x)


def _double_reference(x, out=None):
    return ("reference", x)


@pytest.fixture
def double(monkeypatch):
    monkeypatch.setattr(_op, "_cpu_runs_kernels", lambda: True)
    return Op(_double, _double_reference, (torch.float32, torch.float64), ("out",), (), None)


def path(result):
    return result[0]


def test_the_kernel_runs_on_a_real_tensor(double):
    assert path(double(torch.ones(2))) == "kernel"
    assert path(double(x=torch.ones(2))) == "kernel"


def test_the_reference_runs_on_meta_and_fake_tensors(double):
    assert path(double(torch.ones(2, device="meta"))) == "reference"
    with FakeTensorMode():
        assert path(double(torch.ones(2))) == "reference"


def test_use_lasts_until_the_block_ends(double):
    with use("reference"):
        assert path(double(torch.ones(2))) == "reference"
        with use("triton"):
            assert path(double(torch.ones(2))) == "kernel"
        assert path(double(torch.ones(2))) == "reference"
    assert path(double(torch.ones(2))) == "kernel"


def test_use_without_a_block_lasts(double):
    before = use("reference")
    assert path(double(torch.ones(2))) == "reference"
    before.__exit__()
    assert path(double(torch.ones(2))) == "kernel"


def test_use_refuses_another_name():
    with pytest.raises(ValueError, match="'cuda'.*triton, reference"):
        use("cuda")
    assert use.backend == "triton"


def test_a_dtype_that_the_kernel_does_not_take_is_refused_on_both_paths(double):
    for backend in ("triton", "reference"):
        with use(backend), pytest.raises(DtypeError, match="_double: got float16; it takes float32, float64"):
            double(torch.ones(2, dtype=torch.float16))


def test_the_dtype_is_that_of_the_first_floating_point_tensor(double):
    assert path(double(torch.ones(2, dtype=torch.int64), torch.ones(2))) == "kernel"
    with pytest.raises(DtypeError):
        double(torch.ones(2, dtype=torch.int64), torch.ones(2, dtype=torch.bfloat16))


def test_tensors_on_two_devices_are_refused(double):
    with pytest.raises(DeviceError, match="_double: tensors on cpu and meta"):
        double(torch.ones(2), torch.ones(2, device="meta"))
    with pytest.raises(DeviceError, match="_double: tensors on cpu and meta"):
        double([torch.ones(2), torch.ones(2, device="meta")])


@pytest.mark.parametrize("as_list", [False, True])
def test_what_is_written_in_place_has_its_version_bumped(double, as_list):
    out = torch.ones(2)
    before = out._version
    double(torch.ones(2), out=[out] if as_list else out)
    assert out._version == before + 1
    double(torch.ones(2), [out] if as_list else out)
    assert out._version == before + 2


def test_a_stale_saved_tensor_is_noticed_by_autograd(double):
    x = torch.ones(2, requires_grad=True)
    y = x.exp()
    double(torch.ones(2), y.detach())
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def _step(xs, groups=None, *, table=None):
    return "kernel"


def test_of_what_stands_behind_a_kept_table_the_first_is_asked(double, monkeypatch):
    step = Op(_step, lambda *_, **__: "reference", (torch.float32, torch.bfloat16), (), ("xs", "groups"), None, "table")
    odd = [torch.ones(2), torch.ones(2, device="meta")]
    with pytest.raises(DeviceError, match="_step: tensors on cpu and meta"):
        step(odd)
    assert step(odd, [0, 1], table="a table") == step(odd, groups=[0, 1], table="a table") == "kernel"
    assert step([], table="a table") == "reference"
    assert step(odd[1:], table="a table") == "reference"
    with pytest.raises(DtypeError, match="_step: got float16"):
        step([torch.ones(2).half()], table="a table")
    monkeypatch.setattr(_op, "INTERPRETED", True)
    with pytest.raises(DtypeError, match="_step: Triton's interpreter computes wrong results in bfloat16"):
        step([torch.ones(2).bfloat16()], table="a table")


def test_without_a_compiler_the_reference_runs_and_the_reason_is_said_once(monkeypatch):
    monkeypatch.setattr(cpu, "unavailable", lambda: "no C compiler was found; install gcc")
    _op._cpu_runs_kernels.cache_clear()
    double = Op(_double, _double_reference, (torch.float32,), (), (), None)
    try:
        with pytest.warns(UserWarning, match="no C compiler was found; install gcc") as said:
            assert path(double(torch.ones(2))) == "reference"
            assert path(double(torch.ones(2))) == "reference"
        assert len(said) == 1
    finally:
        _op._cpu_runs_kernels.cache_clear()


def test_a_refused_call_leaves_the_versions_alone(double):
    def refuse(x, out=None):
        raise ValueError("no")

    double.launcher = refuse
    out = torch.ones(2)
    before = out._version
    with pytest.raises(ValueError, match="no"):
        double(torch.ones(2), out)
    assert out._version == before


def test_memory_that_kernels_do_not_read_is_refused(double):
    pending = torch.ones(2, dtype=torch.cfloat).conj().imag
    assert pending.is_neg()
    with pytest.raises(LayoutError, match=r"_double: a tensor with a pending sign .*resolve_neg\(\)"):
        double(pending)
    with pytest.raises(LayoutError, match=r"_double: a tensor of layout torch.sparse_coo"):
        double((torch.eye(2).to_sparse(),))
    with pytest.raises(LayoutError, match=r"_flat_kernel: a Tensor of shape \(4, 4\) without memory"):
        kernels.relu(torch._efficientzerotensor(4, 4))


def test_the_environment_names_a_backend_that_exists():
    code = "import tritonnet; print(tritonnet.kernels.use.backend)"
    answers = {}
    for name in ("reference", "refrence"):
        environment = os.environ | {"TRITONNET_BACKEND": name}
        answers[name] = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert answers["reference"].stdout == "reference\n"
    assert "TRITONNET_BACKEND: got 'refrence'; the backends are triton, reference" in answers["refrence"].stderr


def test_torch_compile_breaks_its_graph_at_an_operation_and_warns_of_nothing():
    """In a process of its own, as the import of torch's compiler is slow. What it says of calls is an error there."""
    code = """
import torch, torch._dynamo.utils
import tritonnet.nn as nn
net = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
x = torch.randn(4, 8, requires_grad=True)
gradients = []
for run in (net, torch.compile(net, backend="eager")):
    y = run(x)
    gradients.append((y, *torch.autograd.grad(y.sum(), [x, *net.parameters()])))
assert all(map(torch.equal, *gradients))
(reason,) = torch._dynamo.utils.counters["graph_break"]
print(reason)
"""
    command = [sys.executable, "-W", "error:Dynamo", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "tritonnet compiles its kernels itself" in done.stdout
