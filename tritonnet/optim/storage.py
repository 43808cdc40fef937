"""Where parameters, gradients and moments lie in memory: the pointer tables of an optimizer's launches."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from tritonnet import kernels
from tritonnet.errors import DtypeError
from tritonnet.kernels.adam import Table, adam_table, address, same_order

State = dict[str, Tensor]
Group = dict[str, Any]
Hyper = list[tuple[float | Tensor, float, float, float, float]]
"""For each parameter group: lr, beta1, beta2, eps, weight_decay."""


class Storage:
    """The launches of an optimizer, and a generation that rises whenever they are made anew.

    They are made anew where a parameter or a moment has moved or changed dtype or shape, where a parameter gets its
    first gradient or one of another dtype, and where groups, their parameters or their flags are others. Gradients may
    lie elsewhere at every step: only their row of the table is renewed.
    """

    def __init__(self) -> None:
        self.generation = 0
        self._launches: list[Launch] = []
        self._idle: list[Tensor] = []
        self._members: list[tuple[int, ...]] = []

    def launches(
        self,
        groups: Sequence[Group],
        states: Mapping[Tensor, State],
        state_of: Callable[[Tensor, Group], State | None],
    ) -> "list[Launch]":
        """What to launch for the gradients that the parameters have now.

        Args:
            states: the states of all parameters that have one.
            state_of: the state of a parameter, made where there is none yet; None for one without state or gradient.
        """
        # No number can be another parameter's: those of the last step are held by the launches, or idle.
        members = [(*_flags(group), *map(id, group["params"])) for group in groups]
        if (
            members != self._members
            or any(launch.moved(states) for launch in self._launches)
            or any(p.grad is not None for p in self._idle)
            or not all(launch.take_grads() for launch in self._launches)
        ):
            self._make(groups, state_of)
            self._members = members
            for launch in self._launches:
                launch.take_grads()
        return self._launches

    def _make(self, groups: Sequence[Group], state_of: Callable[[Tensor, Group], State | None]) -> None:
        self.generation += 1
        self._idle = []
        rows: dict[tuple[Any, ...], list[tuple[int, Tensor, State]]] = {}
        found: set[int] = set()
        for index, group in enumerate(groups):
            for p in group["params"]:
                if id(p) in found:
                    continue
                found.add(id(p))
                state = state_of(p, group)
                if state is None:
                    self._idle.append(p)
                else:
                    key = (p.device, p.dtype, _grad_dtype(p), state["exp_avg"].dtype, _flags(group))
                    rows.setdefault(key, []).append((index, p, state))
        self._launches = [Launch(of_key, *key[-1]) for key, of_key in rows.items()]


class Launch:
    """The tensors that one launch updates: those of a device, of dtypes and of flags.

    The kernel walks memory. A parameter with gaps is therefore updated in a dense copy, and a gradient that lies in
    memory otherwise than its parameter is copied; autograd makes none such. Meta and fake tensors lie nowhere: they
    have no table, and the operation's reference looks at their shapes.
    """

    def __init__(
        self, rows: Sequence[tuple[int, Tensor, State]], amsgrad: bool, decoupled: bool, maximize: bool
    ) -> None:
        groups, self._params, self._states = (list(column) for column in zip(*rows, strict=True))
        self._decoupled, self._maximize = decoupled, maximize
        self._dense = tuple(dense(p) for p in self._params)
        self._gaps = [i for i, p in enumerate(self._params) if p is not self._dense[i]]
        self._keys = ("exp_avg", "exp_avg_sq", *(("max_exp_avg_sq",) if amsgrad else ()), "step")
        first, second, *largest, steps = (tuple(state[key] for state in self._states) for key in self._keys)
        self._columns = first, second, largest[0] if largest else None, steps
        self._groups = tuple(groups)
        self._table: Table | None = None
        if not (self._dense[0].is_meta or isinstance(self._dense[0], FakeTensor)):
            self._table = adam_table(self._dense, [None] * len(rows), *self._columns, groups)
        self._layout = self._layout_now()
        self._grads: tuple[Tensor | None, ...] = ()
        self._grad_dtype = _grad_dtype(self._params[0])
        self._grad_addresses = [0] * len(rows)
        self._captured: list[Tensor] = []
        self._hyper = torch.empty(0, device="cpu")
        self._hyper_values: Hyper = []

    def moved(self, states: Mapping[Tensor, State]) -> bool:
        """Whether a parameter or a moment lies elsewhere, or otherwise, than the table says."""
        kept = all(states.get(p) is state for p, state in zip(self._params, self._states, strict=True))
        return not kept or self._layout != self._layout_now()

    def _layout_now(self) -> list[Any]:
        if self._table is None:
            return [(p.dtype, p.shape, p.stride()) for p in self._params]
        layout: list[Any] = [(p.data_ptr(), p.dtype, p.shape, p.stride()) for p in self._params]
        for key in self._keys:
            layout += [state[key].data_ptr() if key in state else None for state in self._states]
        return layout

    def take_grads(self) -> bool:
        """Points the table to the gradients of this step; False if one has another dtype than the launch."""
        grads: list[Tensor | None] = []
        for p, like in zip(self._params, self._dense, strict=True):
            grad = p.grad
            if grad is not None:
                if grad.layout is not torch.strided:
                    raise DtypeError(f"step: the gradient of a parameter {tuple(p.shape)} is {grad.layout}, not dense")
                if grad.dtype is not self._grad_dtype:
                    return False
                if grad.is_neg() or (grad.stride() != like.stride() and not same_order(grad, like)):
                    grad = torch.empty_like(like, dtype=grad.dtype).copy_(grad)
            grads.append(grad)
        self._grads = tuple(grads)
        if self._table is None:
            self._grad_addresses = [int(grad is not None) for grad in grads]
            return True
        addresses = [address(grad) for grad in grads]
        if addresses != self._grad_addresses:
            self._grad_addresses = addresses
            row = self._table.grads
            if row.is_cuda:
                self._send(addresses, row)
            else:
                row.numpy()[:] = addresses
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
        params, grads, groups = self._dense, self._grads, self._groups
        columns: Sequence[Any] = self._columns
        # Gradients are not held any longer than this step takes.
        self._grads = ()
        gaps = [(self._params[i].detach(), params[i]) for i in self._gaps if grads[i] is not None]
        if 0 in self._grad_addresses:
            here = [i for i, grad in enumerate(grads) if grad is not None]
            params, grads, groups = (tuple(of_all[i] for i in here) for of_all in (params, grads, groups))
            columns = [column and tuple(column[i] for i in here) for column in columns]
        if not grads:
            return
        if found_inf is not None:
            found_inf = found_inf.to(self._hyper.device)
        if grad_scale is not None:
            grad_scale = grad_scale.to(self._hyper.device)
        for p, copy in gaps:
            copy.copy_(p)
        kernels.adam(
            params, grads, *columns, self._hyper, groups=groups, decoupled=self._decoupled, maximize=self._maximize,
            grad_scale=grad_scale, found_inf=found_inf, table=self._table,
        )  # fmt: skip
        for p, copy in gaps:
            p.copy_(copy)

    def _set_hyper(self, values: Hyper) -> None:
        """A row for each parameter group, in place: a captured graph reads the values of the day."""
        if values != self._hyper_values:
            if len(self._hyper) != len(values):
                shape = len(values), len(values[0])
                self._hyper = torch.empty(shape, dtype=torch.float64, device=self._dense[0].device)
            self._send([[0.0 if isinstance(v, Tensor) else v for v in row] for row in values], self._hyper)
            self._hyper_values = values
        for row, (lr, *_) in enumerate(values):
            if isinstance(lr, Tensor):
                self._hyper[row, 0].copy_(lr, non_blocking=True)


def dense(p: Tensor) -> Tensor:
    """`p` if it lies in memory without gaps, else a tensor for a dense copy of it."""
    return p if same_order(p, torch.empty_like(p, device="meta")) else torch.empty_like(p)


def _flags(group: Group) -> tuple[bool, bool, bool]:
    return group["amsgrad"], group["decoupled_weight_decay"], group["maximize"]


def _grad_dtype(p: Tensor) -> torch.dtype:
    return p.dtype if p.grad is None else p.grad.dtype
