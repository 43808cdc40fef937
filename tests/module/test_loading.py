"""A load that fails changes nothing, whatever code of the user's took part in it; and one table says all."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tritonnet import Buffer, Module, Parameter, nn
from tritonnet.errors import StateDictError


class Part(Module):
    """Parameter, buffers, extra state and a plain attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.w = Parameter(torch.zeros(3))
        self.total = Buffer(torch.tensor(0.0))
        self.cache = Buffer(torch.zeros(2, dtype=torch.int64), persistent=False)
        self.extra: Any = {"count": 0}
        self.note = "0 times"

    def get_extra_state(self) -> Any:
        return self.extra

    def set_extra_state(self, state: Any) -> None:
        if state == "bad":
            raise ValueError("bad extra state")
        self.extra = state
        self.note = f"{state['count']} times"


class Overriding(Part):
    """Loads itself, touching all that there is, and in place too."""

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        self.note = "many times"
        self.cache.fill_(5)
        self.total.data = torch.tensor([4.0, 5.0])
        self.total.data = torch.tensor(3.0)
        self.extra["count"] += 1
        self.register_buffer("added", torch.ones(1), persistent=False)
        super()._load_from_state_dict(state_dict, prefix, *rest)
        assert self.w.tolist() == [1, 1, 1], "what super() loaded is there"
        del self.cache


def model(part: type[Part] = Part) -> Any:
    root = Module()
    root.first, root.part, root.last = Part(), part(), Part()
    return root


def state(**changes: Any) -> dict[str, Any]:
    given = {
        f"{name}.{key}": value
        for name in ("first", "part", "last")
        for key, value in {"w": torch.ones(3), "total": torch.tensor(2.0), "_extra_state": {"count": 7}}.items()
    }
    return given | {key.replace("__", "."): value for key, value in changes.items()}


def snapshot(root: Any) -> Any:
    return {
        path: {
            name: (id(value), value.data_ptr(), value.tolist(), value.shape, value.requires_grad)
            if isinstance(value, torch.Tensor)
            else repr(value)
            for name, value in vars(module).items()
            if name not in ("_hook_table", "_looked_at")
        }
        for path, module in root.named_modules()
    }


def spoil_by_hook(root: Any) -> None:
    def hook(module: Any, keys: Any) -> None:
        assert module.last.w.tolist() == [1, 1, 1] and module.first.extra == {"count": 7}
        module.first.w.data.mul_(100)
        module.part.note = "hooked"
        raise KeyError("of the hook")

    root.register_load_state_dict_post_hook(hook)


def spoil_by_pre_hook(root: Any) -> None:
    def hook(module: Any, *given: Any) -> None:
        module.w.data.fill_(9)
        module.register_buffer("late", torch.ones(1))

    root.first.register_load_state_dict_pre_hook(hook)


def forbid(root: Any) -> None:
    root.register_load_state_dict_post_hook(lambda module, keys: keys.missing_keys.append("never"))


CASES: dict[str, tuple[Callable[[], Any], Callable[[Any], object], dict[str, Any], type[Exception]]] = {
    "shape after an override": (
        lambda: model(Overriding),
        lambda root: None,
        {"last__w": torch.ones(4)},
        StateDictError,
    ),
    "missing after an override": (
        lambda: model(Overriding),
        lambda root: None,
        {"last__more": torch.ones(4)},
        StateDictError,
    ),
    "extra state that is refused": (model, lambda root: None, {"last___extra_state": "bad"}, ValueError),
    "extra state refused after an override": (
        lambda: model(Overriding),
        lambda root: None,
        {"last___extra_state": "bad"},
        ValueError,
    ),
    "post-hook that raises": (model, spoil_by_hook, {}, KeyError),
    "post-hook that forbids": (lambda: model(Overriding), forbid, {}, StateDictError),
    "pre-hook that writes, and a shape": (model, spoil_by_pre_hook, {"last__w": torch.ones(4)}, StateDictError),
}


