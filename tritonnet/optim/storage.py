"""Where parameters, gradients and states lie in memory: the pointer tables of an optimizer's launches."""

from collections.abc import Callable, Sequence
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from tritonnet.errors import DtypeError
from tritonnet.kernels._op import Op
from tritonnet.kernels._table import Table, addresses, same_order, without_gaps

if TYPE_CHECKING:
    from ._fused import Fused

State = dict[str, Tensor]
Group = dict[str, Any]
Hyper = list[tuple[float | Tensor, ...]]
"""For each parameter group a row of numbers, or of tensors of one."""


class Plan(NamedTuple):
    """What decides, beside dtypes and devices, which groups of parameters share a launch.

    keys: what the kernel takes of each parameter's state, None for a list that it is not given.
    options: keywords of the kernel.
    """

    keys: tuple[str | None, ...]
    options: tuple[tuple[str, bool], ...]


class Row(NamedTuple):
    """A parameter, the index of its group, its state, and whether that begins with the step at hand."""

    group: int
    param: Tensor
    state: State
    begins: bool


class Storage:
    """The launches of an optimizer, and a generation that rises whenever they are made anew.

    They are made anew where a parameter or its state has moved or changed dtype or shape, where a parameter gets its
    first gradient or one of another dtype, and where groups, their parameters or their plans are others. Gradients may
    lie elsewhere at every step: only their row of the table is renewed.
    """

    def __init__(self) -> None:
        self.generation = 0
        self._launches: list[Launch] = []
        self._idle: list[Tensor] = []
        self._members: list[tuple[Any, ...]] = []
        self._states: list[State] = []
        self._state_ids: list[int] = []

    def launches(self, optimizer: "Fused") -> "list[Launch]":
        """What to launch for the gradients that the parameters have now; states are made where there are none yet."""
        # No number can be another parameter's or state's: those of the last step are held here or by the launches.
        members = [(optimizer._plan(group), *map(id, group["params"])) for group in optimizer.param_groups]
        if (
            members != self._members
            or list(map(id, optimizer.state.values())) != self._state_ids
            or any(launch.moved() for launch in self._launches)
            or any(p.grad is not None for p in self._idle)
            or not all(launch.take_grads(optimizer) for launch in self._launches)
        ):
            self._make(optimizer)
            self._members = members
            self._states = list(optimizer.state.values())
            self._state_ids = list(map(id, self._states))
            for launch in self._launches:
                launch.take_grads(optimizer)
        return self._launches

    def _make(self, optimizer: "Fused") -> None:
        self.generation += 1
        self._idle = []
        rows: dict[tuple[Any, ...], list[Row]] = {}
        found: set[int] = set()
        for index, group in enumerate(optimizer.param_groups):
            plan = optimizer._plan(group)
            keys = [key for key in plan.keys if key is not None]
            for p in group["params"]:
                if id(p) in found:
                    continue
                found.add(id(p))
                state: State = optimizer.state.get(p, {})
                begins = any(state.get(key) is None for key in keys)
                if (begins or not keys) and not optimizer._starts(p):
                    self._idle.append(p)
                    continue
                if begins:
                    state |= {key: v for key, v in optimizer._new_state(p, group).items() if state.get(key) is None}
                    optimizer.state[p] = state
                key = (p.device, p.dtype, _grad_dtype(p), state[keys[0]].dtype if keys else None, plan)
                rows.setdefault(key, []).append(Row(index, p, state, begins))
        self._launches = [optimizer._launch(of_key, key[-1]) for key, of_key in rows.items()]


