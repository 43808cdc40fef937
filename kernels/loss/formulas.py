"""The losses l(x, t; p) of an input x and a target t, and their derivatives of first and second order.

Each is one small jitted function of float32 or float64 tiles; p is the loss's hyper-parameter, a number or a tile.
"""

from typing import Any

import triton
import triton.language as tl

from ..pointwise.elementary import log1p, log1p_exp, sigmoid

_LOWEST_LOG = tl.constexpr(-100.0)
_EPSILON = tl.constexpr(1e-12)


@triton.jit
def _log_rest(x):
    """log(1 - x)."""
    u = 1.0 - x
    # What rounding took from u; at x = 1 nothing.
    return tl.log(u) + tl.where(u > 0.0, ((1.0 - u) - x) / u, 0.0)


@triton.jit
def _zero(x, t, p):
    return tl.zeros(x.shape, x.dtype)


@triton.jit
def _minus_one(x, t, p):
    return tl.full(x.shape, -1.0, x.dtype)


@triton.jit
def _mse(x, t, p):
    return (x - t) * (x - t)


@triton.jit
def _mse_x(x, t, p):
    return 2.0 * (x - t)


@triton.jit
def _mse_t(x, t, p):
    return 2.0 * (t - x)


@triton.jit
def _mse_xx(x, t, p):
    return tl.full(x.shape, 2.0, x.dtype)


@triton.jit
def _mse_xt(x, t, p):
    return tl.full(x.shape, -2.0, x.dtype)


@triton.jit
def _l1(x, t, p):
    return tl.abs(x - t)


@triton.jit
def _l1_x(x, t, p):
    return tl.where(x > t, 1.0, tl.where(x < t, -1.0, 0.0)).to(x.dtype)


@triton.jit
def _l1_t(x, t, p):
    return _l1_x(t, x, p)


@triton.jit
def _huber(x, t, p):
    d = tl.abs(x - t)
    return tl.where(d < p, 0.5 * d * d, p * (d - 0.5 * p))


@triton.jit
def _huber_x(x, t, p):
    d = x - t
    return tl.where(d <= -p, -p, tl.where(d >= p, p, d))


@triton.jit
def _huber_t(x, t, p):
    return _huber_x(t, x, p)


@triton.jit
def _huber_xx(x, t, p):
    return tl.where(tl.abs(x - t) < p, 1.0, 0.0).to(x.dtype)


@triton.jit
def _huber_xt(x, t, p):
    return -_huber_xx(x, t, p)


@triton.jit
def _smooth_l1(x, t, p):
    d = tl.abs(x - t)
    return tl.where(d < p, (0.5 / p) * d * d, d - 0.5 * p)


@triton.jit
def _smooth_l1_x(x, t, p):
    d = x - t
    return tl.where(d <= -p, -1.0, tl.where(d >= p, 1.0, (1.0 / p) * d)).to(x.dtype)


@triton.jit
def _smooth_l1_t(x, t, p):
    return _smooth_l1_x(t, x, p)


@triton.jit
def _smooth_l1_xx(x, t, p):
    return tl.where(tl.abs(x - t) < p, 1.0 / p, 0.0).to(x.dtype)


@triton.jit
def _smooth_l1_xt(x, t, p):
    return -_smooth_l1_xx(x, t, p)


@triton.jit
def _bce(x, t, p):
    tl.device_assert((x >= 0.0) & (x <= 1.0), "binary_cross_entropy: input lies in [0, 1]")
    return (t - 1.0) * tl.maximum(_log_rest(x), _LOWEST_LOG) - t * tl.maximum(tl.log(x), _LOWEST_LOG)


@triton.jit
def _bce_x(x, t, p):
    return (x - t) / tl.maximum(x * (1.0 - x), _EPSILON)


@triton.jit
def _bce_t(x, t, p):
    return tl.log(1.0 - x) - tl.log(x)


@triton.jit
def _bce_xx(x, t, p):
    below, above = x + _EPSILON, 1.0 - x + _EPSILON
    return (x * (x - 2.0 * t) + t) / (below * below * above * above)


@triton.jit
def _bce_xt(x, t, p):
    return -1.0 / tl.maximum(x * (1.0 - x), _EPSILON)


@triton.jit
def _logits(x, t, p):
    # (1 - t) x + (1 + (p - 1) t) log(1 + exp(-x)), of two terms that do not cancel for either sign of x.
    linear = tl.where(x >= 0.0, (1.0 - t) * x, -p * t * x)
    return linear + (1.0 + (p - 1.0) * t) * log1p(tl.exp(-tl.abs(x)))


@triton.jit
def _logits_x(x, t, p):
    return (1.0 + (p - 1.0) * t) * sigmoid(x) - p * t


@triton.jit
def _logits_t(x, t, p):
    return (p - 1.0) * log1p_exp(-x) - x


@triton.jit
def _logits_xx(x, t, p):
    return (1.0 + (p - 1.0) * t) * sigmoid(x) * sigmoid(-x)


@triton.jit
def _logits_xt(x, t, p):
    return (p - 1.0) * sigmoid(x) - p


@triton.jit
def _kl(x, t, p):
    # 0 log 0 is 0.
    return t * tl.log(tl.where(t == 0.0, 1.0, t)) - t * x


@triton.jit
def _kl_x(x, t, p):
    return -t


@triton.jit
def _kl_t(x, t, p):
    # t / t: at 0 torch has NaN.
    return tl.log(t) + t / t - x


@triton.jit
def _kl_tt(x, t, p):
    return 1.0 / t


@triton.jit
def _kl_log(x, t, p):
    return tl.exp(t) * (t - x)


@triton.jit
def _kl_log_x(x, t, p):
    return -tl.exp(t)


