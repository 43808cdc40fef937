"""What tritonnet's Module does that torch's does not, or does better."""

import copy
import gc
import io
import pickle
import statistics
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import tritonnet
from tritonnet import Buffer, Module, Parameter, nn
from tritonnet.errors import DtypeError, ModuleError, StateDictError


def leaf() -> Module:
    """One of each: parameter, buffer, non-persistent buffer."""
    module = Module()
    module.weight = Parameter(torch.arange(3.0))
    module.register_buffer("mean", torch.ones(3))
    module.cache = Buffer(torch.zeros(2), persistent=False)
    return module


def tree() -> Module:
    """Two leaves that share their weight."""
    module = Module()
    module.a, module.b = leaf(), leaf()
    module.b.weight = module.a.weight
    return module


def names(pairs: Any) -> list[str]:
    return [name for name, _ in pairs]


def snapshot(module: Module) -> dict[str, Any]:
    return {name: (tensor.data_ptr(), tensor.tolist()) for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("assign", [True, False])
def test_failed_load_changes_nothing_and_lists_all(strict: bool, assign: bool) -> None:
    module, state = tree(), {key: value + 1 for key, value in tree().state_dict().items()}
    del state["a.mean"]
    state |= {"b.mean": torch.ones(4), "b.weight": "text", "x.y": torch.ones(2, 3)}
    before = snapshot(module)
    with pytest.raises(StateDictError) as caught:
        module.load_state_dict(state, strict=strict, assign=assign)
    assert snapshot(module) == before
    table = {line.split()[0]: line for line in str(caught.value).splitlines()[2:]}
    assert (
        "size mismatch" in table["b.mean"] and "(3,) float32" in table["b.mean"] and "(4,) float32" in table["b.mean"]
    )
    assert "not a tensor" in table["b.weight"] and "str" in table["b.weight"]
    assert ("a.mean" in table) == ("x.y" in table) == strict
    assert "nothing was loaded" in str(caught.value) and "Module" in str(caught.value)


@pytest.mark.parametrize(
    "spoil, problem",
    [
        (lambda m, s: s.update(x=torch.ones(3, device="meta")), "no data"),
        (lambda m, s: m.register_buffer("x", torch.ones(1).expand(3)), "share memory"),
    ],
)
def test_load_that_could_not_be_written_is_refused_before_writing(spoil: Any, problem: str) -> None:
    module = Module()
    module.first = Parameter(torch.zeros(1))
    module.register_buffer("x", torch.zeros(3))
    state = {"first": torch.ones(1), "x": torch.ones(3)}
    spoil(module, state)
    with pytest.raises(StateDictError, match=problem):
        module.load_state_dict(state)
    assert module.first.item() == 0


def test_narrowing_load_is_reported() -> None:
    module = nn.Linear(2, 2).half()
    with pytest.warns(UserWarning, match=r"(?s)Linear.*weight +narrower dtype +\(2, 2\) float16 +\(2, 2\) float64"):
        module.load_state_dict(nn.Linear(2, 2).double().state_dict())
    nn.Linear(2, 2).double().load_state_dict(module.state_dict())


@pytest.mark.filterwarnings("error")
def test_a_report_that_is_an_error_comes_before_anything_is_written() -> None:
    module = nn.Linear(2, 2).half()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    with pytest.raises(UserWarning, match="narrower dtype"):
        module.load_state_dict(nn.Linear(2, 2).double().state_dict())
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


def test_values_lost_to_a_tie_are_reported() -> None:
    module = tree()
    state = {key: value.clone() for key, value in module.state_dict().items()}
    module.load_state_dict(state)
    state["b.weight"] += 1
    with pytest.warns(UserWarning, match="b.weight +tied to a.weight, whose value differs"):
        module.load_state_dict(state)


def test_assign_keeps_ties_dtype_and_requires_grad() -> None:
    module = tree()
    module.a.weight.requires_grad_(False)
    state = {key: value.double().clone() for key, value in module.state_dict().items()}
    module.load_state_dict(state, assign=True)
    assert module.a.weight is module.b.weight and isinstance(module.a.weight, Parameter)
    assert module.a.weight.dtype == torch.float64 and not module.a.weight.requires_grad
    assert module.a.mean is state["a.mean"]


def test_load_from_a_torch_model_and_back() -> None:
    theirs = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Linear(4, 5))
    ours = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(4, 5))
    ours.load_state_dict(theirs.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True))
    theirs.load_state_dict({key: value + 1 for key, value in ours.state_dict().items()})


