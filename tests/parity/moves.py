"""to(), casts, devices, gradients, construction on devices and in dtypes."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

from tests.beside_torch import Behaviour
from tests.parity.models import tree


def moved(move: Callable[[Any], Any]) -> Behaviour:
    """What a move does to dtypes, devices, gradients, ties and identities; it returns the module."""

    def behave(nn: ModuleType) -> Any:
        module = tree(nn)
        module.b.register_buffer("count", torch.tensor(3))
        module.b.phase = nn.Buffer(torch.ones(2, dtype=torch.complex64))
        module.a.weight.grad = torch.ones_like(module.a.weight)
        weight, grad = module.a.weight, module.a.weight.grad
        assert move(module) is module
        tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        kinds = {name: (tensor.dtype, tensor.device.type, tensor.requires_grad) for name, tensor in tensors.items()}
        after = module.a.weight.grad
        ties = module.b.weight is module.a.weight, module.a.weight is weight, after is grad
        return kinds, after.dtype, after.device.type, ties, module.a.bias, type(module.a.weight).__name__

    return behave


def grads(act: Callable[[Any], Any]) -> Behaviour:
    def behave(nn: ModuleType) -> Any:
        module = tree(nn)
        module.a.weight.sum().backward()
        act(module)
        grad = module.a.weight.grad
        return None if grad is None else grad.tolist(), module.a.weight.requires_grad

    return behave


def contexts(nn: ModuleType) -> Any:
    with torch.device("meta"):
        meta = nn.Linear(2, 2)
    kept = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        double = nn.Conv2d(1, 1, 1)
    finally:
        torch.set_default_dtype(kept)
    given = nn.Linear(2, 2, device="meta", dtype=torch.float16)
    return meta.weight.device.type, double.weight.dtype, given.bias.dtype, given.bias.device.type


def from_meta(nn: ModuleType) -> Any:
    module = nn.Linear(2, 2, device="meta")
    module.to_empty(device="cpu")
    return module.weight.device.type, module.weight.requires_grad, module.bias.shape


def emptied(recurse: bool) -> Behaviour:
    def behave(nn: ModuleType) -> Any:
        module = nn.Sequential(nn.Linear(2, 2, device="meta"))
        module.own = nn.Parameter(torch.ones(2, device="meta"))
        module.to_empty(device="cpu", recurse=recurse)
        return [p.device.type for p in module.parameters()]

    return behave


def own_apply(nn: ModuleType) -> Any:
    """A class that moves more than its tensors, as several libraries do."""

    class Net(nn.Module):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.ones(2))
            self.plain = torch.ones(2)

        def _apply(self, fn: Any, recurse: bool = True) -> Any:
            super()._apply(fn, recurse)
            self.plain = fn(self.plain)
            return self

    outer = nn.Sequential(Net())
    return outer.double()[0].plain.dtype, outer.to(torch.float16)[0].plain.dtype, outer[0].w.dtype


def training_goes_on(nn: ModuleType) -> Any:
    """An optimizer made before a move steps the parameters after it."""
    module = tree(nn)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
    module.double()
    module.a.weight.sum().backward()
    optimizer.step()
    return module.a.weight.tolist(), module.b.weight.tolist()


def applied_function(nn: ModuleType) -> Any:
    seen: list[Any] = []
    tree(nn)._apply(lambda tensor: seen.append(tuple(tensor.shape)) or tensor)
    return seen


def frozen(nn: ModuleType) -> Any:
    module = tree(nn)
    module.a.requires_grad_(False)
    flags = [p.requires_grad for p in module.parameters()]
    return flags, module.double().a.weight.requires_grad, module.requires_grad_().a.weight.requires_grad


def shared_memory(nn: ModuleType) -> Any:
    module = tree(nn)
    assert module.share_memory() is module
    return [tensor.is_shared() for tensor in module.state_dict().values()], module.a.weight is module.b.weight


def zeroed_graph(nn: ModuleType) -> Any:
    """Gradients that have a graph of their own."""
    module = tree(nn)
    (module.a.weight**2).sum().backward(create_graph=True)
    module.zero_grad(set_to_none=False)
    grad = module.a.weight.grad
    return grad.tolist(), grad.requires_grad, grad.grad_fn is None


def format_kept(nn: ModuleType) -> Any:
    module = nn.Conv2d(2, 2, 2).to(memory_format=torch.channels_last)
    return module.weight.stride(), module.double().weight.stride(), module.bias.stride()


CALLS: dict[str, Callable[[Any], Any]] = {
    "double": lambda m: m.double(),
    "half": lambda m: m.half(),
    "bfloat16": lambda m: m.bfloat16(),
    "float": lambda m: m.float(),
    "double and back": lambda m: m.double().float(),
    "type": lambda m: m.type(torch.float64),
    "type, by name": lambda m: m.type("torch.DoubleTensor"),
    "type, unknown": lambda m: m.type("double"),
    "cpu": lambda m: m.cpu(),
    "to nothing": lambda m: m.to(),
    "to None": lambda m: m.to(None),
    "to dtype": lambda m: m.to(torch.float64),
    "to dtype by keyword": lambda m: m.to(dtype=torch.float64),
    "to dtype, non_blocking": lambda m: m.to(torch.float64, True),
    "to device": lambda m: m.to("cpu"),
    "to device with number": lambda m: m.to("cpu:0"),
    "to torch.device": lambda m: m.to(torch.device("cpu")),
    "to device by keyword": lambda m: m.to(device="cpu"),
    "to device and dtype": lambda m: m.to("cpu", torch.float16, non_blocking=True),
    "to device and dtype, positional": lambda m: m.to("cpu", torch.float16, True),
    "to device and dtype by keyword": lambda m: m.to(device="cpu", dtype=torch.bfloat16, non_blocking=False),
    "to device and no dtype": lambda m: m.to("cpu", None),
    "to tensor's": lambda m: m.to(torch.ones(1, dtype=torch.float64)),
    "to tensor's, by keyword": lambda m: m.to(tensor=torch.ones(1, dtype=torch.float64)),
    "to integer tensor's": lambda m: m.to(torch.ones(1, dtype=torch.int32)),
    "to integers": lambda m: m.to(torch.int32),
    "to bool": lambda m: m.to(dtype=torch.bool),
    "to complex": lambda m: m.to(torch.complex64),
    "to nonsense": lambda m: m.to("nowhere"),
    "to a number": lambda m: m.to(1.5),
    "to with an unknown keyword": lambda m: m.to(copy=True),
    "to dtype twice": lambda m: m.to(torch.float32, dtype=torch.float64),
    "cuda": lambda m: m.cuda(),
    "cuda, number": lambda m: m.cuda(0),
    "to cuda": lambda m: m.to("cuda"),
    "xpu": lambda m: m.xpu(),
    "ipu": lambda m: m.ipu(),
    "mtia": lambda m: m.mtia(),
    "to_empty": lambda m: m.to_empty(device="cpu"),
    "to_empty without device": lambda m: m.to_empty(),
    "to_empty, device None": lambda m: m.to_empty(device=None),
}
# Where there is a GPU, both libraries move there all the same.
BEHAVIOURS: dict[str, Behaviour] = {
    **{name: moved(move) for name, move in CALLS.items()},
    "to channels_last": lambda nn: nn.Conv2d(2, 2, 2).to(memory_format=torch.channels_last).weight.stride(),
    "to channels_last and dtype": lambda nn: (
        nn.Conv2d(2, 2, 2).to("cpu", torch.float64, memory_format=torch.channels_last).weight.stride()
    ),
    "channels_last is kept": format_kept,
    "to_empty from meta": from_meta,
    "to_empty, all": emptied(True),
    "to_empty, own": emptied(False),
    "meta to cpu": lambda nn: nn.Linear(2, 2, device="meta").to("cpu"),
    "meta to dtype": lambda nn: nn.Linear(2, 2, device="meta").to(torch.float64).weight.dtype,
    "meta to meta": lambda nn: nn.Linear(2, 2, device="meta").to("meta", torch.float64).weight.dtype,
    "device and dtype contexts": contexts,
    "own _apply": own_apply,
    "_apply's tensors": applied_function,
    "an optimizer goes on": training_goes_on,
    "share_memory": shared_memory,
    "zero_grad": grads(lambda m: m.zero_grad()),
    "zero_grad to zeros": grads(lambda m: m.zero_grad(set_to_none=False)),
    "zero_grad, positional": grads(lambda m: m.zero_grad(False)),
    "zero_grad of a child": grads(lambda m: m.b.zero_grad()),
    "zero_grad with a graph": zeroed_graph,
    "freeze": grads(lambda m: m.requires_grad_(False)),
    "freeze a part": frozen,
}
