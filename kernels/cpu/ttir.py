"""Triton's intermediate representation, read from its text.

Triton's Python bindings give no access to dense constants and array attributes, so the printed module is the only
complete source. The result is a small graph: operations in blocks, values with their users, names resolved.
"""

import re
from dataclasses import dataclass, field
from math import prod

from .._errors import UnsupportedKernelError

_NAME = r"%[\w$.\-]+(?:#\d+)?"
_OPERATION = re.compile(r'"?([\w.]+)"?')
_RESULTS = re.compile(r"((?:%[\w$.\-]+(?::\d+)?(?:, )?)+) = ")
_FUNCTION = re.compile(r"tt\.func (?:public |private )?@([\w$.\-]+)\((.*?)\)(?: -> .*?)?(?: attributes .*)?\s*\{$")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Type:
    """`shape` is None for a scalar; `element` is i1 ... i64, index, f16, bf16, f32, f64, ptr<...> or another word."""

    shape: tuple[int, ...] | None
    element: str

    @property
    def is_tensor(self) -> bool:
        return self.shape is not None

    @property
    def dims(self) -> tuple[int, ...]:
        return self.shape or ()

    @property
    def size(self) -> int:
        return prod(self.dims)

    @property
    def is_pointer(self) -> bool:
        return self.element.startswith("ptr<")

    @property
    def pointee(self) -> str:
        return self.element[4:-1]

    @property
    def is_float(self) -> bool:
        return self.element in ("f16", "bf16", "f32", "f64")


@dataclass(eq=False, repr=False)
class Value:
    """The result of an operation (`producer`) or the argument of a block (`block`)."""

    type: Type
    producer: "Operation | None" = None
    block: "Block | None" = None
    index: int = 0
    uses: "list[Operation]" = field(default_factory=list)


@dataclass(eq=False, repr=False)
class Operation:
    """One operation; `text` is what stands between its name and its types, `line` its place in the TTIR."""

    name: str
    line: int
    block: "Block"
    operands: list[Value] = field(default_factory=list)
    results: list[Value] = field(default_factory=list)
    text: str = ""
    strings: list[str] = field(default_factory=list)
    blocks: "list[Block]" = field(default_factory=list)
    targets: list[tuple[str, int]] = field(default_factory=list)
    position: int = 0

    @property
    def result(self) -> Value:
        return self.results[0]

    @property
    def word(self) -> str:
        """The first bare word: the predicate of a comparison, the kind of an atomic, the axis of a program id."""
        match = re.search(r"[A-Za-z_]\w*", self.text)
        return match.group() if match else ""

    def integer(self, name: str) -> int:
        match = re.search(rf"\b{name} = (-?\d+)", self.text)
        if match is None:
            raise ValueError(f"{self.name} has no integer attribute {name}: {self.text}")
        return int(match.group(1))

    def integers(self, name: str) -> list[int]:
        match = re.search(rf"\b{name} = array<i\d+(?:: ([\d, \-]+))?>", self.text)
        return [int(item) for item in match.group(1).split(",")] if match and match.group(1) else []

    def flag(self, name: str) -> bool:
        return f"{name} = true" in self.text


@dataclass(eq=False, repr=False)
class Block:
    """Arguments and operations; `owner` is the operation whose region it is, `labels` the arguments of cf blocks."""

    arguments: list[Value] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    owner: Operation | None = None
    labels: dict[str, list[Value]] = field(default_factory=dict)

    @property
    def terminator(self) -> Operation:
        return self.operations[-1]


@dataclass(eq=False, repr=False)
class Function:
    name: str
    body: Block

    @property
    def arguments(self) -> list[Value]:
        return self.body.arguments


def parse(text: str) -> dict[str, Function]:
    """The functions of a module by name; the kernel is the public one, which comes first."""
    return _Parser(text).functions


def parse_type(text: str) -> Type:
    text = text.strip()
    if text.startswith("tensor<"):
        dims = re.match(r"(?:\d+x)*", text[7:])
        assert dims is not None
        shape = tuple(int(size) for size in dims.group().split("x")[:-1])
        return Type(shape, parse_type(text[7 + dims.end() : text.rindex(">")]).element)
    if text.startswith("!tt.ptr<"):
        return Type(None, f"ptr<{parse_type(split(text[8 : text.rindex('>')])[0]).element}>")
    return Type(None, text)