@triton.jit
def _kl_log_t(x, t, p):
    return tl.exp(t) * (t - x + 1.0)


@triton.jit
def _kl_log_tt(x, t, p):
    return tl.exp(t) * (t - x + 2.0)


@triton.jit
def _soft_margin(x, t, p):
    return log1p_exp(-t * x)


@triton.jit
def _soft_margin_x(x, t, p):
    return -t * sigmoid(-t * x)


@triton.jit
def _soft_margin_xx(x, t, p):
    return t * t * sigmoid(t * x) * sigmoid(-t * x)


@triton.jit
def _poisson(x, t, p):
    return x - t * tl.log(x + p)


@triton.jit
def _poisson_x(x, t, p):
    return 1.0 - t / (x + p)


@triton.jit
def _poisson_t(x, t, p):
    return -tl.log(x + p)


@triton.jit
def _poisson_xx(x, t, p):
    return t / ((x + p) * (x + p))


@triton.jit
def _poisson_xt(x, t, p):
    return -1.0 / (x + p)


@triton.jit
def _poisson_log(x, t, p):
    return tl.exp(x) - t * x


@triton.jit
def _poisson_log_x(x, t, p):
    return tl.exp(x) - t


@triton.jit
def _poisson_log_t(x, t, p):
    return -x


@triton.jit
def _poisson_log_xx(x, t, p):
    return tl.exp(x)


@triton.jit
def _stirling(t):
    """log(t!), about, where t > 1."""
    return tl.where(t > 1.0, t * tl.log(t) - t + 0.5 * tl.log(6.283185307179586 * t), 0.0).to(t.dtype)


@triton.jit
def _stirling_t(t):
    return tl.where(t > 1.0, tl.log(t) + 0.5 / t, 0.0).to(t.dtype)


@triton.jit
def _full_tt(x, t, p):
    return tl.where(t > 1.0, (1.0 - 0.5 / t) / t, 0.0).to(t.dtype)


@triton.jit
def _poisson_full(x, t, p):
    return _poisson(x, t, p) + _stirling(t)


@triton.jit
def _poisson_full_t(x, t, p):
    return _poisson_t(x, t, p) + _stirling_t(t)


@triton.jit
def _poisson_log_full(x, t, p):
    return _poisson_log(x, t, p) + _stirling(t)


@triton.jit
def _poisson_log_full_t(x, t, p):
    return _poisson_log_t(x, t, p) + _stirling_t(t)


def _with_derivatives(name: str, value: Any, **derivatives: Any) -> dict[str, Any]:
    return {name: value} | {f"{name}.{at}": function for at, function in derivatives.items()}


FORMULAS: dict[str, Any] = {
    **_with_derivatives("mse_loss", _mse, x=_mse_x, t=_mse_t, xx=_mse_xx, xt=_mse_xt, tt=_mse_xx),
    **_with_derivatives("l1_loss", _l1, x=_l1_x, t=_l1_t, xx=_zero, xt=_zero, tt=_zero),
    **_with_derivatives("huber_loss", _huber, x=_huber_x, t=_huber_t, xx=_huber_xx, xt=_huber_xt, tt=_huber_xx),
    **_with_derivatives(
        "smooth_l1_loss", _smooth_l1, x=_smooth_l1_x, t=_smooth_l1_t,
        xx=_smooth_l1_xx, xt=_smooth_l1_xt, tt=_smooth_l1_xx,
    ),
    **_with_derivatives("binary_cross_entropy", _bce, x=_bce_x, t=_bce_t, xx=_bce_xx, xt=_bce_xt, tt=_zero),
    **_with_derivatives(
        "binary_cross_entropy_with_logits", _logits, x=_logits_x, t=_logits_t,
        xx=_logits_xx, xt=_logits_xt, tt=_zero,
    ),
    **_with_derivatives("kl_div", _kl, x=_kl_x, t=_kl_t, xx=_zero, xt=_minus_one, tt=_kl_tt),
    **_with_derivatives("kl_div(log)", _kl_log, x=_kl_log_x, t=_kl_log_t, xx=_zero, xt=_kl_log_x, tt=_kl_log_tt),
    **_with_derivatives("soft_margin_loss", _soft_margin, x=_soft_margin_x, xx=_soft_margin_xx),
    **_with_derivatives(
        "poisson_nll_loss", _poisson, x=_poisson_x, t=_poisson_t, xx=_poisson_xx, xt=_poisson_xt, tt=_zero,
    ),
    **_with_derivatives(
        "poisson_nll_loss(full)", _poisson_full, x=_poisson_x, t=_poisson_full_t,
        xx=_poisson_xx, xt=_poisson_xt, tt=_full_tt,
    ),
    **_with_derivatives(
        "poisson_nll_loss(log)", _poisson_log, x=_poisson_log_x, t=_poisson_log_t,
        xx=_poisson_log_xx, xt=_minus_one, tt=_zero,
    ),
    **_with_derivatives(
        "poisson_nll_loss(log, full)", _poisson_log_full, x=_poisson_log_x, t=_poisson_log_full_t,
        xx=_poisson_log_xx, xt=_minus_one, tt=_full_tt,
    ),
}  # fmt: skip
"""Every loss by name, "mse_loss", and its derivatives, "mse_loss.xt": d^2 l / dx dt."""


def name_of(of: str) -> str:
    """The function that a formula belongs to: "kl_div" for "kl_div(log).x"."""
    return of.partition(".")[0].partition("(")[0]


def derivative(of: str, by: str) -> str | None:
    """The name of the derivative of a formula by "x" or "t"; None where there is none."""
    name, _, order = of.partition(".")
    found = f"{name}.{''.join(sorted(order + by, reverse=True))}"
    return found if found in FORMULAS else None
