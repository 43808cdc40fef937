"""Offsets as sums: a uniform base, a step for each dimension, and vectors that vary along one dimension.

A form is exact in 64 bits as long as no 32-bit arithmetic under it wraps. As wrapping is a ring homomorphism, that is
one test for each point where 32 bits are widened or compared: the least and the greatest value of the form in the tile
(`Fit`).
The tests run before a loop nest, which falls back on literal arithmetic where one fails.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from .elements import integer_bits
from .ttir import Operation, Value

if TYPE_CHECKING:
    from .program import Program

T = TypeVar("T")
Scalar = int | str
Vectors = tuple[tuple[Value, int, Scalar], ...]
_UNKNOWN_BITS = 64


def add(left: Scalar, right: Scalar) -> Scalar:
    if isinstance(left, int) and isinstance(right, int):
        return left + right
    if left == 0:
        return right
    return left if right == 0 else f"({_text(left)} + {_text(right)})"


def multiply(left: Scalar, right: Scalar) -> Scalar:
    if isinstance(left, int) and isinstance(right, int):
        return left * right
    if left == 0 or right == 0:
        return 0
    if left == 1:
        return right
    return left if right == 1 else f"({_text(left)} * {_text(right)})"


def _text(scalar: Scalar) -> str:
    if isinstance(scalar, str):
        return scalar
    return f"{scalar}LL" if scalar >= 0 else f"({scalar}LL)"


text = _text


@dataclass(frozen=True)
class Fit:
    """base + sum of steps[d] * i_d + vectors must be an int32 for every index of the shape."""

    base: Scalar
    steps: tuple[Scalar, ...]
    vectors: tuple[Vectors, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Form:
    base: Scalar
    steps: tuple[Scalar, ...]
    vectors: tuple[Vectors, ...]
    fits: tuple[Fit, ...] = ()
    flags: tuple[str, ...] = ()
    bits: int = 32

    @property
    def is_uniform(self) -> bool:
        return not any(self.vectors) and all(step == 0 for step in self.steps)

    @property
    def is_affine(self) -> bool:
        return not any(self.vectors)

    def varies(self, dim: int) -> bool:
        return self.steps[dim] != 0 or bool(self.vectors[dim])

    def pick(self, dims: list[int | None]) -> "Form":
        """The form with dimension k taken from dims[k], or constant along it."""
        steps = tuple(0 if dim is None else self.steps[dim] for dim in dims)
        return replace(self, steps=steps, vectors=tuple(() if dim is None else self.vectors[dim] for dim in dims))


@dataclass(frozen=True)
class Pointer:
    """root (the C name of a scalar pointer) + offset elements."""

    root: str
    offset: Form


def _union(left: tuple[T, ...], right: tuple[T, ...]) -> tuple[T, ...]:
    return tuple(dict.fromkeys((*left, *right)))


def _constant(value: Scalar, rank: int, bits: int) -> Form:
    return Form(value, (0,) * rank, ((),) * rank, bits=bits)


def _plus(left: Form, right: Form, sign: int = 1) -> Form:
    right = _times(right, sign, 0) if sign != 1 else right
    return Form(
        add(left.base, right.base),
        tuple(map(add, left.steps, right.steps)),
        tuple(a + b for a, b in zip(left.vectors, right.vectors, strict=True)),
        _union(left.fits, right.fits),
        _union(left.flags, right.flags),
        max(left.bits, right.bits) + 1,
    )


def _times(form: Form, factor: Scalar, bits: int) -> Form:
    return replace(
        form,
        base=multiply(form.base, factor),
        steps=tuple(multiply(step, factor) for step in form.steps),
        vectors=tuple(tuple((v, d, multiply(f, factor)) for v, d, f in group) for group in form.vectors),
        bits=form.bits + bits,
    )


class Forms:
    """The forms of a program's values. `use_flags`: take a tile for consecutive where its flag says so at run time."""

    def __init__(self, program: "Program", use_flags: bool) -> None:
        self.program = program
        self.use_flags = use_flags
        self._known: dict[Value, Form | None] = {}

    def of(self, value: Value) -> Form | None:
        """The form of an integer tensor or scalar, None where it has none."""
        if value not in self._known:
            form = self._compute(value)
            if form is None:
                form = self._vector(value)
            if form is not None:
                unit = [None if size == 1 else dim for dim, size in enumerate(value.type.dims)]
                form = form.pick(unit)  # type: ignore[arg-type]
                if form.bits > 60:
                    form = self.fitted(form, value) if value.type.element == "i32" else form
            self._known[value] = form
        return self._known[value]

    def fitted(self, form: Form, value: Value) -> Form:
        """The form under the condition that it does not leave the value's 32 bits."""
        if form.bits <= 32 or value.type.element not in ("i32",):
            return form
        if form.is_uniform and isinstance(form.base, int) and -(2**31) <= form.base < 2**31:
            return replace(form, bits=32)
        fit = Fit(form.base, form.steps, form.vectors, value.type.dims)
        return replace(form, fits=_union(form.fits, (fit,)), bits=32)

    def pointer(self, value: Value) -> Pointer | None:
        """The form of a pointer tensor whose lanes all start from one scalar pointer."""
        program = self.program
        rank = len(value.type.dims)
        if not value.type.is_tensor:
            return Pointer(program.names[value], _constant(0, 0, 1)) if value in program.names else None
        if value in program.tiles:
            return None
        if value in program.shifted:
            start, offset = program.shifted[value]
            first = self.pointer(start)
            return first and Pointer(first.root, _plus(first.offset, _constant(offset, rank, _UNKNOWN_BITS)))
        producer = value.producer
        if producer is None:
            return None
        if producer.name == "tt.splat":
            scalar = producer.operands[0]
            return Pointer(program.names[scalar], _constant(0, rank, 1))
        if producer.name in ("tt.expand_dims", "tt.broadcast", "tt.trans", "tt.reshape"):
            inner = self.pointer(producer.operands[0])
            offset_form = inner and _reshaped(producer, inner.offset)
            return Pointer(inner.root, offset_form) if inner and offset_form else None
        if producer.name == "tt.addptr":
            inner, step = self.pointer(producer.operands[0]), self.of(producer.operands[1])
            if inner is None or step is None:
                return None
            return Pointer(inner.root, _plus(inner.offset, self.fitted(step, producer.operands[1])))
        return None

    def _vector(self, value: Value) -> Form | None:
        """A value that varies along one dimension only, as a vector of itself."""
        shape = value.type.dims
        long = [dim for dim, size in enumerate(shape) if size > 1]
        if len(long) > 1 or value.type.element not in ("i8", "i16", "i32", "i64"):
            return None
        if value.producer is not None and value.producer.name == "tt.load" and value not in self.program.tiles:
            return None
        tile = self.program.tiles.get(value)
        bits = min(62, integer_bits(value.type.element))
        rank = len(shape)
        if not long:
            # One lane is a base: a vector along a dimension of one would get lost where that dimension is.
            return Form(f"(int64_t){tile.name}[0]", (0,) * rank, ((),) * rank, bits=bits) if tile and rank else None
        if tile and tile.flag and self.use_flags:
            steps = tuple(int(dim in long) for dim in range(rank))
            return Form(f"(int64_t){tile.name}[0]", steps, ((),) * rank, flags=(tile.flag,), bits=bits)
        vectors = tuple(((value, dim, 1),) if dim in long else () for dim in range(rank))
        return Form(0, (0,) * rank, vectors, bits=bits)

    def _compute(self, value: Value) -> Form | None:
        program, kind = self.program, value.type
        rank = len(kind.dims)
        if not kind.is_tensor:
            producer = value.producer
            if producer is not None and producer.name == "arith.constant":
                number = {"true": 1, "false": 0}.get(producer.text)
                number = int(producer.text) if number is None else number
                return _constant(number, 0, number.bit_length() + 1)
            return _constant(f"(int64_t){program.names[value]}", 0, integer_bits(kind.element))
        if value in program.tiles:
            return None
        if value in program.shifted:
            start, offset = program.shifted[value]
            form = self.of(start)
            return form and _plus(form, _constant(offset, rank, 32))
        producer = value.producer
        return None if producer is None else self._operation(producer, rank)

    def _operation(self, producer: Operation, rank: int) -> Form | None:
        name, operands = producer.name, producer.operands
        element = producer.result.type.element
        if name == "arith.constant":
            if not producer.text.lstrip("-").isdigit():
                return None
            return _constant(int(producer.text), rank, int(producer.text).bit_length() + 1)
        if name == "tt.make_range":
            end = producer.integer("end")
            return Form(producer.integer("start"), (1,), ((),), bits=end.bit_length() + 1)
        if name == "tt.splat":
            scalar = self.of(operands[0])
            return scalar and Form(scalar.base, (0,) * rank, ((),) * rank, bits=scalar.bits)
        if name in ("tt.expand_dims", "tt.broadcast", "tt.trans", "tt.reshape"):
            inner = self.of(operands[0])
            return inner and _reshaped(producer, inner)
        if name in ("arith.addi", "arith.subi", "arith.muli") and element in ("i32", "i64"):
            left, right = self.of(operands[0]), self.of(operands[1])
            if left is None or right is None:
                return None
            if name != "arith.muli":
                return _plus(left, right, 1 if name == "arith.addi" else -1)
            if right.is_uniform:
                left, right = right, left
            if not left.is_uniform:
                return None
            if left.bits + right.bits > 62:
                right = self.fitted(right, producer.result)
            scaled = _times(right, left.base, left.bits)
            return replace(scaled, fits=_union(scaled.fits, left.fits), flags=_union(scaled.flags, left.flags))
        if name == "arith.extsi" and operands[0].type.element != "i1":
            inner = self.of(operands[0])
            return inner and self.fitted(inner, operands[0])
        if name == "arith.trunci" and operands[0].type.element == "i64" and element == "i32":
            return self.of(operands[0])
        return None


def _reshaped(producer: Operation, form: Form) -> Form | None:
    """The form of a value that is another shape of `form`'s."""
    before, after = producer.operands[0].type.dims, producer.result.type.dims
    if producer.name == "tt.trans":
        return form.pick(list(producer.integers("order")))
    if producer.name == "tt.broadcast":
        return form.pick([dim if before[dim] == after[dim] else None for dim in range(len(after))])
    if producer.name == "tt.expand_dims":
        axis = producer.integer("axis")
        dims: list[int | None] = list(range(len(before)))
        return form.pick([*dims[:axis], None, *dims[axis:]])
    if [size for size in before if size > 1] != [size for size in after if size > 1]:
        return None
    kept = iter([dim for dim, size in enumerate(before) if size > 1])
    return form.pick([next(kept) if size > 1 else None for size in after])
