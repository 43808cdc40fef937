"""Atomics, assertions and printing: lane after lane, in order."""

import json

from .elements import Refusal, computed, from_memory, stored, stored_size, to_memory, unsigned
from .indices import linear
from .nests import Nest
from .program import Program
from .tiles import declare_tensor
from .ttir import Operation, Value

_BUILT_IN = {
    "add": "__atomic_fetch_add",
    "and": "__atomic_fetch_and",
    "or": "__atomic_fetch_or",
    "xor": "__atomic_fetch_xor",
    "exch": "__atomic_exchange_n",
}


def _result(program: Program, operation: Operation, nest: Nest) -> str:
    """The C lvalue of a lane of the result."""
    value = operation.result
    if value.type.is_tensor:
        return f"{declare_tensor(program, value).name}[{linear(nest.index, value.type.dims)}]"
    kind = computed(value.type.element)
    name = program.fresh("c")
    program.emit(f"{kind}{'' if kind.endswith('*') else ' '}{name} = 0;")
    program.names[value] = name
    return name


def atomic_rmw(program: Program, operation: Operation) -> None:
    kind, (pointer, operand, *mask) = operation.word, operation.operands
    element, shape = pointer.type.pointee, pointer.type.dims
    nest = Nest(program, shape, range(len(shape)))
    result = f"{_result(program, operation, nest)} = " if operation.results and operation.result.uses else ""
    lane = nest.expression(mask[0], nest.index) if mask else "1"
    value, address = nest.expression(operand, nest.index), nest.expression(pointer, nest.index)
    if element[0] == "i" and kind in _BUILT_IN:
        action = f"{result}{_BUILT_IN[kind]}(({computed(element)} *)({address}), {value}, __ATOMIC_SEQ_CST);"
    else:
        action = _exchange_loop(kind, element, address, value, result)
    nest.put(f"if ({lane}) {{ {action} }}")
    nest.write(parallel=False)


def _exchange_loop(kind: str, element: str, address: str, value: str, result: str) -> str:
    """A compare-and-exchange loop, for what the hardware has no instruction for."""
    bits = f"uint{stored_size(element) * 8}_t"
    wide = unsigned(element) if element[0] == "i" else ""
    new = {
        "fadd": f"old + {value}",
        "exch": value,
        "max": f"old > {value} ? old : {value}",
        "min": f"old < {value} ? old : {value}",
        "umax": f"({wide})old > ({wide}){value} ? old : {value}",
        "umin": f"({wide})old < ({wide}){value} ? old : {value}",
    }.get(kind)
    if new is None:
        raise Refusal(f"atomic {kind} is not supported")
    memory, type_ = stored(element), computed(element)
    return (
        f"{bits} *at = ({bits} *)({address}); {bits} seen = __atomic_load_n(at, __ATOMIC_RELAXED), wanted; "
        f"{memory} raw; {type_} old; do {{ memcpy(&raw, &seen, sizeof raw); old = {from_memory('raw', element)}; "
        f"raw = {to_memory(new, element)}; memcpy(&wanted, &raw, sizeof wanted); }} "
        f"while (!__atomic_compare_exchange_n(at, &seen, wanted, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)); "
        f"{f'{result}old;' if result else ''}"
    )


def atomic_cas(program: Program, operation: Operation) -> None:
    pointer, expected, desired = operation.operands
    element, shape = pointer.type.pointee, pointer.type.dims
    bits, memory = f"uint{stored_size(element) * 8}_t", stored(element)
    nest = Nest(program, shape, range(len(shape)))
    result = _result(program, operation, nest)
    values = [to_memory(nest.expression(value, nest.index), element) for value in (expected, desired)]
    address = nest.expression(pointer, nest.index)
    nest.put(
        f"{{ {memory} raw = {values[0]}; {bits} seen, wanted; memcpy(&seen, &raw, sizeof seen); raw = {values[1]}; "
        f"memcpy(&wanted, &raw, sizeof wanted); "
        f"__atomic_compare_exchange_n(({bits} *)({address}), &seen, wanted, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); "
        f"memcpy(&raw, &seen, sizeof raw); {result} = {from_memory('raw', element)}; }}"
    )
    nest.write(parallel=False)


def check(program: Program, operation: Operation) -> None:
    """tt.assert: the program returns 1 + the index of the message."""
    value = operation.operands[0]
    program.asserts.append(_unescaped(operation.strings[0]) if operation.strings else "")
    nest = _lanes(program, value)
    nest.put(f"if (!{nest.expression(value, nest.index)}) return {len(program.asserts)};")
    nest.write(parallel=False)


def show(program: Program, operation: Operation) -> None:
    """tt.print, with the program's place in the grid as on a GPU."""
    prefix = json.dumps(_unescaped(operation.strings[0]).replace("%", "%%"))
    signs = operation.integers("isSigned")
    for k, value in enumerate(operation.operands):
        nest = _lanes(program, value)
        lane = nest.expression(value, nest.index)
        if value.type.is_float:
            form, text = "%f", f"(double){lane}"
        elif value.type.is_pointer:
            form, text = "%p", f"(void *){lane}"
        elif k < len(signs) and not signs[k]:
            form, text = "%llu", f"(unsigned long long)({unsigned(value.type.element)}){lane}"
        else:
            form, text = "%lld", f"(long long){lane}"
        if "hex = true" in operation.text and not value.type.is_float and not value.type.is_pointer:
            form = "0x%llx"
        nest.put(f'printf("pid (%d, %d, %d)" {prefix} "{form}\\n", x, y, z, {text});')
        nest.write(parallel=False)


def _lanes(program: Program, value: Value) -> Nest:
    return Nest(program, value.type.dims, range(len(value.type.dims)))


def _unescaped(text: str) -> str:
    r"""MLIR writes special characters as \ and two hexadecimal digits."""
    raw, at = bytearray(), 0
    data = text.encode()
    while at < len(data):
        if data[at : at + 1] == b"\\" and at + 2 < len(data) + 1:
            pair = data[at + 1 : at + 3]
            try:
                raw.append(int(pair, 16))
                at += 3
                continue
            except ValueError:
                at += 1
                if at >= len(data):
                    break
        raw.append(data[at])
        at += 1
    return raw.decode(errors="replace")
