"""How far a right kernel may be from the float64 reference: a bound for each element, derived and not chosen.

A kernel gets the very inputs of the reference and may commit two kinds of error.
1. It rounds its result once to the result's dtype, of unit roundoff u: at most u |f|, and one spacing of subnormals.
2. Every operation before that rounds in the accumulation dtype, of unit roundoff a: float32's for results of 32 bits
   and fewer, float64's for float64. An elementary operation errs by a times its result. A sum of n terms t_k errs, in
   any order of summation and with a probability that grows with c, by at most c sqrt(n) a sum |t_k| (Higham and Mary,
   SIAM J. Sci. Comput. 41, 2019, theorem 2.4); for a matmul or a convolution that is c sqrt(n) a (|A| |B|).

What the second kind does to the result depends on the condition of all that follows each operation, and is measured
rather than guessed. The reference runs in float64 SAMPLES times, and each of its operations (and of its backward's, and
each input, for kernels that order the formula differently) is followed by a random error of the size above, with a
small e in place of c a (Monte Carlo arithmetic; Parker, 1997). To first order this moves the results by e / (c a) times
what a kernel's errors do:

    scale = rms(change of the result) / e,    bound = u |f| + c a scale,    c = 4

Independent errors add as squares, so c a scale is the standard deviation of the result, had each operation of a kernel
used its own bound up. In float64 the reference errs as much as the kernel, so that the second term counts twice.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch._decomp import decomposition_table
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

SAMPLES = 8
_SMALL = 2.0**-20
_CONFIDENCE = 4.0

# Operations that round nothing: after an error ties, masks and equalities would break that are exact in a kernel too.
_EXACT = """
    _to_copy convert_element_type clone copy copy_ lift_fresh_copy scalar_tensor arange eye fill fill_ full full_like
    zeros zeros_like zero_ ones ones_like new_zeros new_ones new_full empty empty_like empty_strided empty_permuted
    new_empty new_empty_strided cat stack constant_pad_nd flip roll repeat im2col _unsafe_view tril triu where
    masked_fill masked_fill_ gather index index_select index_put index_put_ scatter scatter_ embedding
    select_backward slice_backward max min amax amin maximum minimum clamp clamp_ clamp_min clamp_max
    relu relu_ threshold_backward abs abs_ neg neg_ sign sort topk argmax argmin max_pool2d_with_indices
    floor ceil round trunc
""".split()  # noqa: SIM905
# Sums of products of arguments: of absolute values they give sum |t_k|, of ones the number of terms.
_SUMS = """
    mm bmm mv dot sum cumsum convolution convolution_backward scatter_add index_add embedding_dense_backward
    col2im unfold_backward max_pool2d_with_indices_backward
""".split()  # noqa: SIM905
# What torch evaluates as one operation and a decomposition of its own splits into elementary ones.
_SPLIT = """
    addmm baddbmm addmv addr mean var_mean std linalg_vector_norm logsumexp mse_loss
    _softmax _log_softmax _softmax_backward_data _log_softmax_backward_data
    nll_loss_forward nll_loss_backward nll_loss2d_forward nll_loss2d_backward
    native_layer_norm native_layer_norm_backward native_group_norm native_batch_norm native_batch_norm_backward
""".split()  # noqa: SIM905
_KINDS = {
    **dict.fromkeys(_EXACT, "exact"),
    **dict.fromkeys(_SUMS, "sum"),
    **dict.fromkeys(_SPLIT, "split"),
}

Results = dict[str, Tensor | None]


class Exact(TorchDispatchMode):
    """Runs a reference in float64 and knows its results as they were before a last cast to the result's dtype."""

    def __init__(self) -> None:
        super().__init__()
        self._casts: dict[int, tuple[Tensor, Tensor]] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Spares the import of torch's compiler, which takes seconds; nothing here is ever compiled."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and args[0].dtype == torch.float64 != result.dtype:
            self._casts[id(result)] = result, args[0]
        return result

    def uncast(self, result: Tensor) -> Tensor:
        _, wide = self._casts.get(id(result), (result, result))
        return wide.detach()

    def disturb(self, value: Tensor) -> Tensor:
        return value


