"""SGD: torch.optim's, with momentum, as one Triton launch for all parameters of a dtype."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from tritonnet import kernels
from tritonnet.kernels._tile import wide_dtype
from tritonnet.kernels.sgd import all_begun, sgd_table

from ._fused import Fused
from .storage import Group, Hyper, Launch, Plan, Row, State


class _Launch(Launch):
    kernel, make_table = kernels.sgd, sgd_table

    def numbers(self, rows: Sequence[Row]) -> dict[str, tuple[int, ...]]:
        return {**super().numbers(rows), "first": tuple(row.begins for row in rows)}

    def run(self, hyper: Hyper, grad_scale: Tensor | None, found_inf: Tensor | None) -> None:
        super().run(hyper, grad_scale, found_inf)
        if any(self._numbers["first"]):
            self._numbers["first"] = (False,) * len(self._params)
            if self._table is not None:
                all_begun(self._table)


class SGD(Fused):
    """g += weight_decay p, b = momentum b + (1 - dampening) g, p -= lr b; nesterov: p -= lr (g + momentum b).

    A parameter's momentum begins as a copy of its first g, undampened. All parameters of a device and dtype take their
    step in one launch, whatever their groups; learning rates, GradScaler's scale and its found_inf are read on the
    device. Nothing waits for it but the first step of a momentum under a GradScaler, which must not begin with an
    overflow. Momenta of float16 and bfloat16 parameters are float32 (torch keeps them in the parameter's dtype). A
    parameter without gradient takes no step. Gradients are left as they are, those of a GradScaler scaled.

    State dicts are torch.optim.SGD's, both ways: a parameter has a momentum_buffer from its first step on. Where both
    sides know the names of the parameters (the optimizer was given `module.named_parameters()`), their states are
    matched by name, in any order; else by order.

    Args:
        params: tensors, (name, tensor) pairs, or dictionaries of these with hyper-parameters of their own.
        lr: step per unit of update; a number, or a tensor of one that may change on the device.
        momentum: share of the last update in the next; 0 keeps no state.
        dampening: 1 - dampening is the gradient's share.
        weight_decay: added to g for each unit of p.
        nesterov: look ahead by the momentum; needs momentum, and no dampening.
        maximize: step along the gradient instead of against it.
        foreach, fused: which of its implementations torch is to take. Here there is one, which is fused; what is given
            is kept for the state dict.
        differentiable: must be False: the step is not recorded by autograd.

    Raises: TypeError for a keyword that does not exist, with the one that was probably meant; ValueError for
        hyper-parameters out of range and for no parameters or non-leaf ones; DtypeError for parameters that are not
        float32, float16, bfloat16 or float64.
    Source: Sutskever, Martens, Dahl and Hinton, On the importance of initialization and momentum in deep learning
        (2013), with lr outside of the momentum.
    """

    _launch = _Launch

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float | Tensor = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
        **unknown: Any,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults, unknown)

    def _plan(self, group: Group) -> Plan:
        buffer = "momentum_buffer" if group["momentum"] != 0 else None
        nesterov = group["nesterov"] and buffer is not None
        return Plan((buffer,), (("nesterov", nesterov), ("maximize", group["maximize"])))

    def _hyper(self, group: Group) -> tuple[float | Tensor, ...]:
        return group["lr"], group["momentum"], group["dampening"], group["weight_decay"]

    def _new_state(self, p: Tensor, group: Group) -> State:
        return {"momentum_buffer": torch.zeros_like(p, dtype=wide_dtype(p.dtype), requires_grad=False)}

    def _starts(self, p: Tensor) -> bool:
        found_inf = getattr(self, "found_inf", None)
        return super()._starts(p) and (found_inf is None or not found_inf)

    def _check(self, group: Group) -> None:
        super()._check(group)
        self._check_signs(group, "momentum")
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise self._wrong(
                f"nesterov is True, momentum {group['momentum']} and dampening {group['dampening']}; "
                "it needs momentum, and no dampening"
            )
