"""How far a right kernel may be from the float64 reference: a bound for each element, derived and not chosen.

A kernel gets the very inputs of the reference and may commit two kinds of error.
1. It rounds its result once to the result's dtype, of unit roundoff u: at most u |f|, and one spacing of subnormals.
2. Every operation before that rounds in the accumulation dtype, of unit roundoff a: float32's for results of 32 bits and
   fewer, float64's for float64. An elementary operation errs by a times its result. A sum of n terms t_k errs, in any order
   of summation and with a probability that grows with c, by at most c sqrt(n) a sum |t_k| (Higham and Mary, SIAM J. Sci. Comput.
   41, 2019, theorem 2.4); for the products of a matmul or a convolution that is c sqrt(n) a (|A| |B|).

What the second kind does to the result depends on the condition of everything that comes after each operation, and is measured
rather than guessed: the reference runs in float64 SAMPLES times, each of its operations (and of its backward's, and each
input, for kernels that order the formula differently) followed by a random error of the size above, with a small e in place of c a
(Monte Carlo arithmetic; Parker, 1997). To first order the results then move by e times what a kernel's move by:

    scale = rms(change of the result) / e,    bound = u |f| + c a scale,    c = 4

Independent errors add as squares, so scale is the standard deviation of a kernel's error in units of a, had each operation
used its bound up. In float64 the reference errs as much as the kernel, so that the second term counts twice.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._decomp import decomposition_table
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

SAMPLES = 8
_SMALL = 2.0**-20
_CONFIDENCE = 4.0

# Operations that round nothing: changing their results would break ties, masks and equalities that are exact in a kernel too.
_EXACT = frozenset(
    "_to_copy clone copy copy_ fill fill_ full full_like zeros zeros_like zero_ ones ones_like new_zeros new_ones new_full "
    "new_empty new_empty_strided empty empty_like empty_strided empty_permuted arange eye scalar_tensor lift_fresh_copy "
    "convert_element_type cat stack constant_pad_nd where masked_fill masked_fill_ flip roll repeat im2col _unsafe_view "
    "gather index index_select index_put index_put_ scatter scatter_ select_backward slice_backward embedding tril triu "
    "max min amax amin maximum minimum clamp clamp_ clamp_min clamp_max relu relu_ threshold_backward abs neg neg_ sign "
    "sort topk argmax argmin max_pool2d_with_indices max_pool2d_with_indices_backward floor ceil round trunc".split()
)
# Sums of products of their arguments: for absolute values they give sum |t_k|, for ones the number of terms.
_SUMS = frozenset("mm bmm addmm baddbmm mv addmv dot sum cumsum convolution convolution_backward".split())
# Functions that torch evaluates as one operation, split into elementary ones.
_SPLIT = frozenset(
    "_softmax _log_softmax _softmax_backward_data _log_softmax_backward_data logsumexp nll_loss_forward nll_loss_backward "
    "nll_loss2d_forward nll_loss2d_backward mse_loss mean var_mean std native_layer_norm native_layer_norm_backward "
    "native_group_norm native_batch_norm native_batch_norm_backward linalg_vector_norm".split()
)


class _Rounding(TorchDispatchMode):
    """Adds to the floating-point result of every inexact operation a random error of the size that a kernel's may have."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.generator = generator

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Spares the import of torch's compiler, which takes seconds; nothing here is ever compiled."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if name in _SPLIT and func in decomposition_table:
            with self:
                return decomposition_table[func](*args, **kwargs)
        result = func(*args, **kwargs)
        aliases = any(returned.alias_info is not None for returned in func._schema.returns)
        if name in _EXACT or (aliases and not func._schema.is_mutable):
            return result
        if name in _SUMS:
            terms = func(*_each(torch.ones_like, args), **kwargs)
            totals = func(*_each(torch.abs, args), **kwargs)
            sizes = tree_map(lambda n, total: n.sqrt() * total if _inexact(total) else total, terms, totals)
        else:
            sizes = _each(torch.abs, result)
        if aliases:
            return tree_map(lambda value, size: value.add_(self.error(size)) if _inexact(value) else value, result, sizes)
        return tree_map(lambda value, size: value + self.error(size) if _inexact(value) else value, result, sizes)

    def error(self, size: Tensor) -> Tensor:
        """Uniform, of standard deviation `size`, on the scale of _SMALL."""
        noise = torch.rand(size.shape, dtype=size.dtype, generator=self.generator)
        return noise.sub_(0.5).mul_(size * (math.sqrt(12) * _SMALL))


def _inexact(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _each(function: Callable[[Tensor], Tensor], values: Any) -> Any:
    return tree_map(lambda value: function(value) if _inexact(value) else value, values)


Results = dict[str, Tensor | None]


def scales(evaluate: Callable[[Callable[[Tensor], Tensor]], Results], expected: Results, seed: int) -> dict[str, Tensor]:
    """The `scale` of every floating-point result.

    evaluate: runs the reference on float64 copies of its inputs, each passed through the function that it is given.
    """
    squares = {name: torch.zeros_like(value) for name, value in expected.items() if value is not None and _inexact(value)}
    for sample in range(SAMPLES):
        rounding = _Rounding(torch.Generator().manual_seed(seed * SAMPLES + sample))

        def disturb(value: Tensor, rounding: _Rounding = rounding) -> Tensor:
            return value + rounding.error(value.abs()) if _inexact(value) else value

        with rounding:
            changed = evaluate(disturb)
        for name, total in squares.items():
            value, exact = changed[name], expected[name]
            if value is not None and exact is not None:
                total += torch.nan_to_num(value.detach() - exact).square_()
    return {name: (total / SAMPLES).sqrt_() / _SMALL for name, total in squares.items()}


def bound(expected: Tensor, scale: Tensor, dtype: torch.dtype, input_roundoff: float = 0.0) -> Tensor:
    """The bound of this module's docstring for one result.

    input_roundoff: a rounding of the inputs that the kernel may do besides, as the 2**-11 of TF32.
    """
    result, accumulator = torch.finfo(dtype), torch.finfo(torch.float64 if dtype == torch.float64 else torch.float32)
    own_errors = 2 if dtype == torch.float64 else 1
    roundings = _CONFIDENCE * (own_errors * accumulator.eps / 2 + input_roundoff)
    spacing = result.smallest_normal * result.eps + accumulator.smallest_normal
    return torch.nan_to_num(expected.abs() * (result.eps / 2) * (1 + result.eps) + scale * roundings, posinf=math.inf) + spacing
