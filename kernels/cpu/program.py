"""The state of one lowering: what every value is called in C, which tiles it has, and the lines written so far."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .analysis import plan
from .elements import computed, computed_size, stored, stored_literal
from .forms import Forms
from .ttir import Function, Type, Value


@dataclass(frozen=True)
class Tile:
    """Row-major storage in the arena.

    flag: the C variable that says whether it holds t[0], t[0] + 1, ...
    runs: the C variable that counts its runs of such numbers, -1 before they are looked for; see runs.py.
    """

    name: str
    type: Type
    flag: str = ""
    runs: str = ""


class Program:
    """A scalar has a C name, a tensor a tile, or neither: then it is an expression, written where it is needed.

    A tensor that a loop carries as "itself plus a uniform step" is `shifted`: its initial value and a C variable.
    """

    ALIGNMENT = 64

    def __init__(self, function: Function, ttir: str) -> None:
        self.function = function
        self.ttir = ttir
        self.names: dict[Value, str] = {value: f"a{k}" for k, value in enumerate(function.arguments)}
        self.tiles: dict[Value, Tile] = {}
        self.shifted: dict[Value, tuple[Value, str]] = {}
        self.forms = Forms(self, use_flags=False)
        self.flagged = Forms(self, use_flags=True)
        self.lines: list[str] = []
        self.hoisted: list[str] = []
        self.asserts: list[str] = []
        self.plan = plan(function)
        self.depth = 1
        self.arena_top = 0
        self.arena_size = 0
        self._arrays: dict[str, str] = {}
        self._count = 0

    def emit(self, line: str) -> None:
        self.lines.append("    " * self.depth + line)

    def fresh(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}{self._count}"

    @contextmanager
    def scope(self, head: str = "") -> Iterator[None]:
        """A C block; the tiles allocated in it are free again after it."""
        self.emit(f"{head} {{" if head else "{")
        self.depth += 1
        top = self.arena_top
        yield
        self.arena_top = top
        self.depth -= 1
        self.emit("}")

    def declare(self, kind: str, value: str, prefix: str = "v") -> str:
        """A constant C variable; a literal or a name stays what it is."""
        name = self.fresh(prefix)
        self.emit(f"const {kind} {name} = {value};" if not kind.endswith("*") else f"{kind}const {name} = {value};")
        return name

    def row_of(self, constant: str, element: str, size: int) -> str:
        """The name of an array that holds a constant, as TTIR prints it, `size` times in its stored form."""
        value = stored_literal(constant, element)
        kind = stored(element)
        key = f"static const {kind} {{}}[{size}] = {{{{[0 ... {size - 1}] = {value}}}}};"
        if key not in self._arrays:
            self._arrays[key] = self.fresh("row")
            self.hoisted.append(key.format(self._arrays[key]))
        return self._arrays[key]

    def allocate(self, kind: Type) -> Tile:
        size = kind.size * computed_size(kind.element)
        offset = self.arena_top
        self.arena_top += -(-size // self.ALIGNMENT) * self.ALIGNMENT
        self.arena_size = max(self.arena_size, self.arena_top)
        c_type = computed(kind.element)
        name = self.fresh("t")
        pointer = f"{c_type} *" if not c_type.endswith("*") else f"{c_type}*"
        self.emit(f"{pointer}const {name} = ({pointer})(arena + {offset});")
        return Tile(name, kind)
