"""Pointwise operations of TTIR as C expressions of their operands.

Integers wrap (the arithmetic is unsigned), shifts and divisions cannot trap, 16-bit floats are computed in float and
rounded after each operation.
"""

import re
from collections.abc import Callable

from .elements import (
    HALVES,
    Refusal,
    computed,
    from_memory,
    integer_bits,
    literal,
    rounded,
    stored_size,
    to_memory,
    unsigned,
)
from .ttir import Operation

_FLOAT_BINARY = {"arith.addf": "+", "arith.subf": "-", "arith.mulf": "*", "arith.divf": "/", "tt.precise_divf": "/"}
_INTEGER_BINARY = {"arith.addi": "+", "arith.subi": "-", "arith.muli": "*"}
_BITWISE = {"arith.andi": "&", "arith.ori": "|", "arith.xori": "^"}
_EXTREMES = {
    "arith.maxnumf": "maxnum",
    "arith.minnumf": "minnum",
    "arith.maximumf": "maximum",
    "arith.minimumf": "minimum",
}
_INTEGER_EXTREMES = {"arith.maxsi": ">", "arith.minsi": "<", "arith.maxui": ">", "arith.minui": "<"}
_DIVISIONS = {"arith.divsi": "sdiv", "arith.remsi": "srem", "arith.divui": "udiv", "arith.remui": "urem"}
_MATH = {
    "math.absf": "fabs",
    "math.ceil": "ceil",
    "math.cos": "cos",
    "math.erf": "erf",
    "math.exp": "exp",
    "math.exp2": "exp2",
    "math.floor": "floor",
    "math.log": "log",
    "math.log2": "log2",
    "math.rsqrt": "rsqrt",
    "math.sin": "sin",
    "math.sqrt": "sqrt",
    "math.tanh": "tanh",
    "tt.precise_sqrt": "sqrt",
}
# fmt: off
_LIBRARY = {
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "ceil", "copysign", "cos", "cosh", "erf",
    "erfc", "exp", "exp10", "exp2", "expm1", "fabs", "fdim", "floor", "fma", "fmod", "hypot", "ldexp", "lgamma",
    "log", "log10", "log1p", "log2", "nearbyint", "nextafter", "pow", "powi", "remainder", "rint", "round", "rsqrt",
    "sin", "sinh", "sqrt", "tan", "tanh", "tgamma", "trunc",
}
# fmt: on
_PREDICATES = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_CASTS = {
    "arith.extsi",
    "arith.extui",
    "arith.trunci",
    "arith.index_cast",
    "arith.sitofp",
    "arith.uitofp",
    "arith.fptosi",
    "arith.fptoui",
    "arith.extf",
    "arith.truncf",
    "arith.bitcast",
    "tt.bitcast",
    "tt.fp_to_fp",
    "tt.int_to_ptr",
    "tt.ptr_to_int",
}
_OTHERS = {
    "arith.cmpf",
    "arith.cmpi",
    "arith.negf",
    "arith.remf",
    "arith.select",
    "arith.shli",
    "arith.shrsi",
    "arith.shrui",
    "math.absi",
    "math.fma",
    "tt.addptr",
    "tt.clampf",
    "tt.extern_elementwise",
    "tt.mulhiui",
}
POINTWISE = frozenset(
    {
        *_FLOAT_BINARY,
        *_INTEGER_BINARY,
        *_BITWISE,
        *_EXTREMES,
        *_INTEGER_EXTREMES,
        *_DIVISIONS,
        *_MATH,
        *_CASTS,
        *_OTHERS,
    }
)
# What an operation costs a lane, in additions; decides what is worth keeping in a tile rather than computing again.
COSTS = {
    "arith.divf": 6,
    "tt.precise_divf": 6,
    "math.sqrt": 6,
    "tt.precise_sqrt": 6,
    "math.rsqrt": 8,
    "tt.mulhiui": 4,
    "tt.extern_elementwise": 30,
    **dict.fromkeys(_DIVISIONS, 10),
    **dict.fromkeys(("math.exp", "math.exp2", "math.log", "math.log2", "math.sin", "math.cos", "math.erf"), 20),
    "math.tanh": 20,
}


