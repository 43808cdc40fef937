"""Adam and AdamW: torch.optim's, as one Triton launch for all parameters of a dtype."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from tritonnet import kernels
from tritonnet.kernels._tile import wide_dtype
from tritonnet.kernels.adam import adam_table

from ._fused import Fused
from .storage import Group, Launch, Plan, State


class _Launch(Launch):
    kernel, make_table = kernels.adam, adam_table


class Adam(Fused):
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

    _launch = _Launch
    _optional = ("max_exp_avg_sq",)
    _other_names = Fused._other_names | {
        "beta": "betas",
        "beta1": "betas",
        "beta2": "betas",
        "epsilon": "eps",
        "decoupled": "decoupled_weight_decay",
    }

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
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
        super().__init__(params, defaults, unknown)

    def _plan(self, group: Group) -> Plan:
        largest = "max_exp_avg_sq" if group["amsgrad"] else None
        options = ("decoupled", group["decoupled_weight_decay"]), ("maximize", group["maximize"])
        return Plan(("exp_avg", "exp_avg_sq", largest, "step"), options)

    def _hyper(self, group: Group) -> tuple[float | Tensor, ...]:
        return group["lr"], *group["betas"], group["eps"], group["weight_decay"]

    def _new_state(self, p: Tensor, group: Group) -> State:
        moments = ("exp_avg", "exp_avg_sq", *(("max_exp_avg_sq",) if group["amsgrad"] else ()))
        dtype = wide_dtype(p.dtype)
        step = torch.zeros((), dtype=torch.float32, device=p.device)
        return {"step": step, **{key: torch.zeros_like(p, dtype=dtype, requires_grad=False) for key in moments}}

    def _check(self, group: Group) -> None:
        super()._check(group)
        betas = group["betas"]
        if len(betas) != 2 or not all(0.0 <= beta < 1.0 for beta in betas):
            raise self._wrong(f"betas are {betas}; they are two numbers in [0, 1)")
        self._check_signs(group, "eps")


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
