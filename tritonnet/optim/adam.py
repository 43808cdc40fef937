"""Adam and AdamW: torch.optim's, as one Triton launch for all parameters of a dtype."""

import difflib
import functools
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from tritonnet.errors import DtypeError, ShapeError

from ._state_dict import load
from .storage import Group, State, Storage

_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_OTHER_NAMES = {
    "learning_rate": "lr",
    "beta": "betas",
    "beta1": "betas",
    "beta2": "betas",
    "epsilon": "eps",
    "decay": "weight_decay",
    "wd": "weight_decay",
    "l2": "weight_decay",
    "decoupled": "decoupled_weight_decay",
}


class Adam(Optimizer):
    """m += (1 - b1)(g - m), v += (1 - b2)(g^2 - v), p -= lr / (1 - b1^t) m / (sqrt(v / (1 - b2^t)) + eps).

    All parameters of a device and dtype take their step in one launch, whatever their groups. Their steps, bias
    corrections, learning rates, GradScaler's scale and its found_inf are read on the device: nothing waits for it.
    Moments of float16 and bfloat16 parameters are float32 (torch keeps them in the parameter's dtype). A parameter
    without gradient takes no step. Gradients are left as they are, those of a GradScaler scaled.

    State dicts are torch.optim.Adam's, both ways. Where both sides know the names of the parameters (the optimizer was
    given `module.named_parameters()`), their states are matched by name, in any order; else by order.

    Args:
        params: tensors, (name, tensor) pairs, or dictionaries of these with hyper-parameters of their own.
        lr: step per unit of update; a number, or a tensor of one that may change on the device.
        betas: decay of the two moments, each in [0, 1).
        eps: added to the root of the second moment.
        weight_decay: d; d p is added to g, or if decoupled p is multiplied by 1 - lr d.
        amsgrad: divide by the largest second moment so far.
        maximize: step along the gradient instead of against it.
        foreach, fused, capturable: which of its implementations torch is to take. Here there is one, which is fused and
            can be captured; what is given is kept for the state dict.
        differentiable: must be False: the step is not recorded by autograd.
        decoupled_weight_decay: AdamW.

    Raises: TypeError for a keyword that does not exist, with the one that was probably meant; ValueError for
        hyper-parameters out of range and for no parameters or non-leaf ones; DtypeError for parameters that are not
        float32, float16, bfloat16 or float64.
    Source: Kingma and Ba, Adam (2015); Reddi, Kale and Kumar, On the convergence of Adam and beyond (2018).
    """

    _step_supports_amp_scaling = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        decoupled_weight_decay: bool = False,
        **unknown: Any,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": tuple(betas),
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        if unknown:
            _refuse(type(self).__name__, unknown, list(defaults))
        self._storage = Storage()
        super().__init__(params, defaults)

    def add_param_group(self, param_group: Group) -> None:
        """Adds parameters with hyper-parameters of their own; those not given are the optimizer's."""
        if isinstance(param_group, dict):
            _check(type(self).__name__, {**self.defaults, **param_group})
        before = len(self.param_groups)
        super().add_param_group(param_group)
        for p in self.param_groups[before]["params"]:
            if p.dtype not in _DTYPES:
                del self.param_groups[before]
                takes = ", ".join(str(d).removeprefix("torch.") for d in _DTYPES)
                raise DtypeError(f"{type(self).__name__}: a parameter {tuple(p.shape)} is {p.dtype}; it takes {takes}")

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of all parameters that have a gradient.

        Args:
            closure: computes the loss and its gradients anew, and returns the loss, which is then returned.
        """
        # torch's wrapper for hooks and profiler costs as much as all the rest, so it is worn only where it is needed.
        if (
            self._optimizer_step_pre_hooks
            or self._optimizer_step_post_hooks
            or _global_optimizer_pre_hooks
            or _global_optimizer_post_hooks
            or torch.autograd._profiler_enabled()
        ):
            return Optimizer.profile_hook_step(Adam._step)(self, closure)
        return self._step(closure)

    step.hooked = True  # type: ignore[attr-defined]

    def _step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        hyper = [(g["lr"], *map(float, g["betas"]), g["eps"], g["weight_decay"]) for g in self.param_groups]
        grad_scale, found_inf = getattr(self, "grad_scale", None), getattr(self, "found_inf", None)
        for launch in self._storage.launches(self.param_groups, self.state, self._state_of):
            launch.run(hyper, grad_scale, found_inf)
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over the state and the hyper-parameters of another Adam, tritonnet's or torch's.

        States that exist are overwritten in place, moments keep their dtype, and nothing is changed unless all fits.

        Raises: StateDictError that lists everything that is missing, unexpected or of another shape.
        """
        load(self, state_dict, self._new_state, functools.partial(_check, type(self).__name__), ("max_exp_avg_sq",))

    def _state_of(self, p: Tensor, group: Group) -> State | None:
        state: State = self.state.get(p) or {}
        if not state and p.grad is None:
            return None
        for key, value in self._new_state(p, group).items() if len(state) < 3 + group["amsgrad"] else ():
            state.setdefault(key, value)
        self.state[p] = state
        return state

    def _new_state(self, p: Tensor, group: Group) -> State:
        dtype = torch.float64 if p.dtype == torch.float64 else torch.float32
        moments = ("exp_avg", "exp_avg_sq", *(("max_exp_avg_sq",) if group["amsgrad"] else ()))
        step = torch.zeros((), dtype=torch.float32, device=p.device)
        return {"step": step, **{key: torch.zeros_like(p, dtype=dtype, requires_grad=False) for key in moments}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._storage = Storage()


class AdamW(Adam):
    """Adam with decoupled weight decay: p is multiplied by 1 - lr weight_decay before each step.

    All else, and all arguments, are Adam's; a state dict of Adam's that is loaded decays decoupled all the same.

    Source: Loshchilov and Hutter, Decoupled weight decay regularization (2019), algorithm 2.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        **unknown: Any,
    ) -> None:
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, foreach=foreach, fused=fused,
            capturable=capturable, differentiable=differentiable, decoupled_weight_decay=True, **unknown,
        )  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        for group in self.param_groups:
            group["decoupled_weight_decay"] = True


def _check(name: str, group: Group) -> None:
    lr, betas = group["lr"], group["betas"]
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ShapeError(f"{name}: lr is a tensor {tuple(lr.shape)}; it holds one element")
    # A learning rate on a GPU is not looked at: that would wait for the GPU.
    if not (isinstance(lr, Tensor) and lr.device.type != "cpu") and not lr >= 0.0:
        raise ShapeError(f"{name}: lr is {lr}; it must not be negative")
    if len(betas) != 2 or not all(0.0 <= beta < 1.0 for beta in betas):
        raise ShapeError(f"{name}: betas are {betas}; they are two numbers in [0, 1)")
    for key in ("eps", "weight_decay"):
        if not group[key] >= 0.0:
            raise ShapeError(f"{name}: {key} is {group[key]}; it must not be negative")
    if group["foreach"] and group["fused"]:
        raise ShapeError(f"{name}: foreach and fused are both True, of which torch has none; leave both out")
    if group["differentiable"]:
        raise ShapeError(f"{name}: differentiable is True; the step is not recorded by autograd")


def _refuse(name: str, unknown: dict[str, Any], known: list[str]) -> None:
    """Raises TypeError for keywords that do not exist, with those that were probably meant."""
    found = []
    for key in unknown:
        close = _OTHER_NAMES.get(key) or next(iter(difflib.get_close_matches(key, known, 1)), None)
        found.append(f"{key!r} (use {close}=)" if close else f"{key!r} (there are {', '.join(known)})")
    raise TypeError(f"{name}: unexpected keyword {', '.join(found)}")