def pointwise(operation: Operation, operands: list[str]) -> str:
    """The C expression of a pointwise operation; operands are names or literals."""
    name, element = operation.name, operation.result.type.element
    if name == "arith.constant":
        return literal(operation.text, element)
    if name in _FLOAT_BINARY:
        return rounded(f"{operands[0]} {_FLOAT_BINARY[name]} {operands[1]}", element)
    if name in _INTEGER_BINARY:
        return _wrapped(_INTEGER_BINARY[name], operands, element)
    if name in _BITWISE:
        return f"{operands[0]} {_BITWISE[name]} {operands[1]}"
    if name in _EXTREMES:
        return f"tn_{_EXTREMES[name]}_{_math_type(element)}({operands[0]}, {operands[1]})"
    if name in _INTEGER_EXTREMES:
        kind = unsigned(element) if name.endswith("ui") else computed(element)
        return f"({kind}){operands[0]} {_INTEGER_EXTREMES[name]} ({kind}){operands[1]} ? {operands[0]} : {operands[1]}"
    if name in _DIVISIONS:
        bits = integer_bits(element)
        return f"({computed(element)})tn_{_DIVISIONS[name]}_i{bits}({operands[0]}, {operands[1]})"
    if name in _MATH:
        return rounded(f"tn_{_MATH[name]}_{_math_type(element)}({operands[0]})", element)
    if name in _CASTS:
        return _cast(operation, operands[0])
    writer: Callable[[Operation, list[str]], str] | None = _WRITERS.get(name)
    if writer is None:
        raise Refusal("the operation is not supported")
    return writer(operation, operands)


def _math_type(element: str) -> str:
    return "f64" if element == "f64" else "f32"


def _wrapped(symbol: str, operands: list[str], element: str) -> str:
    if element == "i1":
        return f"{operands[0]} {'&' if symbol == '*' else '^'} {operands[1]}"
    wide = f"uint{max(32, integer_bits(element))}_t"
    return f"({computed(element)})(({wide}){operands[0]} {symbol} ({wide}){operands[1]})"


def _shift(operation: Operation, operands: list[str]) -> str:
    element = operation.result.type.element
    value, amount = operands
    bits = integer_bits(element)
    kind = computed(element) if operation.name == "arith.shrsi" else f"uint{max(32, bits)}_t"
    if operation.name == "arith.shrui":
        kind = unsigned(element)
    symbol = "<<" if operation.name == "arith.shli" else ">>"
    if re.fullmatch(r"\d+(LL)?", amount) and int(amount.rstrip("L")) < bits:
        return f"({computed(element)})(({kind}){value} {symbol} {amount})"
    # A count of all bits or more gives no defined result on any target; here it gives 0.
    return (
        f"({unsigned(element)}){amount} < {bits} ? "
        f"({computed(element)})(({kind}){value} {symbol} ({amount} & {bits - 1})) : ({computed(element)})0"
    )


def _compare_integers(operation: Operation, operands: list[str]) -> str:
    predicate, element = operation.word, operation.operands[0].type.element
    left, right = operands
    if predicate[0] == "u" or element.startswith("ptr<"):
        kind = unsigned(element)
        left, right = f"({kind}){left}", f"({kind}){right}"
    elif element == "i1" and predicate not in ("eq", "ne"):
        left, right = f"-(int){left}", f"-(int){right}"
    return f"{left} {_PREDICATES[predicate if predicate in _PREDICATES else predicate[1:]]} {right}"


def _compare_floats(operation: Operation, operands: list[str]) -> str:
    predicate = operation.word
    left, right = operands
    ordered = {
        "ord": f"({left} == {left}) & ({right} == {right})",
        "uno": f"({left} != {left}) | ({right} != {right})",
        "one": f"({left} < {right}) | ({left} > {right})",
        "ueq": f"!(({left} < {right}) | ({left} > {right}))",
        "une": f"{left} != {right}",
        "true": "1",
        "false": "0",
    }
    if predicate in ordered:
        return ordered[predicate]
    if predicate[0] == "o":
        return f"{left} {_PREDICATES[predicate[1:]]} {right}"
    opposite = {"lt": ">=", "le": ">", "gt": "<=", "ge": "<"}[predicate[1:]]
    return f"!({left} {opposite} {right})"


def _clamp(operation: Operation, operands: list[str]) -> str:
    value, low, high = operands
    kind = _math_type(operation.result.type.element)
    clamped = f"tn_minnum_{kind}(tn_maxnum_{kind}({value}, {low}), {high})"
    return f"{value} != {value} ? {value} : {clamped}" if "propagateNan = all" in operation.text else clamped


def _multiply_high(operation: Operation, operands: list[str]) -> str:
    if operation.result.type.element == "i64":
        return f"(int64_t)(((unsigned __int128)(uint64_t){operands[0]} * (uint64_t){operands[1]}) >> 64)"
    return f"(int32_t)(((uint64_t)(uint32_t){operands[0]} * (uint32_t){operands[1]}) >> 32)"


def _library(operation: Operation, operands: list[str]) -> str:
    element = operation.result.type.element
    symbol = next((text for text in operation.strings if text.startswith("__nv_")), "")[5:]
    kind = operation.operands[0].type.element
    name = symbol[:-1] if kind == "f32" and symbol.endswith("f") else symbol
    tests = {
        "isnan": "({0} != {0})",
        "isinf": "(__builtin_isinf({0}) != 0)",
        "isfinited": "(__builtin_isfinite({0}) != 0)",
    }
    tests |= {"finite": tests["isfinited"], "signbit": "(__builtin_signbit({0}) != 0)"}
    if name.rstrip("d") in tests or name in tests:
        return f"({computed(element)}){(tests.get(name) or tests[name.rstrip('d')]).format(operands[0])}"
    if name == "pow" and operation.operands[1].type.element == "i32":
        name = "powi"
    if name not in _LIBRARY or kind not in ("f32", "f64"):
        raise Refusal(f"the library function {symbol or operation.text} is not supported")
    return f"tn_{name}_{kind}({', '.join(operands)})"


