"""What the lanes of a tile are computed by: C expressions, placed at the outermost loop that their indices need.

Where there are forms (see forms.py), memory is addressed as base + index * step, so that the C compiler sees plain
arrays, and the affine comparisons of masks become bounds of loops; `fits` and `flags` are what has to hold for that.
Without forms the arithmetic is literal.
"""

import re
from collections.abc import Sequence

from .elements import computed, from_memory, stored, stored_size
from .expressions import pointwise
from .forms import Fit, Form, Forms, Pointer, Scalar, add, multiply, text
from .indices import Index, flat, linear, unravel
from .program import Program
from .ttir import Operation, Value

_ATOM = re.compile(r"[\w.]+")
_LONGEST_ROW = 4096
_NAME = re.compile(r"[A-Za-z_]\w*")


class Lanes:
    """The lines inside of loops over `order` (dimensions of `shape`, outermost first; those of size 1 have no loop)."""

    def __init__(
        self, program: Program, shape: Sequence[int], order: Sequence[int], forms: Forms | None = None
    ) -> None:
        self.program = program
        self.shape = tuple(shape)
        self.order = [dim for dim in order if self.shape[dim] > 1]
        self.forms = forms
        self.variables = {dim: program.fresh("i") for dim in self.order}
        self.index: Index = tuple(self.variables.get(dim, "0") for dim in range(len(self.shape)))
        self.levels: list[list[tuple[str, str]]] = [[] for _ in range(len(self.order) + 1)]
        self.bounds: dict[int, list[tuple[str, Scalar]]] = {}
        self.is_inner = False
        self.fits: dict[Fit, None] = {}
        self.flags: dict[str, None] = {}
        self.loads: dict[Value, tuple[Pointer | None, Index]] = {}
        self.tests: dict[str, tuple[str, Scalar]] = {}
        self._limit: dict[int, tuple[str, str]] = {}
        self._level = {name: self.order.index(dim) + 1 for dim, name in self.variables.items()}
        self._known: dict[tuple[Value, Index], str] = {}
        self._rows: dict[tuple[Value, Index], str] = {}

    @property
    def innermost(self) -> int:
        return len(self.order)

    def put(self, line: str) -> None:
        """A line of the innermost loop."""
        self.levels[-1].append(("line", line))

    def level(self, expression: str) -> int:
        return max([0, *(self._level.get(name, 0) for name in _NAME.findall(expression))])

    def temporary(self, kind: str, expression: str, level: int | None = None) -> str:
        if _ATOM.fullmatch(expression):
            return expression
        level = self.level(expression) if level is None else level
        name = self.program.fresh("v")
        self._level[name] = level
        space = "" if kind.endswith("*") else " "
        self.levels[level].append(
            ("line", f"{'' if kind.endswith('*') else 'const '}{kind}{space}{name} = {expression};")
        )
        return name

    def conjuncts(self, value: Value, index: Index) -> list[tuple[Value, Index]]:
        """The masks whose conjunction a mask is, each with the index that it is needed at."""
        index = flat(index, value)
        producer = value.producer
        if value.type.is_tensor and value not in self.program.tiles and value not in self.program.shifted and producer:
            if producer.name == "arith.andi":
                return [part for operand in producer.operands for part in self.conjuncts(operand, index)]
            if producer.name == "tt.broadcast":
                return self.conjuncts(producer.operands[0], index)
            if producer.name == "tt.expand_dims":
                axis = producer.integer("axis")
                return self.conjuncts(producer.operands[0], index[:axis] + index[axis + 1 :])
            if producer.name == "tt.splat":
                return self.conjuncts(producer.operands[0], ())
            if producer.name == "arith.constant" and producer.text == "true":
                return []
        return [(value, index)]

    def _bound(self, part: Value, index: Index) -> bool:
        """Takes an affine comparison along one dimension as a bound of its loop."""
        affine = self._affine(part, index)
        if affine is None:
            return False
        dim, side, bound = affine
        self.bounds.setdefault(dim, []).append((side, bound))
        return True

    def _affine(self, part: Value, index: Index) -> tuple[int, str, Scalar] | None:
        """An affine comparison as the dimension that it limits, whether from below ("low") or above, and the limit."""
        producer, forms = part.producer, self.forms
        if producer is None or producer.name != "arith.cmpi" or part in self.program.tiles or forms is None:
            return None
        predicate = producer.word
        if predicate not in ("slt", "sle", "sgt", "sge") or not part.type.is_tensor:
            return None
        left, right = producer.operands
        if predicate in ("slt", "sle"):
            left, right = right, left
        great, small = forms.of(left), forms.of(right)
        if great is None or small is None:
            return None
        great, small = forms.fitted(great, left), forms.fitted(small, right)
        steps = [add(a, multiply(b, -1)) for a, b in zip(great.steps, small.steps, strict=True)]
        base = add(great.base, multiply(small.base, -1))
        if predicate in ("slt", "sgt"):
            base = add(base, -1)
        dims = {name: dim for dim, name in self.variables.items()}
        along = [(dims[at], step) for at, step in zip(index, steps, strict=True) if at in dims and step != 0]
        if any(great.vectors) or any(small.vectors) or len(along) != 1:
            return None
        dim, step = along[0]
        if not isinstance(step, int):
            return None
        self._need(great, small)
        if abs(step) > 1:
            # base + step i >= 0
            return dim, "low" if step > 0 else "high", self._quotient(base, step)
        return (dim, "high", add(base, 1)) if step == -1 else (dim, "low", multiply(base, -1))

    @staticmethod
    def _quotient(base: Scalar, step: int) -> Scalar:
        """The first i with base + step i >= 0 for a positive step, the one after the last for a negative one."""
        if isinstance(base, int):
            return -(base // step) if step > 0 else base // -step + 1
        return f"-tn_floor({text(base)}, {step})" if step > 0 else f"(tn_floor({text(base)}, {-step}) + 1)"

    def _need(self, *forms: Form) -> None:
        for form in forms:
            self.fits.update(dict.fromkeys(form.fits))
            self.flags.update(dict.fromkeys(form.flags))

    def expression(self, value: Value, index: Index) -> str:
        """The C expression of a value's lane; a name, or a literal."""
        if not value.type.is_tensor:
            return self.program.names[value]
        index = flat(index, value)
        key = (value, index)
        if self.is_inner and key not in self._known and value.type.element == "i1" and self._bound(value, index):
            self._known[key] = "1"
        if key not in self._known:
            self._known[key] = self.temporary(computed(value.type.element), self._evaluate(value, index))
        return self._known[key]

    def evaluate(self, value: Value) -> str:
        """The C expression of a scalar that has no name yet."""
        return self._evaluate(value, ())

    def _evaluate(self, value: Value, index: Index) -> str:
        program, element = self.program, value.type.element
        if value in program.tiles:
            return f"{program.tiles[value].name}[{linear(index, value.type.dims)}]"
        if value in program.shifted:
            start, offset = program.shifted[value]
            first = self.expression(start, index)
            if value.type.is_pointer:
                return f"{first} + {offset} * {stored_size(value.type.pointee)}"
            kind = computed(element)
            return f"({kind})((u{kind}){first} + (u{kind}){offset})"
        operation = value.producer
        assert operation is not None
        reshape = getattr(self, "_of_" + operation.name.replace(".", "_"), None)
        if reshape is not None:
            result: str = reshape(operation, value, index)
            return result
        operands = [self.expression(operand, index) for operand in operation.operands]
        if operation.name in ("arith.andi", "arith.ori") and element == "i1":
            absorbing, neutral = ("0", "1") if operation.name == "arith.andi" else ("1", "0")
            if absorbing in operands:
                return absorbing
            operands = [operand for operand in operands if operand != neutral] or [neutral]
            if len(operands) == 1:
                return operands[0]
        return pointwise(operation, operands)

    def _of_tt_splat(self, operation: Operation, value: Value, index: Index) -> str:
        return self.expression(operation.operands[0], ())

    def _of_tt_unsplat(self, operation: Operation, value: Value, index: Index) -> str:
        source = operation.operands[0]
        return self.expression(source, ("0",) * len(source.type.dims))

    def _of_tt_make_range(self, operation: Operation, value: Value, index: Index) -> str:
        start = operation.integer("start")
        return f"{index[0]} + {start}" if start else index[0]

    def _of_tt_broadcast(self, operation: Operation, value: Value, index: Index) -> str:
        return self.expression(operation.operands[0], index)

    def _of_tt_expand_dims(self, operation: Operation, value: Value, index: Index) -> str:
        axis = operation.integer("axis")
        return self.expression(operation.operands[0], index[:axis] + index[axis + 1 :])

    def _of_tt_trans(self, operation: Operation, value: Value, index: Index) -> str:
        order = operation.integers("order")
        return self.expression(operation.operands[0], tuple(index[order.index(dim)] for dim in range(len(order))))

    def _of_tt_join(self, operation: Operation, value: Value, index: Index) -> str:
        first, second = (self.expression(operand, index[:-1]) for operand in operation.operands)
        return f"{index[-1]} == 0 ? {first} : {second}"

    def _of_tt_split(self, operation: Operation, value: Value, index: Index) -> str:
        return self.expression(operation.operands[0], (*index, str(value.index)))

    def _of_tt_reshape(self, operation: Operation, value: Value, index: Index) -> str:
        source = operation.operands[0]
        if source in self.program.tiles:
            return f"{self.program.tiles[source].name}[{linear(index, value.type.dims)}]"
        return self.expression(source, unravel(source.type.dims, value.type.dims, index, self.temporary))

    def _of_tt_load(self, operation: Operation, value: Value, index: Index) -> str:
        pointer, element = operation.operands[0], value.type.element
        self.loads[value] = (self._pointer(pointer, index), index)
        rows, mask = self._mask(operation.operands[1], index) if len(operation.operands) > 1 else ("1", "1")
        other_row = self._other_row(operation, index) if rows != "1" else None
        if other_row is None and rows != "1":
            rows, mask = "1", rows if mask == "1" else self.temporary("_Bool", f"{rows} & {mask}")
        place = self.place(pointer, index, rows, other_row or "")
        if mask == "1":
            return from_memory(place, element)
        other = self.expression(operation.operands[2], index) if len(operation.operands) > 2 else "0"
        loaded = f"{mask} ? {place} : 0"
        if re.fullmatch(r"0(x0\.0p\+0)?(\.0)?f?", other):
            return loaded if stored(element) == computed(element) != "_Bool" else from_memory(f"({loaded})", element)
        if stored(element) == computed(element):
            return f"{mask} ? {from_memory(place, element)} : {other}"
        raw = self.temporary(stored(element), loaded)
        return f"{mask} ? {from_memory(raw, element)} : {other}"

    def _mask(self, mask: Value, index: Index) -> tuple[str, str]:
        """What a mask says of the whole innermost loop, and what of each of its lanes ("1": nothing)."""
        rows: list[str] = []
        lanes: list[str] = []
        for part, at in self.conjuncts(mask, index):
            condition = self._test(part, at)
            if condition not in ("1", *rows, *lanes):
                (lanes if self.order and self.level(condition) == self.innermost else rows).append(condition)
        conditions = [self.temporary("_Bool", " & ".join(parts)) if parts else "1" for parts in (rows, lanes)]
        return conditions[0], conditions[1]

    def _test(self, part: Value, index: Index) -> str:
        """A condition; the innermost loop runs by itself over the lanes where the affine ones hold."""
        condition = self.expression(part, index)
        if self.order and condition not in self.tests and self.level(condition) == self.innermost:
            affine = self._affine(part, index)
            if affine is not None:
                self.tests[condition] = affine[1:]
        return condition

    def _other_row(self, load: Operation, index: Index) -> str | None:
        """An array to read instead of a row of memory that a mask excludes; None where none would do."""
        form = self._pointer(load.operands[0], index)
        other = load.operands[2].producer if len(load.operands) > 2 else None
        if form is None or other is None or other.name != "arith.constant" or not self.order:
            return None
        last, reach = self.variables[self.order[-1]], 0
        for at, step, vectors in zip(index, form.offset.steps, form.offset.vectors, strict=True):
            if at == last:
                if vectors or not isinstance(step, int) or step < 0:
                    return None
                reach += step * (self.shape[self.order[-1]] - 1)
        if reach > _LONGEST_ROW:
            return None
        return self.program.row_of(other.text, load.result.type.element, reach + 1)

    def place(self, pointer: Value, index: Index, rows: str = "1", other_row: str = "") -> str:
        """The C lvalue that a pointer's lane points to; one of `other_row` where the condition `rows` does not hold."""
        kind = stored(pointer.type.pointee)
        form = self._pointer(pointer, index)
        if form is None:
            return f"*({kind} *)({self.expression(pointer, index)})"
        self._need(form.offset)
        size = stored_size(pointer.type.pointee)
        dims = {name: dim for dim, name in self.variables.items()}
        key = (pointer, index)
        last = self.order[-1] if self.order else -1
        if key not in self._rows:
            base = multiply(form.offset.base, size)
            address = form.root if base == 0 else self.temporary("char *", f"{form.root} + {text(base)}")
            for level_dim in self.order:
                for at, step, vectors in zip(index, form.offset.steps, form.offset.vectors, strict=True):
                    if dims.get(at) == level_dim and level_dim != last:
                        address = self._advance(address, at, multiply(step, size), vectors, size)
            self._rows[key] = address
        address = self._rows[key]
        if rows != "1":
            address = self.temporary("char *", f"{rows} ? {address} : (char *){other_row}")
        terms: list[str] = []
        for at, step, vectors in zip(index, form.offset.steps, form.offset.vectors, strict=True):
            if dims.get(at) == last:
                terms += self._terms(at, step, vectors, 1)
        inner = " + ".join(terms) or "0"
        return f"(({kind} *){address})[{inner}]"

    def _pointer(self, pointer: Value, index: Index) -> Pointer | None:
        """The form of a pointer whose lanes are taken at plain loop variables."""
        plain = all(at == "0" or at in self.variables.values() for at in index)
        return self.forms.pointer(pointer) if self.forms and plain else None

    def _terms(self, at: str, step: Scalar, vectors: object, size: int) -> list[str]:
        terms = []
        if step == 1:
            terms.append(at)
        elif step != 0:
            hoisted = text(step) if isinstance(step, int) else self.temporary("int64_t", step)
            terms.append(f"(int64_t){at} * {hoisted}")
        for value, dim, factor in vectors:  # type: ignore[attr-defined]
            lane = self.expression(value, tuple(at if k == dim else "0" for k in range(len(value.type.dims))))
            scale = multiply(factor, size)
            terms.append(f"(int64_t){lane}" if scale == 1 else f"(int64_t){lane} * {text(scale)}")
        return terms

    def _advance(self, address: str, at: str, step: Scalar, vectors: object, size: int) -> str:
        terms = self._terms(at, step, vectors, size)
        return self.temporary("char *", " + ".join([address, *terms])) if terms else address
