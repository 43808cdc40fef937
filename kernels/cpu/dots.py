"""tl.dot: operands are read where they lie, or packed into tiles; the product is added to a tile in place."""

from dataclasses import dataclass

from .elements import HALVES, Refusal, stored
from .forms import Form, Scalar, text
from .nests import Nest
from .program import Program, Tile
from .tiles import fill, fill_load, materialise, take_over
from .ttir import Operation, Type, Value
from .versions import Ranges


@dataclass
class _Operand:
    """A matrix: a tile, or a load that may be read in place; `turned` if its transpose is what is multiplied."""

    rows: int
    cols: int
    tile: Tile | None
    load: Operation | None
    turned: bool


def dot(program: Program, operation: Operation) -> None:
    left, right, start = operation.operands[:3]
    result = operation.result
    kind = _kind(left.type, result.type.element)
    target = take_over(program, start, operation, result.type) or program.allocate(result.type)
    fill(program, start, target)
    with program.scope():
        if len(result.type.dims) == 3:
            _batched(program, operation, kind, target)
        else:
            _matrices(program, _operand(program, left), _operand(program, right), kind, target)
        if result.type.element in HALVES:
            name = f"{target.name}[k]"
            program.emit(
                f"for (int k = 0; k < {result.type.size}; k++) {name} = tn_round_{result.type.element}({name});"
            )
    program.tiles[result] = target


def _kind(matrix: Type, result: str) -> str:
    """The product's name in the runtime; bf16 stands for its instruction, or f32 where the processor has none."""
    element = matrix.element
    if element == "bf16" and result == "f32" and len(matrix.dims) == 2 and matrix.dims[1] % 2 == 0:
        return "bf16"
    if element in ("f32", *HALVES) and result in ("f32", *HALVES):
        return "f32"
    if (element, result) in (("f64", "f64"), ("i8", "i32")):
        return element
    raise Refusal(f"a product of {element} matrices in {result} is not supported")


def _batched(program: Program, operation: Operation, kind: str, target: Tile) -> None:
    left, right = (materialise(program, value) for value in operation.operands[:2])
    batch, rows, inner = left.type.dims
    cols = right.type.dims[-1]
    program.emit(
        f"for (int k = 0; k < {batch}; k++) tn_dot_{kind}({rows}, {cols}, {inner}, {left.name} + k * {rows * inner}, "
        f"{inner}, 1, {right.name} + k * {inner * cols}, {cols}, {target.name} + k * {rows * cols});"
    )


def _operand(program: Program, value: Value, turned: bool = False) -> _Operand:
    """Looks through transposition and widening, which cost nothing."""
    rows, cols = value.type.dims
    producer = value.producer
    known = value in program.tiles or producer is None or value in program.shifted
    if not known and producer is not None:
        if producer.name == "tt.trans":
            return _operand(program, producer.operands[0], not turned)
        if producer.name == "arith.extf" and value.type.element == "f32":
            return _operand(program, producer.operands[0], turned)
        if producer.name == "tt.load":
            if _readable(program, producer):
                return _Operand(rows, cols, None, producer, turned)
        elif producer.name == "tt.reshape":
            inside = materialise(program, producer.operands[0])
            return _Operand(rows, cols, Tile(inside.name, value.type), None, turned)
    return _Operand(rows, cols, materialise(program, value), None, turned)


def _readable(program: Program, load: Operation) -> bool:
    """A rectangle of memory with two strides: affine addresses, bounds as mask, zeros elsewhere."""
    form = program.forms.pointer(load.operands[0])
    if form is None or not form.offset.is_affine:
        form = program.flagged.pointer(load.operands[0])
    if form is None or not form.offset.is_affine or load.result.type.element not in ("f32", "f64", *HALVES):
        return False
    if len(load.operands) > 2:
        other = load.operands[2].producer
        if other is None or other.name != "arith.constant" or float(other.text) != 0:
            return False
    nest = _bounds(program, load)
    return all(side == "high" for bounds in nest.bounds.values() for side, _ in bounds) and not any(
        kind == "guard" for level in nest.levels for kind, _ in level
    )


def _bounds(program: Program, load: Operation) -> Nest:
    forms = program.forms
    form = forms.pointer(load.operands[0])
    if form is None or not form.offset.is_affine:
        forms = program.flagged
    nest = Nest(program, load.result.type.dims, (0, 1), forms)
    lane = nest.restrict(load.operands[1] if len(load.operands) > 1 else None)
    if lane != "1":
        nest.levels[0].append(("guard", lane))
    nest.place(load.operands[0], nest.index)
    return nest


def _matrices(program: Program, left: _Operand, right: _Operand, kind: str, target: Tile) -> None:
    inner = right.cols if right.turned else right.rows
    rows, cols = target.type.dims
    if kind != "bf16":
        _product(program, _Side(program, left, "a"), _Side(program, right, "b"), inner, kind, target)
        return
    program.emit("#if TN_DOT_BF16")
    with program.scope():
        a, b = _Side(program, left, "a"), _Side(program, right, "b")
        used = _used(program, a, b, inner)
        program.emit(f"const int even = ({used} + 1) & ~1;")
        a.write("bf16", f"{a.valid[0]} == {rows} && {a.valid[1]} == even" if a.valid else "")
        b.write("pairs", "")
        program.emit(f"tn_dot_bf16({rows}, {cols}, even, a, a_rows, b, {target.name});")
    program.emit("#else")
    with program.scope():
        _product(program, _Side(program, left, "a"), _Side(program, right, "b"), inner, "f32", target)
    program.emit("#endif")