def _cast(operation: Operation, value: str) -> str:
    name, source, target = operation.name, operation.operands[0].type.element, operation.result.type.element
    if name in ("tt.bitcast", "arith.bitcast"):
        return _bitcast(value, source, target)
    if name == "tt.int_to_ptr":
        return f"(char *)(intptr_t){value}"
    if name == "tt.ptr_to_int":
        return f"(int64_t)(intptr_t){value}"
    kind = computed(target)
    if name == "tt.fp_to_fp" and "rounding" in operation.text and "rtne" not in operation.text:
        raise Refusal("only rounding to nearest even is supported")
    if source == "f64" and target in HALVES:
        return from_memory(f"tn_f64_to_{target}({value})", target)
    if source == "i1" and name in ("arith.extsi", "arith.sitofp"):
        return f"({kind})-(int){value}"
    if source == "i1" and name == "arith.uitofp":
        # Not from _Bool itself: gcc does not vectorise that.
        return rounded(f"({kind})(int){value}", target)
    if name in ("arith.extui", "arith.uitofp"):
        return rounded(f"({kind})({unsigned(source)}){value}", target)
    if name == "arith.fptoui":
        return f"({kind})({unsigned(target)}){value}"
    if name == "arith.trunci" and target == "i1":
        return f"{value} & 1"
    if source in HALVES and target == "f32":
        return value
    return rounded(f"({kind}){value}", target)


def _bitcast(value: str, source: str, target: str) -> str:
    if source.startswith("ptr<") or source == target:
        return value
    if stored_size(source) != stored_size(target):
        raise Refusal(f"a bitcast from {source} to {target} is not supported")
    bits = {"f32": "tn_u32_of_f32({})", "f64": "tn_u64_of_f64({})"}.get(source)
    raw = bits.format(value) if bits else to_memory(value, source)
    if target in HALVES:
        return from_memory(f"({unsigned('i16')}){raw}", target)
    back = {"f32": "tn_f32_of_u32((uint32_t){})", "f64": "tn_f64_of_u64((uint64_t){})"}.get(target, "({}){}")
    return back.format(raw) if target in ("f32", "f64") else f"({computed(target)}){raw}"


def _address(operation: Operation, operands: list[str]) -> str:
    return f"{operands[0]} + (int64_t){operands[1]} * {stored_size(operation.result.type.pointee)}"


def _negate(operation: Operation, operands: list[str]) -> str:
    return f"-{operands[0]}"


def _fma(operation: Operation, operands: list[str]) -> str:
    element = operation.result.type.element
    return rounded(f"tn_fma_{_math_type(element)}({', '.join(operands)})", element)


def _remainder(operation: Operation, operands: list[str]) -> str:
    element = operation.result.type.element
    return rounded(f"tn_fmod_{_math_type(element)}({operands[0]}, {operands[1]})", element)


def _absolute(operation: Operation, operands: list[str]) -> str:
    kind = unsigned(operation.result.type.element)
    return f"{operands[0]} < 0 ? ({computed(operation.result.type.element)})(0 - ({kind}){operands[0]}) : {operands[0]}"


def _select(operation: Operation, operands: list[str]) -> str:
    """A choice on bits: what only one arm of ?: needs the compiler moves into it, and then the loop has branches."""
    kind = operation.result.type
    condition, yes, no = operands
    name = _CHOICES.get(kind.element)
    if not kind.is_tensor or name is None:
        return f"{condition} ? {yes} : {no}"
    return f"({computed(kind.element)})tn_choose_{name}({condition}, {yes}, {no})"


_CHOICES = {
    "i8": "u32",
    "i16": "u32",
    "i32": "u32",
    "i64": "u64",
    **dict.fromkeys((*HALVES, "f32"), "f32"),
    "f64": "f64",
}


_WRITERS: dict[str, Callable[[Operation, list[str]], str]] = {
    "arith.cmpf": _compare_floats,
    "arith.cmpi": _compare_integers,
    "arith.negf": _negate,
    "arith.remf": _remainder,
    "arith.select": _select,
    "arith.shli": _shift,
    "arith.shrsi": _shift,
    "arith.shrui": _shift,
    "math.absi": _absolute,
    "math.fma": _fma,
    "tt.addptr": _address,
    "tt.clampf": _clamp,
    "tt.extern_elementwise": _library,
    "tt.mulhiui": _multiply_high,
}
