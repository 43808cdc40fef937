"""One loop nest over the lanes of a tile: bounds and guards from masks, and the loops written out."""

import copy
from collections.abc import Callable, Sequence

from .forms import text
from .indices import Index
from .lanes import Lanes
from .ttir import Value


class Nest(Lanes):
    """Loops over `order` (dimensions of `shape`, outermost first; dimensions of size 1 have no loop)."""

    def inner(self) -> "Nest":
        """The same loops with an innermost one of its own, for the lanes where each comparison of forms holds.

        Which they are is found while its expressions are written, and tested before the loop: see `write`.
        """
        inner = copy.copy(self)
        inner.levels = [*self.levels[:-1], []]
        inner.bounds, inner.is_inner = {}, True
        inner._known = {
            key: name
            for key, name in self._known.items()
            if key[0].type.element != "i1" and self.level(name) < self.innermost
        }
        return inner

    def restrict(self, mask: Value | None, index: Index | None = None) -> str:
        """Limits the nest to the lanes of the mask; returns what is left to test for each lane ("1": nothing)."""
        return self.limit(self.conjuncts(mask, index or self.index) if mask is not None else [])

    def limit(self, parts: Sequence[tuple[Value, Index]]) -> str:
        """The same for masks at given indices."""
        lanes = []
        for part, at in parts:
            if (part, at) in self._known:
                continue
            if self.forms is not None and self._bound(part, at):
                self._known[part, at] = "1"
                continue
            condition = self.expression(part, at)
            level = self.level(condition)
            if level == self.innermost and self.order:
                lanes.append(condition)
            else:
                self.levels[level].append(("guard", condition))
                self._known[part, at] = "1"
        return " & ".join(lanes) or "1"

    def confine(self, mask: Value, chunked: int | None = None) -> None:
        """Bounds the loops by what a mask says in forms; along `chunked` its lanes are tested all the same."""
        for part, at in self.conjuncts(mask, self.index):
            affine = self._affine(part, at) if (part, at) not in self._known else None
            if affine is not None:
                dim, side, bound = affine
                self.bounds.setdefault(dim, []).append((side, bound))
                if dim != chunked:
                    self._known[part, at] = "1"

    def excluded(self, along: int | None = None) -> str:
        """The condition that the bounds leave out some lanes (of one dimension); "" where they cannot."""
        tests = []
        for dim in self.bounds if along is None else self.bounds.keys() & {along}:
            low, high = self.range(dim)
            tests += [f"{low} > 0"] * (low != "0") + [f"{high} < {self.shape[dim]}"] * (high != str(self.shape[dim]))
        return f"({' | '.join(f'({test})' for test in tests)})" if tests else ""

    def range(self, dim: int) -> tuple[str, str]:
        """The first index along a dimension and the one after the last, as C."""
        return self._limit.get(dim, ("0", str(self.shape[dim])))

    def write_bounds(self) -> None:
        """Declares the bounds that masks put on the loops."""
        self._limit = {}
        for dim, bounds in self.bounds.items():
            size = self.shape[dim]
            low, high = "0", str(size)
            for side, bound in bounds:
                if side == "high":
                    high = self.program.declare("int", f"tn_clamp({text(bound)}, 0, {high})", "n")
                else:
                    low = self.program.declare("int", f"tn_clamp({text(bound)}, {low}, {size})", "n")
            self._limit[dim] = (low, high)

    def write(
        self,
        otherwise: Callable[[list[int]], None] | None = None,
        note: str = "",
        parallel: bool = True,
        chunk: int = 0,
        around: tuple[Callable[["Nest"], None], Callable[["Nest"], None]] | None = None,
        inner: "Nest | None" = None,
    ) -> None:
        """Writes the loops.

        Args:
            otherwise: given the remaining dimensions, writes what is done for the lanes where a guard does not hold.
            note: a last line of the innermost loop.
            parallel: no lane of the innermost loop depends on another one.
            chunk: run the innermost loop in pieces of so many lanes, whose number in the piece is called `lane`.
            around: writes what comes before and after the innermost loop.
            inner: of `inner()`, its bounds written; takes the pieces whose lanes it is for.
        """
        program = self.program
        closers: list[tuple[bool | None, int]] = []
        inside = bool(self.tests) and parallel and not chunk and around is None
        for level in range(len(self.order) + 1):
            for kind, line in self.levels[level] if level < self.innermost else self._body(inside):
                if kind == "guard":
                    program.emit(f"if ({line}) {{")
                    program.depth += 1
                    closers.append((True, level))
                else:
                    program.emit(line)
            if level < len(self.order):
                dim = self.order[level]
                low, high = self.range(dim)
                name = self.variables[dim]
                innermost = level == len(self.order) - 1
                if innermost and around:
                    around[0](self)
                    closers.append((None, level))
                if innermost and inside:
                    low, high = self._write_border(name, low, high)
                if innermost and chunk:
                    program.emit(f"for (int piece = 0; piece < {high}; piece += {chunk}) {{")
                    program.depth += 1
                    closers.append((False, level))
                    if inner and inner.bounds:
                        inner._write_inner(chunk)
                if innermost and parallel:
                    program.emit("#pragma GCC ivdep")
                if innermost and chunk:
                    program.emit(_rolled(chunk))
                    program.emit(f"for (int lane = 0; lane < {chunk}; lane++) {{")
                else:
                    program.emit(f"for (int {name} = {low}; {name} < {high}; {name}++) {{")
                program.depth += 1
                closers.append((False, level))
                if innermost and chunk:
                    program.emit(f"const int {name} = piece + lane;")
        if note:
            program.emit(note)
        if around and not self.order:
            around[1](self)
        for is_guard, level in reversed(closers):
            if is_guard is None and around:
                around[1](self)
                continue
            program.depth -= 1
            if is_guard and otherwise is not None:
                program.emit("} else {")
                program.depth += 1
                otherwise(self.order[level:])
                program.depth -= 1
            program.emit("}")

    def _write_inner(self, chunk: int) -> None:
        """The loop over a piece all of whose lanes are within the bounds; it goes on to the next piece."""
        tests = []
        for dim, name in self.variables.items():
            low, high = self.range(dim)
            first, end = ("piece", f"piece + {chunk}") if dim == self.order[-1] else (name, f"{name} + 1")
            tests += [f"{low} <= {first}"] * (low != "0") + [f"{end} <= {high}"] * (high != str(self.shape[dim]))
        with self.program.scope(f"if ({' && '.join(tests)})"):
            self.program.emit("#pragma GCC ivdep")
            self.program.emit(_rolled(chunk))
            with self.program.scope(f"for (int lane = 0; lane < {chunk}; lane++)"):
                self.program.emit(f"const int {self.variables[self.order[-1]]} = piece + lane;")
                for _, line in self.levels[-1]:
                    self.program.emit(line)
            self.program.emit("continue;")

    def _body(self, inside: bool) -> list[tuple[str, str]]:
        """The lines of the innermost loop; `inside`: for lanes where all tests hold."""
        if not inside:
            return self.levels[-1]
        tests = {f"const _Bool {name}" for name in self.tests}
        return [
            (kind, f"{head} = 1;" if (head := line.partition(" =")[0]) in tests else line)
            for kind, line in self.levels[-1]
        ]

    def _write_border(self, name: str, low: str, high: str) -> tuple[str, str]:
        """Runs the innermost loop over the lanes where a test does not hold; returns the bounds of the others."""
        program = self.program
        first, end = low, high
        for side, bound in self.tests.values():
            if side == "low":
                first = program.declare("int", f"tn_clamp({text(bound)}, {first}, {high})", "n")
            else:
                end = program.declare("int", f"tn_clamp({text(bound)}, {low}, {end})", "n")
        end = program.declare("int", f"{end} < {first} ? {first} : {end}", "n")
        # From low to first, then from end to high.
        start, after = f"{low} < {first} ? {low} : {end}", f"{name} + 1 == {first} ? {end} : {name} + 1"
        with program.scope(f"for (int {name} = {start}; {name} < {high}; {name} = {after})"):
            for _, line in self.levels[-1]:
                program.emit(line)
            program.emit("TN_SELDOM;")
        return first, end


def _rolled(lanes: int) -> str:
    """For a loop of few lanes, which the compiler would unroll before it looks whether it vectorises."""
    return "#pragma GCC unroll 1" if lanes <= 16 else ""
