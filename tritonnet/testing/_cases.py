"""The cases of a check: each dimension, hyper-parameter, layout and gradient varied while the others keep a base."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import dtype_name

Sizes = Mapping[str, int]
Input = tuple[str | int, ...] | Callable[[Sizes, torch.Generator], Any]
Dimension = Sequence[int] | Callable[[dict[str, int]], int]


@dataclass(frozen=True)
class Case:
    dtype: torch.dtype
    sizes: dict[str, int]
    seed: int
    hyper: dict[str, Any] = field(default_factory=dict)
    layouts: tuple[str, ...] = ("contiguous",)
    """Of the inputs in order, then of the incoming gradients; taken in a circle."""
    grad: tuple[str, ...] = ()
    threads: bool = False
    """Whether it is repeated on another number of threads."""

    def layout(self, at: int) -> str:
        return self.layouts[at % len(self.layouts)]

    def __str__(self) -> str:
        parts = [dtype_name(self.dtype)]
        parts += [f"{name}={size}" for name, size in self.sizes.items()]
        parts += [f"{name}={value!r}" for name, value in self.hyper.items()]
        if len(self.layouts) > 1:
            parts.append("layouts " + "/".join(self.layouts))
        if self.grad:
            parts.append("gradients of " + ",".join(self.grad))
        return " ".join([*parts, f"seed={self.seed}"])


def cases(
    dims: Mapping[str, Dimension],
    dtypes: Sequence[torch.dtype],
    grad: tuple[str, ...],
    hyper: Sequence[dict[str, Any]],
    seeds: Sequence[int],
    layouts: Sequence[str],
) -> Iterator[Case]:
    """Axis by axis in each dtype; single gradients and all layouts in the first, one mixture of layouts in others."""
    for seed in seeds:
        for at, dtype in enumerate(dtypes):
            base = Case(dtype, _base(dims), seed, grad=grad, threads=True)
            yield base
            for sizes in _along_axes(dims):
                yield replace(base, sizes=sizes, threads=sizes == _largest(dims))
            base = replace(base, threads=False)
            for keywords in hyper:
                yield replace(base, hyper=keywords)
            # A Latin square: every tensor meets every layout, and two tensors never the same one at a time.
            for first in range(len(layouts)) if at == 0 else (at % len(layouts),):
                row = (*layouts[first:], *layouts[:first])
                if set(row) != {"contiguous"}:
                    yield replace(base, layouts=row)
            if at == 0 and len(grad) > 1:
                for name in grad:
                    yield replace(base, grad=(name,))


def make(kind: Input, sizes: Sizes, dtype: torch.dtype, generator: torch.Generator) -> Any:
    """The values of one input on the CPU: a tensor, a list of tensors, or what else a factory gives."""
    if not callable(kind):
        shape = [sizes[name] if isinstance(name, str) else name for name in kind]
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
    return tensors(lambda value: value.to(dtype) if value.dtype == torch.float64 else value, kind(sizes, generator))


def tensors(function: Callable[[Any], Any], value: Any) -> Any:
    """The same value with the function applied to it, or, in a list or tuple, to each of its tensors."""
    if isinstance(value, list | tuple):
        return type(value)(tensors(function, item) for item in value)
    return function(value) if isinstance(value, Tensor) else value


def labelled(name: str, value: Any) -> dict[str, Tensor]:
    """The tensors in a value by label: `name`, or `name[0]`, `name[1]`, ... in a list or tuple."""
    if isinstance(value, list | tuple):
        found = [labelled(f"{name}[{at}]", item) for at, item in enumerate(value)]
        return {label: tensor for part in found for label, tensor in part.items()}
    return {name: value} if isinstance(value, Tensor) else {}


def _resolve(dims: Mapping[str, Dimension], chosen: Mapping[str, int]) -> dict[str, int]:
    sizes = dict(chosen)
    for name, dimension in dims.items():
        if callable(dimension):
            sizes[name] = dimension(sizes)
    return sizes


def _base_of(sizes: Sequence[int]) -> int:
    return min((size for size in sizes if size > 1), default=sizes[0])


def _free(dims: Mapping[str, Dimension]) -> dict[str, Sequence[int]]:
    return {name: sizes for name, sizes in dims.items() if not callable(sizes)}


def _base(dims: Mapping[str, Dimension]) -> dict[str, int]:
    return _resolve(dims, {name: _base_of(sizes) for name, sizes in _free(dims).items()})


def _largest(dims: Mapping[str, Dimension]) -> dict[str, int]:
    return _resolve(dims, {name: max(sizes) for name, sizes in _free(dims).items()})


def _along_axes(dims: Mapping[str, Dimension]) -> Iterator[dict[str, int]]:
    """Each dimension through its sizes, the others at the base; then all at their largest. Without the base itself."""
    free = _free(dims)
    base = {name: _base_of(sizes) for name, sizes in free.items()}
    chosen = [{**base, name: size} for name, sizes in free.items() for size in sizes if size != base[name]]
    largest = {name: max(sizes) for name, sizes in free.items()}
    for sizes in [*chosen, largest] if largest not in [base, *chosen] else chosen:
        yield _resolve(dims, sizes)
