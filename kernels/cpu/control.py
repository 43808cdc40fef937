"""Structured control flow, early returns, and the values that loops carry."""

from collections.abc import Callable

from .elements import Refusal, computed, unsigned
from .program import Program
from .tiles import assign, declare_tensor, fill, take_over
from .ttir import Block, Operation, Value

WriteBlock = Callable[[Block], None]


def for_loop(program: Program, operation: Operation, write_block: WriteBlock) -> None:
    low, high, step, *starts = operation.operands
    block = operation.blocks[0]
    counter, *carried = block.arguments
    yielded = block.terminator.operands if block.operations and block.terminator.name == "scf.yield" else []
    shifts: dict[int, Value] = {}
    for k, (argument, start) in enumerate(zip(carried, starts, strict=True)):
        moved = _shift(program, block, argument, yielded[k])
        if moved is not None:
            offset = program.fresh("shift")
            program.emit(f"int64_t {offset} = 0;")
            program.shifted[argument] = (start, offset)
            shifts[k] = moved
        else:
            _carry(program, operation, argument, start)
    names = program.names
    kind = computed(counter.type.element) if operation.text != "unsigned" else unsigned(counter.type.element)
    wide = program.fresh("k")
    with program.scope(
        f"for (int64_t {wide} = ({kind}){names[low]}; {wide} < ({kind}){names[high]}; {wide} += ({kind}){names[step]})"
    ):
        names[counter] = program.declare(computed(counter.type.element), f"({kind}){wide}", "v")
        write_block(block)
        changes = [
            (program.shifted[carried[k]][1], program.declare("int64_t", _step(program, moved)))
            for k, moved in shifts.items()
        ]
        rest = [k for k in range(len(carried)) if k not in shifts]
        _give(program, [(carried[k], yielded[k]) for k in rest])
        for offset, change in changes:
            program.emit(f"{offset} += {change};")
    for result, argument in zip(operation.results, carried, strict=True):
        _share(program, result, argument)


def _shift(program: Program, block: Block, argument: Value, yielded: Value) -> Value | None:
    """The uniform step by which an iteration moves a carried tensor of pointers or indices."""
    producer = yielded.producer
    if not argument.type.is_tensor or producer is None or producer.block is not block:
        return None
    if not argument.type.is_pointer and argument.type.element not in ("i32", "i64"):
        return None
    if producer.name == "tt.addptr" and producer.operands[0] is argument:
        step = producer.operands[1]
    elif producer.name == "arith.addi" and argument in producer.operands and producer.operands.count(argument) == 1:
        step = producer.operands[1 - producer.operands.index(argument)]
    else:
        return None
    return step if _is_splat(step) else None


def _is_splat(value: Value) -> bool:
    producer = value.producer
    if producer is None:
        return False
    if producer.name in ("arith.extsi", "tt.broadcast", "tt.expand_dims"):
        return _is_splat(producer.operands[0])
    return producer.name == "tt.splat" or (producer.name == "arith.constant" and not producer.text.startswith("["))


def _step(program: Program, value: Value) -> str:
    producer = value.producer
    assert producer is not None
    if producer.name == "arith.constant":
        return f"{producer.text}LL"
    if producer.name == "tt.splat":
        return program.names[producer.operands[0]]
    return _step(program, producer.operands[0])


def _carry(program: Program, operation: Operation, argument: Value, start: Value) -> None:
    if not argument.type.is_tensor:
        name = program.fresh("c")
        program.emit(f"{_variable(argument)}{name} = {program.names[start]};")
        program.names[argument] = name
        return
    tile = take_over(program, start, operation, argument.type) or program.allocate(argument.type)
    fill(program, start, tile)
    program.tiles[argument] = tile


def _variable(value: Value) -> str:
    kind = computed(value.type.element)
    return kind if kind.endswith("*") else f"{kind} "


def _give(program: Program, pairs: list[tuple[Value, Value]]) -> None:
    """New values for carried ones, all read before any is written."""
    fresh = [
        (program.names[to], program.declare(computed(to.type.element), program.names[value], "y"))
        for to, value in pairs
        if not to.type.is_tensor and program.names[to] != program.names[value]
    ]
    assign(program, [(value, program.tiles[to]) for to, value in pairs if to.type.is_tensor])
    for name, value in fresh:
        program.emit(f"{name} = {value};")


def _share(program: Program, result: Value, source: Value) -> None:
    if source in program.shifted:
        program.shifted[result] = program.shifted[source]
    elif source in program.tiles:
        program.tiles[result] = program.tiles[source]
    else:
        program.names[result] = program.names[source]


def if_else(program: Program, operation: Operation, write_block: WriteBlock) -> None:
    for result in operation.results:
        _declare(program, result)
    for k, block in enumerate(operation.blocks):
        with program.scope(f"if ({program.names[operation.operands[0]]})" if k == 0 else "else"):
            write_block(block)
            if block.operations and block.terminator.name == "scf.yield":
                _give(program, list(zip(operation.results, block.terminator.operands, strict=True)))


def _declare(program: Program, value: Value) -> None:
    if value.type.is_tensor:
        declare_tensor(program, value)
    else:
        name = program.fresh("c")
        program.emit(f"{_variable(value)}{name};")
        program.names[value] = name


def while_loop(program: Program, operation: Operation, write_block: WriteBlock) -> None:
    test, body = operation.blocks
    for argument, start in zip(test.arguments, operation.operands, strict=True):
        _carry(program, operation, argument, start)
    for result, argument in zip(operation.results, body.arguments, strict=True):
        _declare(program, result)
        _share(program, argument, result)
    with program.scope("for (;;)"):
        write_block(test)
        going, *passed = test.terminator.operands
        go_on = program.declare("_Bool", program.names[going])
        _give(program, list(zip(operation.results, passed, strict=True)))
        program.emit(f"if (!{go_on}) break;")
        write_block(body)
        _give(program, list(zip(test.arguments, body.terminator.operands, strict=True)))


def branch(program: Program, operation: Operation) -> None:
    """cf.br and cf.cond_br: jumps between the blocks of the function, as an early return makes them."""
    operands = list(operation.operands)
    conditional = operation.name == "cf.cond_br"
    condition = program.names[operands.pop(0)] if conditional else ""
    for k, (label, count) in enumerate(operation.targets):
        passed, operands = operands[:count], operands[count:]
        with program.scope(f"if ({condition})" if conditional and k == 0 else ""):
            arguments = operation.block.labels[label]
            for argument in arguments:
                if argument.type.is_tensor:
                    raise Refusal("a tensor that passes an early return is not supported")
                if argument not in program.names:
                    program.names[argument] = program.fresh("c")
                    program.hoisted.append(f"{_variable(argument)}{program.names[argument]};")
            _give(program, list(zip(arguments, passed, strict=True)))
            program.emit(f"goto {label};")


__all__ = ["branch", "for_loop", "if_else", "while_loop"]
