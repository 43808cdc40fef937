"""Indices of lanes as C expressions, one for each dimension of a tile."""

from collections.abc import Callable, Sequence

from .ttir import Value

Index = tuple[str, ...]


def flat(index: Index, value: Value) -> Index:
    """The index into a value with 0 along its dimensions of size 1."""
    return tuple("0" if size == 1 else at for at, size in zip(index, value.type.dims, strict=True))


def linear(index: Sequence[str], shape: Sequence[int]) -> str:
    """The number of a lane in row-major order."""
    terms, stride = [], 1
    for at, size in zip(reversed(index), reversed(shape), strict=True):
        if at != "0" and size > 1:
            terms.append(at if stride == 1 else f"{at} * {stride}")
        stride *= size
    return " + ".join(reversed(terms)) or "0"


def unravel(before: Sequence[int], after: Sequence[int], index: Index, temporary: Callable[[str, str], str]) -> Index:
    """The index into `before` of a lane of the reshaped `after`: groups of dimensions of equal size are matched.

    `temporary` names an expression of a given C type.
    """
    result = ["0"] * len(before)
    b, a = len(before), len(after)
    while b > 0:
        low_b, low_a, size_b, size_a = b - 1, a - 1, before[b - 1], after[a - 1]
        while size_b != size_a:
            if size_b < size_a:
                low_b -= 1
                size_b *= before[low_b]
            else:
                low_a -= 1
                size_a *= after[low_a]
        number = temporary("int", linear(index[low_a:a], after[low_a:a]))
        stride = 1
        for dim in range(b - 1, low_b - 1, -1):
            place = number if stride == 1 else f"{number} / {stride}"
            if before[dim] > 1:
                result[dim] = temporary("int", f"{place} % {before[dim]}" if dim > low_b else place)
            stride *= before[dim]
        b, a = low_b, low_a
        if a == 0:
            break
    return tuple(result)