@pytest.mark.parametrize("assign", [False, True])
@pytest.mark.parametrize("make, prepare, changes, error", CASES.values(), ids=CASES.keys())
def test_nothing_is_changed(make: Any, prepare: Any, changes: Any, error: Any, assign: bool) -> None:
    root, given = make(), state(**changes)
    prepare(root)
    # Views of the tensors' memory, so that numbers in it count and not what stands in the modules.
    memory = {name: tensor.detach() for name, tensor in [*root.named_parameters(), *root.named_buffers()]}
    values = {name: tensor.clone() for name, tensor in memory.items()}
    before, keys = snapshot(root), list(given)
    with pytest.raises(error):
        root.load_state_dict(given, assign=assign)
    assert snapshot(root) == before
    assert all(torch.equal(memory[name], values[name]) for name in memory)
    assert list(given) == keys


def test_what_loads_itself_loads() -> None:
    root = model(Overriding)
    with pytest.raises(AttributeError):
        root.load_state_dict(state())
        root.part.cache  # noqa: B018
    assert root.part.w.tolist() == [1, 1, 1] and root.part.total.item() == 2 and root.part.extra == {"count": 7}
    assert root.part.note == "7 times" and root.part.added.item() == 1


def test_ties_are_restored() -> None:
    class Untying(Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = Parameter(torch.zeros(2))

        def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
            self.w = Parameter(state_dict[prefix + "w"])

    root = nn.Sequential(Untying(), Untying())
    weight = root[1].w = root[0].w
    with pytest.raises(StateDictError):
        root.load_state_dict({"0.w": torch.ones(2), "1.w": torch.ones(2), "2.w": torch.ones(2)})
    assert root[0].w is weight is root[1].w


def test_what_had_no_shape_has_none_again() -> None:
    net = nn.Sequential(nn.LazyLinear(3))
    net.register_load_state_dict_post_hook(lambda module, keys: keys.missing_keys.append("never"))
    given = {"0.weight": torch.ones(3, 4), "0.bias": torch.ones(3)}
    with pytest.raises(StateDictError, match="never"):
        net.load_state_dict(given)
    assert repr(net[0].weight) == "<UninitializedParameter>"
    net._load_state_dict_post_hooks.clear()
    net.load_state_dict(given)
    assert net[0].weight.shape == (3, 4)


def test_a_version_counter_stays_where_nothing_was_written() -> None:
    root = model(Overriding)
    loss = (root.first.w * root.last.w).sum()
    with pytest.raises(StateDictError):
        root.load_state_dict(state(last__w=torch.ones(4)))
    loss.backward()


def test_one_table_lists_everything() -> None:
    root = model()
    root.first.half()
    given = state(part__w=torch.ones(4), last__more=torch.ones(2, 2), last__total="text")
    del given["part.total"], given["part._extra_state"]
    with pytest.raises(StateDictError) as caught:
        root.load_state_dict(given)
    rows = [" ".join(line.split()) for line in str(caught.value).splitlines()[1:]]
    assert rows == [
        "key problem module state dict",
        "part.total missing key () float32 -",
        "part._extra_state missing key - -",
        "last.more unexpected key - (2, 2) float32",
        "part.w size mismatch (3,) float32 (4,) float32",
        "last.total not a tensor () float32 str",
        "first.w narrower dtype (3,) float16 (3,) float32",
        "first.total narrower dtype () float16 () float32",
    ]


def test_messages_of_overrides_stand_above_the_table() -> None:
    class Complaining(Module):
        def _load_from_state_dict(self, *args: Any) -> None:
            args[-1].append("layer 3 was saved by a later version")

    root = nn.Sequential(Complaining())
    with pytest.raises(
        StateDictError, match="(?s)does not fit Sequential.*layer 3 was saved by a later version.*x +unex"
    ):
        root.load_state_dict({"x": torch.ones(1)})


def test_a_call_outside_of_a_load_writes_at_once() -> None:
    part, lists = Part(), ([], [], [])  # type: ignore[var-annotated]
    part._load_from_state_dict({"p.w": torch.ones(3)}, "p.", {}, True, *lists)
    assert part.w.tolist() == [1, 1, 1] and lists == (["p.total", "p._extra_state"], [], [])
    part._load_from_state_dict({"p.w": torch.zeros(4), "p.total": torch.tensor(5.0)}, "p.", {}, False, *lists)
    assert part.w.tolist() == [1, 1, 1] and part.total.item() == 0 and "size mismatch" in "".join(lists[2])
