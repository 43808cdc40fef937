"""Loads whose innermost places are scattered in runs of neighbours, as a convolution's pixels are: copied by runs.

The runs belong to the vector of places, which all rows of the load share; they are looked for when the first load needs
them. The mask says which lanes of a run are copied; the others become zero.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from .elements import HALVES, from_memory, stored
from .indices import Index, linear
from .nests import Nest
from .program import Program, Tile
from .ttir import Operation, Type, Value

_MINIMUM = 16
_WORTHWHILE = 4


class Runs:
    """The copy of a load along the last dimension of `order`, where its places are the vector `places`."""

    def __init__(self, program: Program, load: Operation, order: Sequence[int], places: Tile) -> None:
        self.program, self.load, self.order, self.places = program, load, order, places
        self.shape, self.inner = load.result.type.dims, order[-1]
        nest = Nest(program, self.shape, order)
        inner = nest.index[self.inner]
        parts = self._parts(nest, nest.index)
        # The parts of the mask that vary along a row, and whether they are the same for all rows.
        self.along = [k for k, (_, at) in enumerate(parts) if inner in at]
        self.alike = all(name in (inner, "0") for k in self.along for name in parts[k][1])

    def write(self, tile: Tile, clear: Callable[[], None], otherwise: Callable[[], None]) -> None:
        """Writes the copy into `tile`; `otherwise` copies lane by lane, where the runs are too short."""
        program, runs, size = self.program, self.places.runs, self.shape[self.inner]
        find = f"tn_find_runs_{self.places.type.element}({self.places.name}, {size}, {runs}_first, {runs}_place)"
        program.emit(f"if ({runs} < 0) {runs} = {find};")
        with program.scope(f"if ({runs} * {_WORTHWHILE} <= {size})"):
            lanes = program.allocate(Type((size,), "i32")).name if self.along else ""
            if self.alike:
                self._copy_runs(tile, clear, lanes)
            else:
                self._copy_rows(tile, clear, lanes)
        with program.scope("else"):
            otherwise()

    def _copy_runs(self, tile: Tile, clear: Callable[[], None], lanes: str) -> None:
        """All rows of a run after each other: its length is then no surprise to the branch predictor."""
        program = self.program
        program.emit("int full = 1;")
        if self.along:
            nest = Nest(program, (self.shape[self.inner],), (0,))
            self._put_lanes(nest, self._at(nest.index[0]), lanes)
            nest.write()
        shape = [1 if dim == self.inner else size for dim, size in enumerate(self.shape)]
        nest = Nest(program, shape, self.order, program.forms)
        row = self._row(nest)
        nest.put(self._copy(nest, tile, row, lanes))
        self._clear(nest, clear)
        with self._each_run():
            nest.write(parallel=False)

    def _copy_rows(self, tile: Tile, clear: Callable[[], None], lanes: str) -> None:
        """Each row has a mask of its own."""
        program = self.program
        nest = Nest(program, self.shape, self.order, program.forms)
        row = self._row(nest)
        self._put_lanes(nest, nest.index, lanes)

        def copy(nest: Nest) -> None:
            with self._each_run():
                program.emit(self._copy(nest, tile, row, lanes))

        self._clear(nest, clear)
        nest.write(around=(lambda _: program.emit("int full = 1;"), copy))

    def _at(self, place: str, others: Index | None = None) -> Index:
        """The index of `place` along the innermost dimension."""
        return tuple(place if dim == self.inner else (others[dim] if others else "0") for dim in range(len(self.shape)))

    def _parts(self, nest: Nest, index: Index) -> list[tuple[Value, Index]]:
        return nest.conjuncts(self.load.operands[1], index) if len(self.load.operands) > 1 else []

    def _put_lanes(self, nest: Nest, index: Index, lanes: str) -> None:
        """The mask along a row: -1 where it holds; `full` says whether it does everywhere."""
        parts = self._parts(nest, index)
        lane = nest.temporary("_Bool", " & ".join(nest.expression(*parts[k]) for k in self.along), nest.innermost)
        nest.put(f"{lanes}[{index[self.inner]}] = -{lane};")
        nest.put(f"full &= {lane};")

    def _row(self, nest: Nest) -> str:
        """Where a row's places count from; the nest leaves out rows that the mask does."""
        parts = self._parts(nest, nest.index)
        nest.limit([part for k, part in enumerate(parts) if k not in self.along])
        place = nest.place(self.load.operands[0], self._at("0", nest.index))
        return nest.temporary(f"const {stored(self.load.result.type.element)} *", f"&{place}")

    def _clear(self, nest: Nest, clear: Callable[[], None]) -> None:
        """Clears the tile where not all of its rows are copied."""
        nest.write_bounds()
        full = [f"{nest.range(dim)[0]} == 0 && {nest.range(dim)[1]} == {self.shape[dim]}" for dim in nest.bounds]
        guarded = any(kind == "guard" for level in nest.levels for kind, _ in level)
        if guarded or full:
            with self.program.scope("" if guarded else f"if (!({' && '.join(full)}))"):
                clear()

    @contextmanager
    def _each_run(self) -> Iterator[None]:
        runs, size = self.places.runs, self.shape[self.inner]
        with self.program.scope(f"for (int run = 0; run < {runs}; run++)"):
            self.program.emit(f"const int first = {runs}_first[run];")
            self.program.emit(f"const int n = (run + 1 < {runs} ? {runs}_first[run + 1] : {size}) - first;")
            self.program.emit(f"const int64_t from = {runs}_place[run];")
            yield

    def _copy(self, nest: Nest, tile: Tile, row: str, lanes: str) -> str:
        """Copies a run of a row."""
        element = self.load.result.type.element
        if self.inner == len(self.shape) - 1 and element in ("f32", "f64", *HALVES):
            to = f"{tile.name} + ({linear(self._at('first', nest.index), self.shape)})"
            whole = f"tn_copy_run_{element}({to}, {row} + from, n);"
            masked = f"tn_copy_lanes_{element}({to}, {row} + from, n, {lanes} + first);"
            return f"if (full) {whole} else {masked}" if lanes else whole
        to = f"{tile.name}[{linear(self._at('(first + k)', nest.index), self.shape)}]"
        value = from_memory(f"{row}[from + k]", element)
        return f"for (int k = 0; k < n; k++) {to} = {f'{lanes}[first + k] ? {value} : 0' if lanes else value};"


def runs_of(program: Program, load: Operation, order: Sequence[int]) -> Runs | None:
    """The copy by runs of a load whose innermost places are a vector, and nothing but it."""
    pointer = program.forms.pointer(load.operands[0])
    shape = load.result.type.dims
    if pointer is None or len(shape) < 2 or shape[order[-1]] < _MINIMUM:
        return None
    step, vectors = pointer.offset.steps[order[-1]], pointer.offset.vectors[order[-1]]
    if step != 0 or len(vectors) != 1 or vectors[0][2] != 1:
        return None
    places = program.tiles.get(vectors[0][0])
    return Runs(program, load, order, places) if places is not None and places.runs else None
