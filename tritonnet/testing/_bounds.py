"""How far a right kernel may be from the float64 reference: a bound for each element, derived and not chosen.

A kernel gets inputs x, exactly as the reference does, and may commit these errors:
1. It rounds its result once to the result's dtype: u |f|, where u is that dtype's unit roundoff, plus one spacing of subnormals.
2. Each operation before that rounds in the accumulation dtype, with unit roundoff a: float32's for results of 32 bits and
   fewer, float64's for float64. To first order each such rounding moves the result by a * d * t with |d| <= 1, where t is what the
   result would change if the rounded quantity changed by all of itself. For independent roundings the errors add as squares.
   That root of the sum of squares, `scale`, is measured: the reference runs in float64 a few times with every input and the
   result of every inexact torch operation changed relatively by a random e (Monte Carlo arithmetic; Parker, 1997),
   and scale = rms(change) / e. For a sum of products it is sqrt(2 sum (a_k b_k)^2).
3. A sum of n terms rounds n times, and partial sums are up to n times (same signs) or sqrt(n) times (random signs) the size
   of a term. The probabilistic bound for it is c sqrt(n) a sum |t_k| (Higham and Mary, SIAM J. Sci. Comput. 41, 2019, theorem
   2.4), and sum |t_k| <= sqrt(n) (sum t_k^2)^(1/2): c n a scale.

    bound = u |f| + c n a scale,   c = 4

An operation that visits the space spanned by its named dimensions adds at most n = (product of the sizes) / (elements of the
result) terms into one element. In float64 the reference errs as much as the kernel, so that the second term counts twice.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

SAMPLES = 12
_RELATIVE_CHANGE = 2.0**-20
_CONFIDENCE = 4.0

# Operations that round nothing: changing their results would break ties, masks and equalities that are exact in a kernel too.
_EXACT = frozenset(
    "_to_copy clone copy copy_ fill fill_ full full_like zeros zeros_like zero_ ones ones_like new_zeros new_ones new_full "
    "new_empty new_empty_strided empty empty_like empty_strided empty_permuted arange eye scalar_tensor lift_fresh_copy "
    "cat stack constant_pad_nd where masked_fill masked_fill_ flip roll repeat im2col _unsafe_view "
    "gather index index_select index_put index_put_ scatter scatter_ select_backward slice_backward embedding tril triu "
    "max min amax amin maximum minimum clamp clamp_ clamp_min clamp_max relu relu_ threshold_backward abs neg neg_ sign "
    "sort topk argmax argmin max_pool2d_with_indices max_pool2d_with_indices_backward floor ceil round trunc".split()
)


class _Rounding(TorchDispatchMode):
    """Changes the floating-point result of every inexact operation relatively by a random amount."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.generator = generator

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ in _EXACT:
            return result
        if func._schema.is_mutable:
            tree_map(lambda value: value.mul_(self.factor(value)) if _rounds(value) else value, result)
            return result
        if any(returned.alias_info is not None for returned in func._schema.returns):
            return result
        return tree_map(self.change, result)

    def change(self, value: Any) -> Any:
        return value * self.factor(value) if _rounds(value) else value

    def factor(self, value: Tensor) -> Tensor:
        noise = torch.randn(value.shape, dtype=value.dtype, generator=self.generator)
        return noise.mul_(_RELATIVE_CHANGE).add_(1)


def _rounds(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


Results = dict[str, Tensor | None]


def scales(evaluate: Callable[[Callable[[Tensor], Tensor]], Results], expected: Results, seed: int) -> dict[str, Tensor]:
    """The `scale` of every floating-point result.

    evaluate: runs the reference on float64 copies of its inputs, each passed through the function that it is given.
    """
    squares = {name: torch.zeros_like(value) for name, value in expected.items() if value is not None and _rounds(value)}
    for sample in range(SAMPLES):
        rounding = _Rounding(torch.Generator().manual_seed(seed * SAMPLES + sample))

        def enter(value: Tensor, rounding: _Rounding = rounding) -> Tensor:
            return rounding.change(value)  # type: ignore[no-any-return]

        with rounding:
            changed = evaluate(enter)
        for name, total in squares.items():
            value, exact = changed[name], expected[name]
            if value is not None and exact is not None:
                total += torch.nan_to_num(value.detach() - exact).square_()
    return {name: (total / SAMPLES).sqrt_() / _RELATIVE_CHANGE for name, total in squares.items()}


def bound(expected: Tensor, scale: Tensor, dtype: torch.dtype, terms: int, input_roundoff: float = 0.0) -> Tensor:
    """The bound of this module's docstring for one result.

    input_roundoff: a rounding of the inputs that the kernel may do besides, as the 2**-11 of TF32.
    """
    result, accumulator = torch.finfo(dtype), torch.finfo(torch.float64 if dtype == torch.float64 else torch.float32)
    own_errors = 2 if dtype == torch.float64 else 1
    roundings = own_errors * _CONFIDENCE * terms * accumulator.eps / 2 + _CONFIDENCE * input_roundoff
    spacing = result.smallest_normal * result.eps + accumulator.smallest_normal
    return torch.nan_to_num(expected.abs() * (result.eps / 2) * (1 + result.eps) + scale * roundings, posinf=math.inf) + spacing
