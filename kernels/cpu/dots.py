"""tl.dot: operands are read where they lie, or packed into tiles; the product is added to a tile in place."""

from dataclasses import dataclass

from .elements import HALVES, Refusal, computed, stored
from .forms import Form, Scalar, text
from .nests import Nest
from .program import Program, Tile
from .tiles import fill, fill_load, materialise, take_over
from .ttir import Operation, Type, Value
from .versions import Ranges


@dataclass
class _Operand:
    """A matrix: a tile, or a load that may be read in place; `turned` if it is the transpose of it that is multiplied."""

    rows: int
    cols: int
    tile: Tile | None
    load: Operation | None
    turned: bool


def dot(program: Program, operation: Operation) -> None:
    left, right, start = operation.operands[:3]
    result = operation.result
    kind = _kind(left.type.element, result.type.element)
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


def _kind(element: str, result: str) -> str:
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
    a = _Side(program, left, kind, "a")
    b = _Side(program, right, kind, "b")
    used = str(inner)
    if a.valid and b.valid:
        # Both sides are zero beyond the longer of the two valid parts.
        program.emit(f"const int inner = {a.valid[1]} > {b.valid[0]} ? {a.valid[1]} : {b.valid[0]};")
        used = "inner"
    a.write(f"{a.valid[0]} == {rows} && {a.valid[1]} == {used}" if a.valid else "", any_strides=True)
    b.write(f"{b.valid[1]} == {cols} && {b.valid[0]} == {used}" if b.valid else "", any_strides=False)
    program.emit(f"tn_dot_{kind}({rows}, {cols}, {used}, a, a_rows, a_cols, b, b_rows, {target.name});")


class _Side:
    """Declares `a` or `b` with its strides: pointer, step from row to row, step from column to column."""

    def __init__(self, program: Program, operand: _Operand, kind: str, name: str) -> None:
        self.program, self.operand, self.kind, self.name = program, operand, kind, name
        self.type = computed(kind)
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

    def write(self, whole: str, any_strides: bool) -> None:
        program, operand, name = self.program, self.operand, self.name
        if operand.tile is not None:
            self._write_tile(operand.tile, any_strides)
            return
        load = operand.load
        assert load is not None and self.nest.forms is not None
        pointer = self.nest.forms.pointer(load.operands[0])
        assert pointer is not None
        offset: Form = pointer.offset
        steps: list[Scalar] = [offset.steps[1], offset.steps[0]] if operand.turned else list(offset.steps)
        element = load.result.type.element
        at = f"({stored(element)} *){pointer.root} + {text(offset.base)}"
        packed = program.allocate(Type((self.rows, self.cols), self.kind))
        program.emit(f"const {self.type} *{name} = {packed.name};")
        program.emit(f"int64_t {name}_rows = {self.cols}, {name}_cols = 1;")
        program.emit(f"const {stored(element)} *const {name}_memory = {at};")
        in_place = element == self.kind and (any_strides or steps[1] == 1)
        valid = self.valid
        assert valid is not None
        plain = f"{name}_plain && " if self.conditions else ""
        if in_place:
            with program.scope(f"if ({plain}{whole})"):
                program.emit(f"{name} = {name}_memory;")
                program.emit(f"{name}_rows = {text(steps[0])}, {name}_cols = {text(steps[1])};")
        branch = "else if" if in_place else "if"
        copy = (
            f"tn_load_tile_{element}({packed.name}, {name}_memory, {text(steps[0])}, {text(steps[1])}, "
            f"{self.rows}, {self.cols}, {valid[0]}, {valid[1]});"
        )
        if not self.conditions:
            program.emit(f"else {copy}" if in_place else copy)
            return
        with program.scope(f"{branch} ({name}_plain)"):
            program.emit(copy)
        with program.scope("else"):
            if not operand.turned:
                fill_load(program, load, packed)
                return
            loaded = program.allocate(Type(load.result.type.dims, self.kind))
            fill_load(program, load, loaded)
            self._turn(loaded, packed)

    def _turn(self, tile: Tile, packed: Tile) -> None:
        """Packs the transpose of a tile."""
        self.program.emit(
            f"tn_load_tile_{self.kind}({packed.name}, {tile.name}, 1, {self.rows}, "
            f"{self.rows}, {self.cols}, {self.rows}, {self.cols});"
        )

    def _write_tile(self, tile: Tile, any_strides: bool) -> None:
        program, name = self.program, self.name
        columns = tile.type.dims[1]
        step, unit = (1, columns) if self.operand.turned else (columns, 1)
        source = tile.name
        if unit != 1 and not any_strides:
            packed = program.allocate(Type((self.rows, self.cols), self.kind))
            self._turn(tile, packed)
            source, step, unit = packed.name, self.cols, 1
        program.emit(f"const {self.type} *{name} = {source};")
        program.emit(f"const int64_t {name}_rows = {step}, {name}_cols = {unit};")
