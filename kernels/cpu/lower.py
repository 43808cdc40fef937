"""TTIR to C: the entry of the lowering, which writes one operation after the other."""

from collections.abc import Callable
from dataclasses import dataclass

from .._errors import UnsupportedKernelError
from . import calls, control, dots, effects, reductions, stores
from .analysis import lazy
from .elements import HALVES, Refusal, computed, literal
from .nests import Nest
from .program import Program
from .tiles import materialise
from .ttir import Block, Function, Operation, parse

_WRITERS: dict[str, Callable[[Program, Operation], None]] = {
    "tt.load": stores.load,
    "tt.store": stores.store,
    "tt.dot": dots.dot,
    "tt.reduce": reductions.reduce,
    "tt.scan": reductions.scan,
    "tt.gather": reductions.gather,
    "tt.histogram": reductions.histogram,
    "tt.cat": reductions.concatenate,
    "tt.atomic_rmw": effects.atomic_rmw,
    "tt.atomic_cas": effects.atomic_cas,
    "tt.assert": effects.check,
    "tt.print": effects.show,
    "cf.br": control.branch,
    "cf.cond_br": control.branch,
}
_WITH_BLOCKS: dict[str, Callable[[Program, Operation, control.WriteBlock], None]] = {
    "scf.for": control.for_loop,
    "scf.if": control.if_else,
    "scf.while": control.while_loop,
    "tt.call": calls.call,
}
_WITHOUT_MEANING = frozenset({"ttg.barrier", "gpu.barrier", "llvm.intr.assume", "scf.yield", "scf.condition"})


@dataclass(frozen=True)
class Lowered:
    """What the C compiler and the launcher need of a kernel.

    `source` defines `tn_program` (README.md), which returns 0, or 1 + the index in `asserts` of the one that failed.
    `args` are the element types of the arguments, `arena` the bytes of tile storage that one program needs.
    """

    name: str
    source: str
    args: tuple[str, ...]
    arena: int
    asserts: tuple[str, ...]


def lower(ttir: str) -> Lowered:
    """The C of a kernel.

    Raises: UnsupportedKernelError, with kernel, line of the TTIR and operation.
    """
    functions = parse(ttir)
    function = next(iter(functions.values()))
    program = Program(function, ttir)
    _Writer(program).block(function.body)
    return Lowered(
        name=function.name,
        source=_source(program),
        args=tuple(argument.type.element for argument in function.arguments),
        arena=program.arena_size,
        asserts=tuple(program.asserts),
    )


class _Writer:
    def __init__(self, program: Program) -> None:
        self.program = program

    def block(self, block: Block) -> None:
        for operation in block.operations:
            try:
                self.operation(operation)
            except Refusal as refusal:
                raise UnsupportedKernelError(
                    f"{self.program.function.name}: TTIR line {operation.line}: {operation.name}: {refusal}"
                ) from None

    def operation(self, operation: Operation) -> None:
        program, name = self.program, operation.name
        if name in _WITH_BLOCKS:
            _WITH_BLOCKS[name](program, operation, self.block)
        elif name in _WRITERS:
            _WRITERS[name](program, operation)
        elif lazy(operation):
            self.expression(operation)
        elif name in ("tt.get_program_id", "tt.get_num_programs"):
            program.names[operation.result] = ("" if name == "tt.get_program_id" else "g") + operation.word
        elif name == "label":
            program.emit(f"{operation.text}:;")
        elif name == "tt.return":
            program.emit("return 0;")
        elif name == "ub.poison":
            self.poison(operation)
        elif name not in _WITHOUT_MEANING:
            raise Refusal("the operation is not supported")

    def expression(self, operation: Operation) -> None:
        program, value = self.program, operation.result
        kind = computed(value.type.element)
        if value.type.is_tensor:
            if operation in program.plan.tiles and operation not in program.plan.late:
                materialise(program, value)
        elif operation.name == "arith.constant":
            program.names[value] = literal(operation.text, value.type.element)
        else:
            nest = Nest(program, (), ())
            lane = nest.evaluate(value)
            nest.write()
            program.names[value] = program.declare(kind, lane)

    def poison(self, operation: Operation) -> None:
        """A value that no lane may use: zero."""
        value = operation.result
        if value.type.is_tensor:
            operation.name, operation.text = "arith.constant", "0"
        else:
            program_zero = "0" if not value.type.is_float else "0.0"
            self.program.names[value] = program_zero


def _source(program: Program) -> str:
    arguments = []
    for k, value in enumerate(program.function.arguments):
        element = value.type.element
        if value.type.is_pointer:
            arguments.append(f"char *const a{k} = args[{k}].p;")
        elif value.type.is_float:
            arguments.append(f"const {computed(element)} a{k} = {_argument(element, k)};")
        else:
            arguments.append(f"const {computed(element)} a{k} = ({computed(element)})args[{k}].i;")
    lines = [*arguments, *program.hoisted]
    return (
        '#include "runtime.h"\n#include "nest.h"\n\n'
        "int tn_program(int x, int y, int z, int gx, int gy, int gz, const tn_slot *args, char *arena) {\n"
        + "".join(f"    {line}\n" for line in lines)
        + "".join(f"{line}\n" for line in program.lines)
        + "}\n"
    )


def _argument(element: str, k: int) -> str:
    if element in HALVES:
        return f"tn_{element}_to_f32(tn_f64_to_{element}(args[{k}].f))"
    return f"({computed(element)})args[{k}].f"


__all__ = ["Function", "Lowered", "lower"]
