"""Fused: what optimizers share whose step is one launch for all parameters of a device and dtype."""

import difflib
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from tritonnet.errors import DtypeError, ShapeError, dtype_name
from tritonnet.kernels._op import FLOATS

from ._state_dict import load
from .storage import Group, Launch, Plan, State, Storage


class Fused(Optimizer):
    """An optimizer with one launch a step.

    A subclass says what is launched (`_launch`, `_plan`, `_hyper`), what the state of a parameter is (`_new_state`,
    `_starts`, `_optional`) and which hyper-parameters it refuses (`_check`).
    """

    _step_supports_amp_scaling = True

    _launch: ClassVar[type[Launch]]
    _optional: ClassVar[tuple[str, ...]] = ()
    """Keys that a loaded state may have or lack."""
    _other_names: ClassVar[dict[str, str]] = {
        "learning_rate": "lr",
        "decay": "weight_decay",
        "wd": "weight_decay",
        "l2": "weight_decay",
    }
    """Keywords that are known elsewhere by another name."""

    def __init__(self, params: Iterable[Any], defaults: Group, unknown: dict[str, Any]) -> None:
        if unknown:
            self._refuse(unknown, list(defaults))
        self._storage = Storage()
        super().__init__(params, defaults)

    def _plan(self, group: Group) -> Plan:
        raise NotImplementedError

    def _hyper(self, group: Group) -> tuple[float | Tensor, ...]:
        """The group's row of the kernel's hyper-parameters."""
        raise NotImplementedError

    def _new_state(self, p: Tensor, group: Group) -> State:
        raise NotImplementedError

    def _starts(self, p: Tensor) -> bool:
        """Whether a parameter without state gets one for this step."""
        return p.grad is not None

    def add_param_group(self, param_group: Group) -> None:
        """Adds parameters with hyper-parameters of their own; those not given are the optimizer's."""
        if isinstance(param_group, dict):
            self._check({**self.defaults, **param_group})
        before = len(self.param_groups)
        super().add_param_group(param_group)
        for p in self.param_groups[before]["params"]:
            if p.dtype not in FLOATS:
                del self.param_groups[before]
                takes = ", ".join(map(dtype_name, FLOATS))
                raise DtypeError(f"{type(self).__name__}: a parameter {tuple(p.shape)} is {p.dtype}; it takes {takes}")

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of all parameters that have a gradient.

        Args:
            closure: computes the loss and its gradients anew, and returns the loss, which is then returned.

        Raises: DtypeError for a gradient that is not dense.
        """
        # torch's wrapper for hooks and profiler costs as much as all the rest, so it is worn only where it is needed.
        if (
            self._optimizer_step_pre_hooks
            or self._optimizer_step_post_hooks
            or _global_optimizer_pre_hooks
            or _global_optimizer_post_hooks
            or torch.autograd._profiler_enabled()
        ):
            return Optimizer.profile_hook_step(Fused._step)(self, closure)
        return self._step(closure)

    step.hooked = True  # type: ignore[attr-defined]

    def _step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        hyper = [self._hyper(group) for group in self.param_groups]
        grad_scale, found_inf = getattr(self, "grad_scale", None), getattr(self, "found_inf", None)
        for launch in self._storage.launches(self):
            launch.run(hyper, grad_scale, found_inf)
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over the state and the hyper-parameters of another such optimizer, tritonnet's or torch's.

        States that exist are overwritten in place and keep their dtypes, and nothing is changed unless all fits.

        Raises: StateDictError that lists everything that is missing, unexpected or of another shape.
        """
        load(self, state_dict, self._new_state, self._check, self._optional)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._storage = Storage()

    def _check(self, group: Group) -> None:
        """Raises ShapeError for hyper-parameters out of range."""
        lr = group["lr"]
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise self._wrong(f"lr is a tensor {tuple(lr.shape)}; it holds one element")
        self._check_signs(group, "lr", "weight_decay")
        if group["foreach"] and group["fused"]:
            raise self._wrong("foreach and fused are both True, of which torch has none; leave both out")
        if group["differentiable"]:
            raise self._wrong("differentiable is True; the step is not recorded by autograd")

    def _check_signs(self, group: Group, *keys: str) -> None:
        for key in keys:
            # A number on a GPU is not looked at: that would wait for the GPU.
            elsewhere = isinstance(group[key], Tensor) and group[key].device.type != "cpu"
            if not elsewhere and not group[key] >= 0.0:
                raise self._wrong(f"{key} is {group[key]}; it must not be negative")

    def _wrong(self, what: str) -> ShapeError:
        return ShapeError(f"{type(self).__name__}: {what}")

    def _refuse(self, unknown: dict[str, Any], known: list[str]) -> None:
        """Raises TypeError for keywords that do not exist, with those that were probably meant."""
        found = []
        for key in unknown:
            close = self._other_names.get(key) or next(iter(difflib.get_close_matches(key, known, 1)), None)
            found.append(f"{key!r} (use {close}=)" if close else f"{key!r} (there are {', '.join(known)})")
        raise TypeError(f"{type(self).__name__}: unexpected keyword {', '.join(found)}")
