"""Two versions of a loop nest and the test that chooses: the fast one, and one that is right without any assumption."""

from collections.abc import Callable, Sequence

from .elements import stored_size
from .forms import Forms, Pointer, Scalar, Vectors, add, multiply, text
from .indices import Index
from .nests import Nest
from .program import Program
from .ttir import Value

SELDOM = "TN_SELDOM;"


def write_versions(
    nest: Nest, fast: Callable[[], None], slow: Callable[[], None], extra: Callable[["Ranges"], list[str]] | None = None
) -> None:
    """Writes the bounds and tests of `nest`, then both versions (only the fast one where nothing has to be tested)."""
    program = nest.program
    with program.scope():
        nest.write_bounds()
        ranges = Ranges(nest)
        conditions = list(dict.fromkeys([*ranges.conditions(), *(extra(ranges) if extra else [])]))
        if not conditions:
            fast()
            return
        # Not &&: the compiler takes what a chain of branches leads to for improbable, and does not vectorise it.
        with program.scope(f"if ({' & '.join(conditions)})"):
            fast()
        with program.scope("else"):
            slow()


class Ranges:
    """The C text of the least and the greatest value of forms over a nest."""

    def __init__(self, nest: Nest) -> None:
        self.nest = nest
        self.program: Program = nest.program
        self._vectors: dict[tuple[Vectors, int], tuple[str, str]] = {}

    def conditions(self) -> list[str]:
        conditions = list(self.nest.flags)
        for fit in self.nest.fits:
            spans = [(0, size - 1) for size in fit.shape]
            low, high = self.span(fit.base, fit.steps, fit.vectors, spans, fit.shape)
            if not (isinstance(low, int) and isinstance(high, int) and -(2**31) <= low and high < 2**31):
                conditions.append(f"tn_fits32({text(low)}, {text(high)})")
        return conditions

    def span(
        self,
        base: Scalar,
        steps: Sequence[Scalar],
        vectors: Sequence[Vectors],
        spans: Sequence[tuple[Scalar, Scalar]],
        shape: Sequence[int],
    ) -> tuple[Scalar, Scalar]:
        low = high = base
        for step, group, (first, last), size in zip(steps, vectors, spans, shape, strict=True):
            if isinstance(step, int) and step >= 0:
                low, high = add(low, multiply(first, step)), add(high, multiply(last, step))
            elif isinstance(step, int):
                low, high = add(low, multiply(last, step)), add(high, multiply(first, step))
            else:
                low = add(low, f"tn_least({step}, {first}, {last})")
                high = add(high, f"tn_most({step}, {first}, {last})")
            if group:
                least, most = self._vector_range(group, size)
                low, high = add(low, least), add(high, most)
        return low, high

    def _vector_range(self, group: Vectors, size: int) -> tuple[str, str]:
        if (group, size) not in self._vectors:
            program = self.program
            low, high = program.fresh("low"), program.fresh("high")
            program.emit(f"int64_t {low} = INT64_MAX, {high} = INT64_MIN;")
            nest = Nest(program, (size,), (0,))
            terms = []
            for value, dim, factor in group:
                index = tuple(nest.index[0] if k == dim else "0" for k in range(len(value.type.dims)))
                lane = nest.expression(value, index)
                terms.append(f"(int64_t){lane} * {text(factor)}")
            at = nest.temporary("int64_t", " + ".join(terms), nest.innermost)
            nest.put(f"{low} = {at} < {low} ? {at} : {low};")
            nest.put(f"{high} = {at} > {high} ? {at} : {high};")
            nest.write()
            self._vectors[group, size] = (low, high)
        return self._vectors[group, size]

    def memory(self, pointer: Pointer, index: Index, element: str) -> tuple[str, str]:
        """The first address that the nest's lanes of a pointer touch, and the one after the last."""
        dims = {name: dim for dim, name in self.nest.variables.items()}
        spans: list[tuple[Scalar, Scalar]] = []
        shape = []
        for at in index:
            if at not in dims:
                spans.append((0, 0))
                shape.append(1)
                continue
            low, high = self.nest.range(dims[at])
            last = str(int(high) - 1) if high.isdigit() else f"({high} - 1)"
            spans.append((int(low) if low.isdigit() else low, int(last) if last.isdigit() else last))
            shape.append(self.nest.shape[dims[at]])
        offset = pointer.offset
        low_text, high_text = self.span(offset.base, offset.steps, offset.vectors, spans, shape)
        size = stored_size(element)
        program = self.program
        first = program.declare("char *", f"{pointer.root} + {text(multiply(low_text, size))}", "p")
        last_text = multiply(add(high_text, 1), size)
        return first, program.declare("char *", f"{pointer.root} + {text(last_text)}", "p")


def order_for(forms: Forms, pointer: Value) -> list[int]:
    """The order of loops over a pointer tensor: the dimension that is contiguous in memory innermost."""
    dims = list(range(len(pointer.type.dims)))
    form = forms.pointer(pointer)
    if form is None or not dims:
        return dims
    contiguous = [
        dim
        for dim in dims
        if pointer.type.dims[dim] > 1 and form.offset.steps[dim] == 1 and not form.offset.vectors[dim]
    ]
    gathered = [dim for dim in dims if form.offset.vectors[dim]]
    # A dimension of scattered places often holds runs of neighbours (see runs.py); a plain step in memory never does.
    inner = contiguous[-1] if contiguous else gathered[-1] if gathered else dims[-1]
    if pointer.type.dims[inner] == 1:
        return dims
    return [dim for dim in dims if dim != inner] + [inner]