class Launch:
    """The tensors that one launch updates: those of a device, of dtypes and of a plan.

    The kernel walks memory. A parameter with gaps is therefore updated in a dense copy, and a gradient that lies in
    memory otherwise than its parameter is copied; autograd makes none such. Meta and fake tensors lie nowhere: they
    have no table, and the operation's reference looks at their shapes.
    """

    kernel: ClassVar[Op]
    """kernel(params, grads, *columns, hyper, **numbers, grad_scale=, found_inf=, table=, **options)"""
    make_table: ClassVar[Callable[..., Table]]
    """make_table(params, grads, *columns, **numbers)"""

    def __init__(self, rows: Sequence[Row], plan: Plan) -> None:
        self._params = [row.param for row in rows]
        self._states = [row.state for row in rows]
        self._keys = [key for key in plan.keys if key is not None]
        self._columns = tuple(key and tuple(state[key] for state in self._states) for key in plan.keys)
        self._options = dict(plan.options)
        self._numbers = self.numbers(rows)
        self._dense = tuple(dense(p) for p in self._params)
        self._gaps = [i for i, p in enumerate(self._params) if p is not self._dense[i]]
        self._table: Table | None = None
        if not (self._dense[0].is_meta or isinstance(self._dense[0], FakeTensor)):
            self._table = type(self).make_table(self._dense, [None] * len(rows), *self._columns, **self._numbers)
        self._layout = self._layout_now()
        self._strides = list(map(Tensor.stride, self._dense))
        self._grads: list[Tensor | None] = []
        self._grad_dtype = _grad_dtype(self._params[0])
        self._grad_addresses = [0] * len(rows)
        self._captured: list[Tensor] = []
        self._hyper = torch.empty(0, device="cpu")
        self._hyper_values: Hyper = []

    def numbers(self, rows: Sequence[Row]) -> dict[str, tuple[int, ...]]:
        """What the kernel is told of each parameter beside its tensors."""
        return {"groups": tuple(row.group for row in rows)}

    def moved(self) -> bool:
        """Whether a parameter or its state lies elsewhere, or otherwise, than the table says."""
        return self._layout != self._layout_now()

    def _layout_now(self) -> list[Any]:
        layout: list[Any] = [list(map(look, self._params)) for look in (_DTYPE, _SHAPE, Tensor.stride)]
        if self._table is not None:
            layout.append(list(map(Tensor.data_ptr, self._params)))
            for key in self._keys:
                try:
                    layout.append(list(map(Tensor.data_ptr, map(itemgetter(key), self._states))))
                except (KeyError, TypeError):
                    layout.append(None)
        return layout

    def take_grads(self, optimizer: "Fused") -> bool:
        """Points the table to the gradients of this step; False if one has another dtype than the launch."""
        grads: list[Tensor | None] = [p.grad for p in self._params]
        present, strides = [grad for grad in grads if grad is not None], self._strides
        if len(present) < len(grads):
            strides = [stride for stride, grad in zip(strides, grads, strict=True) if grad is not None]
        if not {torch.strided}.issuperset(map(_LAYOUT, present)):
            sparse = next(grad for grad in present if grad.layout is not torch.strided)
            what = f"the gradient of a parameter {tuple(sparse.shape)} is {sparse.layout}, not dense"
            raise DtypeError(f"{type(optimizer).__name__}: {what}")
        if not {self._grad_dtype}.issuperset(map(_DTYPE, present)):
            return False
        if strides != list(map(Tensor.stride, present)) or any(map(Tensor.is_neg, present)):
            grads = [grad if grad is None else alike(grad, p) for grad, p in zip(grads, self._dense, strict=True)]
        self._grads = grads
        if self._table is None:
            return True
        found = addresses(grads)
        if found != self._grad_addresses:
            self._grad_addresses = found
            row = self._table.grads
            if row.is_cuda:
                self._send(found, row)
            else:
                row.numpy()[:] = found
        return True

    def _send(self, numbers: Sequence[Any], to: Tensor) -> None:
        """Writes numbers into a tensor of its device, without waiting for it."""
        pinned = to.is_cuda and self._table is not None
        host = torch.tensor(numbers, dtype=to.dtype, device="cpu", pin_memory=pinned)
        to.copy_(host, non_blocking=True)
        if torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing():
            # Every replay copies from this memory again.
            self._captured.append(host)

    def run(self, hyper: Hyper, grad_scale: Tensor | None, found_inf: Tensor | None) -> None:
        """One step of the parameters that have gradients."""
        self._set_hyper(hyper)
        lists: list[Any] = [self._dense, self._grads, *self._columns, *self._numbers.values()]
        # Gradients are not held any longer than this step takes.
        self._grads = []
        here = [i for i, grad in enumerate(lists[1]) if grad is not None]
        if not here:
            return
        gaps = [(self._params[i].detach(), self._dense[i]) for i in self._gaps if lists[1][i] is not None]
        if len(here) < len(self._params):
            lists = [of_all and tuple(of_all[i] for i in here) for of_all in lists]
        tensors, numbers = lists[: -len(self._numbers)], lists[-len(self._numbers) :]
        for p, copy in gaps:
            copy.copy_(p)
        self.kernel(
            *tensors, self._hyper, **dict(zip(self._numbers, numbers, strict=True)), **self._options,
            grad_scale=self._here(grad_scale), found_inf=self._here(found_inf), table=self._table,
        )  # fmt: skip
        for p, copy in gaps:
            p.copy_(copy)

    def _here(self, tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor.to(self._hyper.device)

    def _set_hyper(self, values: Hyper) -> None:
        """A row for each parameter group, in place: a captured graph reads the values of the day."""
        if values != self._hyper_values:
            if len(self._hyper) != len(values):
                shape = len(values), len(values[0])
                self._hyper = torch.empty(shape, dtype=torch.float64, device=self._dense[0].device)
            self._send([[0.0 if isinstance(v, Tensor) else v for v in row] for row in values], self._hyper)
            self._hyper_values = values
        for row, numbers in enumerate(values):
            for at, number in enumerate(numbers):
                if isinstance(number, Tensor):
                    self._hyper[row, at].copy_(number.reshape(()), non_blocking=True)


_DTYPE, _LAYOUT, _SHAPE = map(attrgetter, ("dtype", "layout", "shape"))


def dense(p: Tensor) -> Tensor:
    """`p` if it lies in memory without gaps, else a tensor for a dense copy of it."""
    return p if without_gaps(p) else torch.empty_like(p)


def alike(grad: Tensor, p: Tensor) -> Tensor:
    """`grad` if it lies in memory as `p` does, else a copy that does."""
    if same_order(grad, p) and not grad.is_neg():
        return grad
    return torch.empty_like(p, dtype=grad.dtype).copy_(grad)


def _grad_dtype(p: Tensor) -> torch.dtype:
    return p.dtype if p.grad is None else p.grad.dtype
