"""Calls of `noinline` functions: the callee is written in place, with values of its own for each call."""

import re

from .analysis import plan
from .control import WriteBlock
from .elements import Refusal
from .program import Program
from .ttir import Operation, parse


def call(program: Program, operation: Operation, write_block: WriteBlock) -> None:
    match = re.search(r"@([\w$.\-]+)", operation.text)
    functions = parse(program.ttir)
    if match is None or match.group(1) not in functions:
        raise Refusal(f"the function {operation.text} is not in the module")
    callee = functions[match.group(1)]
    if callee.body.labels or any(value.type.is_tensor for value in (*operation.operands, *operation.results)):
        raise Refusal("a function with early returns, or that takes or gives tensors, is not supported")
    program.plan.join(plan(callee))
    for argument, value in zip(callee.arguments, operation.operands, strict=True):
        program.names[argument] = program.names[value]
    terminator = callee.body.operations.pop()
    write_block(callee.body)
    for result, value in zip(operation.results, terminator.operands, strict=True):
        program.names[result] = program.names[value]