@pytest.mark.parametrize("move", [lambda m: m.to("meta"), lambda m: m.to("meta").to_empty(device="cpu")])
def test_moves_keep_parameters_ties_and_their_attributes(move: Callable[[Module], Module]) -> None:
    module = tree()
    weight = module.a.weight
    weight.group = "decayed"
    weight.sum().backward()
    move(module)
    assert module.a.weight is weight is module.b.weight and weight.group == "decayed"
    assert weight.grad is not None and weight.grad.device == weight.device and weight.requires_grad


def test_gradients_are_cast_in_place() -> None:
    module = leaf()
    module.weight.sum().backward()
    grad = module.weight.grad
    module.double()
    assert module.weight.grad is grad and grad.dtype == torch.float64


def test_meta_tensors_are_not_copied() -> None:
    with pytest.raises(NotImplementedError, match="Linear.to: .*to_empty"):
        nn.Linear(2, 2, device="meta").to("cpu")


def test_copy_is_independent_of_the_original() -> None:
    module = leaf()
    shallow = copy.copy(module)
    shallow.extra = Parameter(torch.ones(1))
    del shallow.weight
    assert names(module.named_parameters()) == ["weight"] and shallow.mean is module.mean


def test_deepcopy_and_pickle_of_parameters_and_buffers() -> None:
    parameter = Parameter(torch.ones(2, 2).t(), requires_grad=False)
    parameter.note = "kept by pickle"
    buffer = Buffer(torch.arange(3), persistent=False)
    for one in (copy.deepcopy(parameter), pickle.loads(pickle.dumps(parameter))):
        assert type(one) is Parameter and not one.requires_grad and torch.equal(one, parameter)
    for two in (copy.deepcopy(buffer), pickle.loads(pickle.dumps(buffer))):
        assert type(two) is Buffer and not two.persistent and torch.equal(two, buffer)
    assert pickle.loads(pickle.dumps(parameter)).note == "kept by pickle"


def test_torch_save_loads_without_unpickling_code() -> None:
    file = io.BytesIO()
    torch.save(leaf().state_dict(keep_vars=True), file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    assert type(loaded["weight"]) is Parameter


def test_integer_parameter_names_the_way_out() -> None:
    with pytest.raises(DtypeError, match="Parameter: data is torch.int64 and requires_grad=True.*Buffer"):
        Parameter(torch.arange(3))


def test_errors_name_class_and_attribute() -> None:
    class Net(Module):
        def __init__(self) -> None:
            self.layer = nn.Identity()

    with pytest.raises(ModuleError, match=r"Net.layer: call super\(\).__init__\(\)"):
        Net()
    with pytest.raises(
        ModuleError, match="Linear.weight: cannot assign torch.Tensor as parameter; it takes a Parameter"
    ):
        nn.Linear(1, 1).weight = torch.ones(1, 1)
    with pytest.raises(ModuleError, match=r"Sequential has no module 'x' \(looking for '0.x'\)"):
        nn.Sequential(nn.Sequential()).get_submodule("0.x")


@pytest.mark.parametrize(
    "value", [torch.nn.Linear(1, 1), torch.nn.Parameter(torch.ones(1))], ids=["module", "parameter"]
)
def test_what_is_torch_nns_is_refused(value: object) -> None:
    with pytest.raises(ModuleError, match="Module.x: torch.nn.* is torch.nn's"):
        Module().x = value


def test_torch_takes_our_parameters_and_buffers() -> None:
    theirs = torch.nn.Module()
    theirs.w = Parameter(torch.ones(2))
    theirs.b = Buffer(torch.ones(2))
    assert isinstance(theirs.w, torch.nn.Parameter)
    assert names(theirs.named_parameters()) == ["w"] and names(theirs.named_buffers()) == ["b"]


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.SGD, torch.optim.RMSprop])
def test_torch_optimizers_step_our_parameters(optimizer: Any) -> None:
    ours, theirs = Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(3))
    for parameter in (ours, theirs):
        steps = optimizer([parameter], lr=0.1)
        for _ in range(3):
            steps.zero_grad()
            (parameter**2).sum().backward()
            steps.step()
    assert torch.equal(ours, theirs)


def test_a_network_trains_on_the_meta_device_in_shapes_alone() -> None:
    with torch.device("meta"):
        net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(144, 10))
        images, labels = torch.empty(2, 1, 8, 8), torch.empty(2, dtype=torch.int64)
    loss = nn.CrossEntropyLoss()(net(images), labels)
    loss.backward()
    assert loss.is_meta and loss.shape == ()
    assert all(parameter.grad.is_meta and parameter.grad.shape == parameter.shape for parameter in net.parameters())