def _product(program: Program, a: "_Side", b: "_Side", inner: int, kind: str, target: Tile) -> None:
    rows, cols = target.type.dims
    used = _used(program, a, b, inner)
    a.write(kind, f"{a.valid[0]} == {rows} && {a.valid[1]} == {used}" if a.valid else "")
    b.write(kind, f"{b.valid[1]} == {cols} && {b.valid[0]} == {used}" if b.valid else "")
    program.emit(f"tn_dot_{kind}({rows}, {cols}, {used}, a, a_rows, a_cols, b, b_rows, {target.name});")


def _used(program: Program, a: "_Side", b: "_Side", inner: int) -> str:
    """How much of the inner dimension is multiplied: beyond the longer of the two valid parts both sides are zero."""
    if not (a.valid and b.valid):
        return str(inner)
    program.emit(f"const int inner = {a.valid[1]} > {b.valid[0]} ? {a.valid[1]} : {b.valid[0]};")
    return "inner"


# What an operand is packed into: the element type of the tile, that type in C, and how many matrix elements one holds.
_PACKED = {
    "f32": ("f32", "float", 1),
    "f64": ("f64", "double", 1),
    "i8": ("i8", "int8_t", 1),
    "bf16": ("i16", "bf16", 1),
    "pairs": ("i32", "uint32_t", 2),
}


class _Side:
    """Declares `a` or `b` and its strides: pointer, step from row to row, step from column to column."""

    def __init__(self, program: Program, operand: _Operand, name: str) -> None:
        self.program, self.operand, self.name = program, operand, name
        self.rows, self.cols = (operand.cols, operand.rows) if operand.turned else (operand.rows, operand.cols)
        self.valid: tuple[str, str] | None = None
        if operand.load is not None:
            self.nest = _bounds(program, operand.load)
            self.nest.write_bounds()
            high = [self.nest.range(dim)[1] for dim in (0, 1)]
            self.conditions = Ranges(self.nest).conditions()
            if self.conditions:
                # Where the addresses are not affine after all, the slow copy fills the whole tile.
                program.emit(f"const _Bool {name}_plain = {' && '.join(self.conditions)};")
                high = [
                    program.declare("int", f"{name}_plain ? {at} : {size}", "n")
                    for at, size in zip(high, operand.load.result.type.dims, strict=True)
                ]
            self.valid = (high[1], high[0]) if operand.turned else (high[0], high[1])

    def write(self, packing: str, whole: str) -> None:
        """Points to memory where the operand lies there as it is needed and is `whole`, else to a packed copy."""
        if self.operand.tile is not None:
            self._write_tile(self.operand.tile, packing)
        else:
            self._write_load(packing, whole)

    def _declare(self, packing: str, source: str) -> None:
        self.program.emit(f"const {_PACKED[packing][1]} *{self.name} = {source};")
        self.program.emit(f"int64_t {self.name}_rows = {self.cols}, {self.name}_cols = 1;")

    def _allocate(self, packing: str) -> str:
        element, kind, width = _PACKED[packing]
        tile = self.program.allocate(Type((self.rows * self.cols // width,), element))
        return f"({kind} *){tile.name}"

    def _write_load(self, packing: str, whole: str) -> None:
        program, operand, name, load = self.program, self.operand, self.name, self.operand.load
        assert load is not None and self.nest.forms is not None and self.valid is not None
        pointer = self.nest.forms.pointer(load.operands[0])
        assert pointer is not None
        offset: Form = pointer.offset
        steps: list[Scalar] = [offset.steps[1], offset.steps[0]] if operand.turned else list(offset.steps)
        element = load.result.type.element
        memory = stored(element)
        packed = self._allocate(packing)
        self._declare(packing, packed)
        program.emit(f"const {memory} *const {name}_memory = ({memory} *){pointer.root} + {text(offset.base)};")
        in_place = element == packing and (steps[1] == 1 or (name == "a" and packing != "bf16"))
        plain = [f"{name}_plain"] if self.conditions else []
        if in_place:
            with program.scope(f"if ({' && '.join([*plain, whole])})"):
                program.emit(f"{name} = {name}_memory;")
                program.emit(f"{name}_rows = {text(steps[0])}, {name}_cols = {text(steps[1])};")
        place = f"{packed}, {name}_memory, {text(steps[0])}, {text(steps[1])}"
        copy = f"{_packer(packing, element)}({place}, {self.rows}, {self.cols}, {self.valid[0]}, {self.valid[1]});"
        if not plain:
            program.emit(f"else {copy}" if in_place else copy)
            return
        with program.scope(f"{'else ' if in_place else ''}if ({name}_plain)"):
            program.emit(copy)
        with program.scope("else"):
            loaded = program.allocate(load.result.type)
            fill_load(program, load, loaded)
            self._pack(loaded, packing, packed)

    def _write_tile(self, tile: Tile, packing: str) -> None:
        wanted = packing in ("f32", "f64", "i8")
        if wanted and (not self.operand.turned or self.name == "a"):
            self._declare(packing, tile.name)
            if self.operand.turned:
                self.program.emit(f"{self.name}_rows = 1, {self.name}_cols = {self.rows};")
            return
        packed = self._allocate(packing)
        self._declare(packing, packed)
        self._pack(tile, packing, packed)

    def _pack(self, tile: Tile, packing: str, packed: str) -> None:
        step, unit = (1, self.rows) if self.operand.turned else (self.cols, 1)
        element = "f32" if tile.type.element in HALVES else tile.type.element
        sizes = f"{self.rows}, {self.cols}, {self.rows}, {self.cols}"
        self.program.emit(f"{_packer(packing, element)}({packed}, {tile.name}, {step}, {unit}, {sizes});")


def _packer(packing: str, element: str) -> str:
    if packing == "pairs":
        return "tn_pairs_of_columns" if element == "bf16" else f"tn_pairs_{element}"
    return f"tn_bits_{element}" if packing == "bf16" else f"tn_load_tile_{element}"