def split(text: str) -> list[str]:
    """The parts of a list at its top-level commas."""
    parts, depth, start = [], 0, 0
    for at, char in enumerate(text):
        if char in "<([{":
            depth += 1
        elif char in ")]}" or (char == ">" and text[at - 1] != "-"):
            depth -= 1
        elif char == "," and depth == 0:
            parts.append(text[start:at].strip())
            start = at + 1
    rest = text[start:].strip()
    return [*parts, rest] if rest else parts


def _types(text: str) -> list[Type]:
    text = text.strip()
    if text.startswith("(") and text.endswith(")"):
        text = text[1:-1]
    return [parse_type(part) for part in split(text.replace(" * ", ", "))]


def _typed_names(text: str) -> list[tuple[str, Type]]:
    pairs = (part.split(":", 1) for part in split(text))
    return [(name.strip(), parse_type(re.sub(r"\s*\{.*\}$", "", kind.strip()))) for name, kind in pairs]


class _Parser:
    def __init__(self, text: str) -> None:
        self.lines = [line.strip() for line in text.splitlines()]
        self.at = 0
        self.kernel = ""
        self.functions: dict[str, Function] = {}
        while self.at < len(self.lines):
            match = _FUNCTION.match(self.lines[self.at])
            self.at += 1
            if match:
                self.kernel = match.group(1)
                body = Block()
                names: dict[str, Value] = {}
                self.declare(body, _typed_names(match.group(2)), names)
                self.block(body, names)
                self.functions[self.kernel] = Function(self.kernel, body)

    def refuse(self, line: str) -> UnsupportedKernelError:
        return UnsupportedKernelError(f"{self.kernel}: TTIR line {self.at}: cannot read: {line[:200]}")

    def declare(self, block: Block, arguments: list[tuple[str, Type]], names: dict[str, Value]) -> list[Value]:
        values = [Value(kind, block=block, index=index) for index, (_, kind) in enumerate(arguments)]
        block.arguments.extend(values)
        names.update(zip([name for name, _ in arguments], values, strict=True))
        return values

    def block(self, block: Block, outer: dict[str, Value]) -> str:
        """Reads operations up to the line that closes the region, which is returned."""
        names = dict(outer)
        if block.owner is None:
            self.labels(block, names)
        while True:
            line = self.lines[self.at]
            self.at += 1
            if line.startswith("}"):
                return line
            if not line:
                continue
            if label := re.match(r"\^(\w+)(?:\((.*)\))?:", line):
                if block.owner is None:
                    self.append(block, Operation("label", self.at, block, text=label.group(1)))
                else:
                    self.declare(block, _typed_names(label.group(2) or ""), names)
                continue
            self.operation(block, line, names)

    def labels(self, block: Block, names: dict[str, Value]) -> None:
        """Declares the arguments of the function's later blocks, which branches may pass before they are read."""
        depth, at = 1, self.at
        while depth:
            line = self.lines[at]
            at += 1
            label = re.match(r"\^(\w+)(?:\((.*)\))?:", line)
            if label and depth == 1:
                arguments = [(name, Value(kind)) for name, kind in _typed_names(label.group(2) or "")]
                block.labels[label.group(1)] = [value for _, value in arguments]
                names.update(arguments)
            depth += line.endswith("{") - line.startswith("}")

    def append(self, block: Block, operation: Operation) -> None:
        operation.position = len(block.operations)
        block.operations.append(operation)

    def operation(self, block: Block, line: str, names: dict[str, Value]) -> None:
        result_names: list[str] = []
        rest = line
        if match := _RESULTS.match(line):
            rest = line[match.end() :]
            for name in match.group(1).split(", "):
                base, _, count = name.partition(":")
                result_names += [f"{base}#{k}" for k in range(int(count))] if count and int(count) > 1 else [base]
        head = _OPERATION.match(rest)
        if head is None:
            raise self.refuse(line)
        operation = Operation(head.group(1), self.at, block)
        tail = rest[head.end() :]
        try:
            types = self.body(operation, tail, names)
        except (ValueError, AttributeError, KeyError, IndexError) as error:
            raise self.refuse(line) from error
        if len(types) == 1:
            types = types * max(1, len(result_names))
        operation.results = [Value(kind, operation, index=k) for k, kind in enumerate(types[: len(result_names)])]
        for value in operation.operands:
            value.uses.append(operation)
        names.update(zip(result_names, operation.results, strict=True))
        self.append(block, operation)

    def body(self, operation: Operation, tail: str, names: dict[str, Value]) -> list[Type]:
        """Fills operands, attributes and regions; returns the types of the results."""
        special = getattr(self, "read_" + operation.name.replace(".", "_"), None)
        if special is not None:
            result: list[Type] = special(operation, tail, names)
            return result
        if tail.endswith("({"):
            operation.operands = [names[name] for name in re.findall(_NAME, tail)]
            operation.text = tail
            end = self.region(operation, names)
            while end.startswith("}, {"):
                end = self.region(operation, names)
            return _types(end.rpartition(" -> ")[2])
        operation.strings = _STRING.findall(tail)
        tail = _STRING.sub('""', tail)
        text, separator, types = tail.rpartition(" : ")
        if not separator:
            text, types = tail, ""
        operation.text = text
        operation.operands = [names[name] for name in re.findall(_NAME, text)]
        for arrow in (" -> ", " to "):
            if arrow in types:
                return _types(types.rpartition(arrow)[2])
        given = _types(types)
        if not given:
            return []
        if operation.name in ("arith.cmpi", "arith.cmpf"):
            return [Type(given[0].shape, "i1")]
        if operation.name == "tt.load":
            return [Type(given[0].shape, given[0].pointee)]
        return [given[0] if operation.name == "tt.addptr" else given[-1]]

    def region(
        self, operation: Operation, names: dict[str, Value], arguments: list[tuple[str, Type]] | None = None
    ) -> str:
        block = Block(owner=operation)
        operation.blocks.append(block)
        scope = dict(names)
        self.declare(block, arguments or [], scope)
        return self.block(block, scope)

    def read_arith_constant(self, operation: Operation, tail: str, names: dict[str, Value]) -> list[Type]:
        text, separator, kind = tail.rpartition(" : ")
        if not separator:
            text, kind = tail, "i1"
        text = re.sub(r"^\{.*?\}\s*", "", text.strip())
        dense = re.fullmatch(r"dense<(.*)>", text)
        operation.text = dense.group(1) if dense else text
        return [parse_type(kind)]

    def read_cf_br(self, operation: Operation, tail: str, names: dict[str, Value]) -> list[Type]:
        for label, passed in re.findall(r"\^(\w+)(?:\((.*?) : .*?\))?", tail):
            values = re.findall(_NAME, passed or "")
            operation.targets.append((label, len(values)))
        operation.operands = [names[name] for name in re.findall(_NAME, tail)]
        return []

    read_cf_cond_br = read_cf_br

    def read_scf_for(self, operation: Operation, tail: str, names: dict[str, Value]) -> list[Type]:
        match = re.match(
            r" (unsigned )?(%\S+) = (%\S+) to (%\S+) step (%\S+)"
            r"(?: iter_args\((.*?)\) -> \((.*)\))?\s*(?: : (\S+))?\s*\{$",
            tail,
        )
        if match is None:
            raise ValueError(tail)
        unsigned, counter, low, high, step, carried, types, kind = match.groups()
        operation.text = "unsigned" if unsigned else ""
        pairs = [part.split(" = ") for part in split(carried or "")]
        operation.operands = [names[name.strip()] for name in (low, high, step, *(given for _, given in pairs))]
        results = _types(types) if types else []
        arguments = [(counter, parse_type(kind or "index"))]
        arguments += zip([name.strip() for name, _ in pairs], results, strict=True)
        self.region(operation, names, arguments)
        return results

    def read_scf_if(self, operation: Operation, tail: str, names: dict[str, Value]) -> list[Type]:
        match = re.match(r" (%\S+)(?: -> \((.*)\))?\s*\{$", tail)
        if match is None:
            raise ValueError(tail)
        operation.operands = [names[match.group(1)]]
        if self.region(operation, names).startswith("} else"):
            self.region(operation, names)
        return _types(match.group(2)) if match.group(2) else []

    def read_scf_while(self, operation: Operation, tail: str, names: dict[str, Value]) -> list[Type]:
        match = re.match(r"(?: \((.*?)\))? : (.*) -> (.*?)\s*\{$", tail)
        if match is None:
            raise ValueError(tail)
        pairs = [part.split(" = ") for part in split(match.group(1) or "")]
        operation.operands = [names[given.strip()] for _, given in pairs]
        types = _types(match.group(2))
        self.region(operation, names, list(zip([name.strip() for name, _ in pairs], types, strict=True)))
        self.region(operation, names)
        return _types(match.group(3))