def test_modules_under_fake_tensors() -> None:
    with FakeTensorMode():
        module = nn.Linear(2, 3)
        assert names(module.named_parameters()) == ["weight", "bias"]
        module.half()
        assert module.weight.dtype == torch.float16 and module.state_dict()["bias"].shape == (3,)


def test_a_module_is_freed_when_its_last_reference_goes() -> None:
    module = tree()
    module.state_dict()
    list(module.parameters())
    gone = weakref.ref(module)
    gc.disable()
    try:
        del module
        assert gone() is None
    finally:
        gc.enable()


def fresh(build: Callable[[Module], object]) -> Module:
    """An instance of a class of its own: the warnings come once a class."""

    class Net(Module):
        def __init__(self) -> None:
            super().__init__()
            build(self)

    return Net()


@pytest.mark.parametrize(
    "build, message",
    [
        (
            lambda m: setattr(m, "blocks", [nn.Linear(1, 1)]),
            "Net.blocks .*a list that holds a Linear.*ModuleList",
        ),
        (lambda m: setattr(m, "heads", {"a": {"b": nn.ReLU()}}), "Net.heads .*is a dict that holds a ReLU"),
        (lambda m: setattr(m, "w", (Parameter(torch.ones(1)),)), "Net.w .*is a tuple that holds a Parameter"),
        (lambda m: setattr(m, "w", Parameter(torch.ones(1)).double()), "Net.w .*is computed from a Parameter.*ToCopy"),
        (lambda m: setattr(m, "w", Parameter(torch.ones(1)) * 0.1), "Net.w .*is computed from a Parameter"),
    ],
    ids=["list", "nested dict", "tuple of parameters", "converted copy", "scaled copy"],
)
@pytest.mark.parametrize("ask", [lambda m: m.parameters(), lambda m: m.state_dict()], ids=["parameters", "state_dict"])
def test_what_is_not_registered_is_said(build: Any, message: str, ask: Any) -> None:
    root = Module()
    root.net = fresh(build)
    with pytest.warns(UserWarning, match=f"{message}") as said:
        ask(root)
    assert "(at net)" in str(said[0].message)
    ask(root)
    ask(type(root.net)())


@pytest.mark.parametrize(
    "build",
    [
        lambda m: (setattr(m, "blocks", [nn.Linear(1, 1)]), setattr(m, "net", nn.Sequential(*m.blocks))),
        lambda m: setattr(m, "sizes", [1, 2, {"a": torch.ones(1)}]),
        lambda m: (setattr(m, "w", Parameter(torch.ones(1))), setattr(m, "hidden", m.w * 2)),
        lambda m: setattr(m, "hidden", torch.ones(1, requires_grad=True) * 2),
    ],
    ids=["list that fed a Sequential", "plain values", "value computed from a registered parameter", "other tensor"],
)
def test_honest_code_is_left_alone(build: Any) -> None:
    net = fresh(build)
    list(net.parameters())
    net.state_dict()


def test_names_of_torch_nn_resolve() -> None:
    import tritonnet.nn.functional as functional
    import tritonnet.nn.init as init
    from tritonnet.nn.parameter import Parameter as Same

    assert functional is tritonnet.functional and init is tritonnet.init and Same is nn.Parameter is Parameter
    assert tritonnet.cpu is tritonnet.kernels.cpu and nn.Module is Module


def cost(call: Callable[..., Any], argument: Any, times: int = 5000) -> int:
    start = time.process_time_ns()
    for _ in range(times):
        call(argument)
    return time.process_time_ns() - start


def test_a_call_costs_at_most_half_of_torchs() -> None:
    ours, theirs, x = nn.Identity(), torch.nn.Identity(), torch.ones(1)
    pairs = [(cost(ours, x), cost(theirs, x)) for _ in range(15)]
    our_time, their_time = (statistics.median(times) for times in zip(*pairs, strict=True))
    assert our_time <= their_time / 2, f"{our_time / their_time:.2f} of torch's"


def test_an_attribute_costs_at_most_half_of_torchs() -> None:
    ours, theirs = nn.Linear(1, 1), torch.nn.Linear(1, 1)
    pairs = [(cost(lambda m: m.weight, ours), cost(lambda m: m.weight, theirs)) for _ in range(15)]
    our_time, their_time = (statistics.median(times) for times in zip(*pairs, strict=True))
    assert our_time <= their_time / 2, f"{our_time / their_time:.2f} of torch's"