class _Rounding(Exact):
    """Adds to each floating-point result of an operation a random error of the size that a kernel's may have."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        kind = _KINDS.get(func.overloadpacket.__name__)
        if kind == "split" and func in decomposition_table:
            with self:
                return decomposition_table[func](*args, **kwargs)
        result = super().__torch_dispatch__(func, types, args, kwargs)
        aliases = any(returned.alias_info is not None for returned in func._schema.returns)
        if kind == "exact" or (aliases and not func._schema.is_mutable):
            return result
        sizes = _each(torch.abs, result)
        if kind == "sum":
            terms = func(*_each(torch.ones_like, args), **kwargs)
            totals = func(*_each(torch.abs, args), **kwargs)
            sizes = tree_map(lambda n, total: n.sqrt() * total if _inexact(total) else total, terms, totals)
        return tree_map(lambda value, size: self._add(value, size, in_place=aliases), result, sizes)

    def disturb(self, value: Tensor) -> Tensor:
        """An input with the error of one rounding."""
        return self._add(value, value.abs(), in_place=False) if _inexact(value) else value

    def _add(self, value: Any, size: Any, *, in_place: bool) -> Any:
        if not _inexact(value):
            return value
        # Uniform, of standard deviation size * _SMALL.
        noise = torch.rand(size.shape, dtype=size.dtype, generator=self.generator).sub_(0.5)
        noise.mul_(size * (math.sqrt(12) * _SMALL))
        return value.add_(noise) if in_place else noise.add_(value)


def scales(evaluate: Callable[[Exact], Results], exact: Results, seed: int) -> Iterator[dict[str, Tensor]]:
    """The `scale` of every floating-point result by its name, each time larger, until the last sample makes it whole.

    Whoever finds a result within the bound of a smaller scale may stop: the whole one would not say otherwise.

    evaluate: runs the reference in the mode that it is given, on inputs that the mode has disturbed.
    exact: the undisturbed results.
    """
    expected = {name: value for name, value in exact.items() if value is not None and _inexact(value)}
    squares = {name: torch.zeros_like(value) for name, value in expected.items()}
    for sample in range(SAMPLES):
        disturbed = evaluate(_Rounding(seed * SAMPLES + sample))
        for name, value in expected.items():
            change = disturbed[name]
            if change is not None:
                squares[name] += torch.nan_to_num(change - value).square_()
        yield {name: (total / SAMPLES).sqrt_() / _SMALL for name, total in squares.items()}


def bound(expected: Tensor, scale: Tensor, dtype: torch.dtype, input_roundoff: float = 0.0) -> Tensor:
    """The bound of this module's docstring for a result of this dtype.

    input_roundoff: a rounding of the inputs that the kernel may do besides, as the 2**-11 of TF32.
    """
    result, accumulator = torch.finfo(dtype), torch.finfo(torch.float64 if dtype == torch.float64 else torch.float32)
    operations = (2 if dtype == torch.float64 else 1) * accumulator.eps / 2
    last = expected.abs() * (result.eps / 2) * (1 + result.eps) + result.smallest_normal * result.eps
    return torch.nan_to_num(last) + scale * _CONFIDENCE * (operations + input_roundoff) + accumulator.smallest_normal


def _inexact(value: Any) -> bool:
    # Autograd's zeros without memory err by nothing, and torch reads them as if there were memory.
    return isinstance(value, Tensor) and value.is_floating_point() and not value._is_zerotensor()


def _each(function: Callable[[Tensor], Tensor], values: Any) -> Any:
    return tree_map(lambda value: function(value) if _inexact(value) else value, values)
