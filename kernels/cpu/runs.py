"""Loads whose innermost places are scattered in runs of neighbours, as a convolution's pixels are: copied by runs.

The runs are found once for a tile, from the vector of places and the part of the mask along it, and serve all rows.
"""

from collections.abc import Callable, Sequence

from .elements import HALVES, from_memory, stored
from .forms import multiply, text
from .indices import Index, linear
from .nests import Nest
from .program import Program, Tile
from .ttir import Operation, Type

_MINIMUM = 16
_WORTHWHILE = 4


class Runs:
    """The copy of a load along `inner`; `along` and `across` are the parts of the mask that do, do not vary there."""

    def __init__(
        self, program: Program, load: Operation, order: Sequence[int], along: list[int], across: list[int]
    ) -> None:
        self.program, self.load, self.order = program, load, order
        self.inner = order[-1]
        self.along, self.across = along, across

    def write(self, tile: Tile, clear: Callable[[], None], otherwise: Callable[[], None]) -> None:
        """Writes the copy into `tile`; `otherwise` copies lane by lane, where the runs are too short."""
        program, size = self.program, tile.type.dims[self.inner]
        first, last = (program.allocate(Type((size,), "i32")).name for _ in range(2))
        place = program.allocate(Type((size,), "i64")).name
        count, covered = program.fresh("runs"), program.fresh("covered")
        program.emit(f"int {count} = 0, {covered} = 0;")
        self._find(size, count, covered, first, last, place)
        with program.scope(f"if ({count} * {_WORTHWHILE} <= {covered})"):
            self._copy(tile, clear, count, covered, first, last, place)
        with program.scope("else"):
            otherwise()

    def _index(self, nest: Nest) -> Index:
        """The index of the load's lanes in a nest over the inner dimension alone."""
        return tuple(nest.index[0] if dim == self.inner else "0" for dim in range(len(self.order)))

    def _find(self, size: int, count: str, covered: str, first: str, last: str, place: str) -> None:
        program = self.program
        nest = Nest(program, (size,), (0,))
        index = self._index(nest)
        parts = nest.conjuncts(self.load.operands[1], index) if len(self.load.operands) > 1 else []
        lane = " & ".join(nest.expression(*parts[k]) for k in self.along) or "1"
        pointer = program.forms.pointer(self.load.operands[0])
        assert pointer is not None
        terms = []
        for value, dim, factor in pointer.offset.vectors[self.inner]:
            at = tuple(index[self.inner] if k == dim else "0" for k in range(len(value.type.dims)))
            terms.append(f"(int64_t){nest.expression(value, at)} * {text(factor)}")
        step = multiply(pointer.offset.steps[self.inner], 1)
        terms.append(f"(int64_t){index[self.inner]} * {text(step)}")
        where = nest.temporary("int64_t", " + ".join(terms), nest.innermost)
        i = nest.index[0]
        nest.put(f"if (!({lane})) continue;")
        nest.put(f"{covered}++;")
        nest.put(f"const int k = {count} - 1;")
        nest.put(f"if ({count} && {last}[k] == {i} && {where} == {place}[k] + ({i} - {first}[k])) {last}[k]++;")
        nest.put(f"else {first}[{count}] = {i}, {last}[{count}] = {i} + 1, {place}[{count}++] = {where};")
        nest.write(parallel=False)

    def _copy(
        self, tile: Tile, clear: Callable[[], None], count: str, covered: str, first: str, last: str, place: str
    ) -> None:
        program, shape = self.program, tile.type.dims
        rows = tuple(1 if dim == self.inner else size for dim, size in enumerate(shape))
        nest = Nest(program, rows, self.order, program.forms)
        parts = nest.conjuncts(self.load.operands[1], nest.index) if len(self.load.operands) > 1 else []
        lane = nest.limit([parts[k] for k in self.across])
        element = self.load.result.type.element
        row = nest.temporary(f"const {stored(element)} *", f"&{nest.place(self.load.operands[0], nest.index)}")
        name = program.fresh("i")
        at = linear([name if dim == self.inner else nest.index[dim] for dim in range(len(shape))], shape)
        guard = "" if lane == "1" else f"if ({lane}) "
        count_of = f"{name}_end - {name}"
        if self.inner == len(shape) - 1 and element in ("f32", "f64", *HALVES):
            nest.put(f"{guard}tn_copy_run_{element}({tile.name} + ({at}), {row} + from, {count_of});")
        else:
            there = at.replace(name, f"({name} + k)")
            value = from_memory(f"{row}[from + k]", element)
            nest.put(f"{guard}for (int k = 0; k < {count_of}; k++) {tile.name}[{there}] = {value};")
        nest.write_bounds()
        full = [f"{nest.range(dim)[0]} == 0 && {nest.range(dim)[1]} == {shape[dim]}" for dim in nest.bounds]
        guarded = lane != "1" or any(kind == "guard" for level in nest.levels for kind, _ in level)
        whole = " && ".join([f"{covered} == {shape[self.inner]}", *full])
        with program.scope("" if guarded else f"if (!({whole}))"):
            clear()
        # All rows of a run after each other: its length is then no surprise to the branch predictor.
        with program.scope(f"for (int run = 0; run < {count}; run++)"):
            program.emit(f"const int {name} = {first}[run], {name}_end = {last}[run];")
            program.emit(f"const int64_t from = {place}[run];")
            nest.write(parallel=False)


def runs_of(program: Program, load: Operation, order: Sequence[int]) -> Runs | None:
    """The copy by runs of a load whose innermost places are a vector and whose mask can be told apart by dimension."""
    pointer = program.forms.pointer(load.operands[0])
    shape = load.result.type.dims
    if pointer is None or len(shape) < 2 or shape[order[-1]] < _MINIMUM or not pointer.offset.vectors[order[-1]]:
        return None
    nest = Nest(program, shape, order)
    inner = nest.variables[order[-1]]
    along, across = [], []
    for k, (_, at) in enumerate(nest.conjuncts(load.operands[1], nest.index) if len(load.operands) > 1 else []):
        if inner not in at:
            across.append(k)
        elif any(name != inner and name != "0" for name in at):
            return None
        else:
            along.append(k)
    return Runs(program, load, order, along, across)
