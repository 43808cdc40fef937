"""The element types of TTIR in C: what they are computed in, what they are stored as, how constants are written."""

import math
import struct

_COMPUTED = {
    "i1": "_Bool",
    "i8": "int8_t",
    "i16": "int16_t",
    "i32": "int32_t",
    "i64": "int64_t",
    "index": "int64_t",
    "f16": "float",
    "bf16": "float",
    "f32": "float",
    "f64": "double",
}
_SIZES = {"i1": 1, "i8": 1, "i16": 2, "i32": 4, "i64": 8, "index": 8, "f16": 2, "bf16": 2, "f32": 4, "f64": 8}
HALVES = ("f16", "bf16")


class Refusal(Exception):
    """A construct that the backend does not compile; the lowering adds kernel, line and operation."""


def _known(element: str) -> str:
    if element.startswith("ptr<"):
        return "ptr"
    if element not in _COMPUTED:
        raise Refusal(f"the element type {element} is not supported")
    return element


def computed(element: str) -> str:
    """The C type in which values of this element are computed and kept in tiles."""
    return "char *" if _known(element) == "ptr" else _COMPUTED[element]


def stored(element: str) -> str:
    """The C type of this element in the user's memory."""
    return element if element in HALVES else computed(element)


def unsigned(element: str) -> str:
    """The unsigned C type in which integers of this element wrap."""
    bits = 64 if _known(element) == "ptr" else integer_bits(element)
    return f"uint{bits}_t" if bits > 1 else "_Bool"


def integer_bits(element: str) -> int:
    return 64 if element == "index" else int(element[1:])


def stored_size(element: str) -> int:
    return 8 if _known(element) == "ptr" else _SIZES[element]


def computed_size(element: str) -> int:
    return 4 if element in HALVES else stored_size(element)


def from_memory(text: str, element: str) -> str:
    if element in HALVES:
        return f"tn_{element}_to_f32({text})"
    return f"({text} & 1)" if element == "i1" else text


def to_memory(text: str, element: str) -> str:
    return f"tn_f32_to_{element}({text})" if element in HALVES else text


def rounded(text: str, element: str) -> str:
    """The value of a 16-bit float operation computed in float."""
    return f"tn_round_{element}({text})" if element in HALVES else text


def literal(text: str, element: str) -> str:
    """A constant as TTIR prints it (decimal, or the bits of a float in hexadecimal), in C."""
    if element in ("f16", "bf16", "f32", "f64"):
        return _float_literal(text, element)
    value = {"true": 1, "false": 0}.get(text)
    return integer_literal(int(text) if value is None else value, element)


def stored_literal(text: str, element: str) -> str:
    """The same in the form in which it is stored, as a constant expression."""
    if element not in HALVES:
        return literal(text, element)
    if text.lower().startswith("0x"):
        return str(int(text, 16))
    packed = struct.pack("<e", float(text)) if element == "f16" else struct.pack("<f", float(text))[2:]
    return str(int.from_bytes(packed, "little"))


def integer_literal(value: int, element: str) -> str:
    if value == -(2**63):
        return "INT64_MIN"
    if value == -(2**31):
        return "INT32_MIN"
    suffix = "LL" if element in ("i64", "index") else ""
    return f"({value}{suffix})" if value < 0 else f"{value}{suffix}"


def _float_literal(text: str, element: str) -> str:
    if text.lower().startswith("0x"):
        bits = int(text, 16)
        form = {"f64": ("<Q", "<d"), "f16": ("<H", "<e")}.get(element, ("<I", "<f"))
        value = struct.unpack(form[1], struct.pack(form[0], bits << 16 if element == "bf16" else bits))[0]
    else:
        value = float(text)
        if element != "f64" and math.isfinite(value):
            value = struct.unpack("<f", struct.pack("<f", value))[0]
    suffix = "" if element == "f64" else "f"
    if math.isnan(value):
        return f'__builtin_nan{suffix}("")'
    if math.isinf(value):
        return f"(-__builtin_inf{suffix}())" if value < 0 else f"__builtin_inf{suffix}()"
    written = f"{float.hex(value)}{suffix}" if value != int(value) or abs(value) > 1e15 else f"{value!r}{suffix}"
    return f"({written})" if written.startswith("-") else written
