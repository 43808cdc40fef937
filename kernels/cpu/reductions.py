"""Reductions, scans and the other operations that mix lanes.

A reduction along the last axis runs in `_LANES` interleaved accumulators that are then combined pairwise: the order
does not depend on the machine, and every step is a plain loop. Along another axis whole rows are accumulated.
Lanes that a `tl.where` replaces by what changes nothing are passed over. A tile that is reduced before it is used
otherwise is written on the way.
"""

from collections.abc import Sequence

from .elements import computed, integer_bits
from .expressions import pointwise
from .forms import Forms
from .indices import linear
from .nests import Nest
from .program import Program, Tile
from .tiles import declare_tensor, fill, fill_uniform, materialise, uniform
from .ttir import Block, Operation, Value
from .versions import SELDOM, write_versions

_LANES = 64
_FOLDED = 16


def reduce(program: Program, operation: Operation) -> None:
    axis, shape = operation.integer("axis"), operation.operands[0].type.dims
    for result in operation.results:
        if result.type.is_tensor:
            declare_tensor(program, result)
        else:
            program.names[result] = program.fresh("v")
            program.emit(f"{computed(result.type.element)} {program.names[result]};")
    if shape[axis] == 1:
        for value in _late(program, operation):
            materialise(program, value)
        _reduce_nothing(program, operation, shape)
    elif axis == len(shape) - 1:
        _reduce_rows(program, operation, shape)
    else:
        _reduce_columns(program, operation, axis, shape)


def _combined(nest: Nest, block: Block, left: Sequence[str], right: Sequence[str]) -> list[str]:
    """The results of a combining region for two sets of lanes, as names of the innermost loop."""
    names = nest.program.names
    names.update(zip(block.arguments, [*left, *right], strict=True))
    for operation in block.operations[:-1]:
        result = operation.result
        expression = pointwise(operation, [names[operand] for operand in operation.operands])
        constant = operation.name == "arith.constant"
        names[result] = expression if constant else nest.temporary(computed(result.type.element), expression)
    return [names[operand] for operand in block.terminator.operands]


def _reduce_nothing(program: Program, operation: Operation, shape: tuple[int, ...]) -> None:
    """A reduction over an axis of size 1."""
    nest = Nest(program, shape, range(len(shape)))
    lanes = [nest.expression(value, nest.index) for value in operation.operands]
    for result, lane in zip(operation.results, lanes, strict=True):
        tile = program.tiles.get(result)
        nest.put(
            f"{tile.name}[{linear(nest.index, shape)}] = {lane};" if tile else f"{program.names[result]} = {lane};"
        )
    nest.write()


def _reduce_rows(program: Program, operation: Operation, shape: tuple[int, ...]) -> None:
    axis, size = len(shape) - 1, shape[-1]
    lanes = min(size, _LANES)
    identity, written = _identity(operation), _written_on_the_way(program, operation)
    with program.scope():
        sums = [program.fresh("sum") for _ in operation.operands]
        for name, value in zip(sums, operation.operands, strict=True):
            program.emit(f"{computed(value.type.element)} {name}[{lanes}];")

        def build(forms: Forms | None) -> Nest:
            nest = Nest(program, shape, range(len(shape)), forms)
            _pass_over(nest, operation, axis)
            put_lanes(nest)
            return nest

        def put_lanes(nest: Nest) -> None:
            values = _values(nest, operation, written)
            before = [
                nest.temporary(computed(value.type.element), f"{name}[lane]", nest.innermost)
                for name, value in zip(sums, operation.operands, strict=True)
            ]
            combined = _combined(nest, operation.blocks[0], before, values)
            for name, value, new in zip(sums, values, combined, strict=True):
                first = "" if identity is not None else f"piece == 0 ? {value} : "
                nest.put(f"{name}[lane] = {first}{new};")

        def write(nest: Nest, note: str = "", inner: Nest | None = None) -> None:
            if inner:
                inner.write_bounds()
            _fill_what_is_passed_over(nest, operation, written)
            nest.write(note=note, chunk=lanes, around=(start, finish), inner=inner)

        def start(nest: Nest) -> None:
            if identity is not None:
                first = _start(nest, operation, identity)
                program.emit(f"for (int lane = 0; lane < {lanes}; lane++) {sums[0]}[lane] = {first};")

        def finish(nest: Nest) -> None:
            folded = _fold(operation)
            left = lanes
            while left > (_FOLDED if folded else 1):
                left //= 2
                program.emit("#pragma GCC ivdep")
                with program.scope(f"for (int lane = 0; lane < {left}; lane++)"):
                    _combine_halves(program, operation, sums, left)
            if left > 1:
                program.emit(f"{sums[0]}[0] = {folded}({sums[0]}, {left});")
            at = linear(nest.index[:axis], shape[:axis])
            for result, name in zip(operation.results, sums, strict=True):
                if result.type.is_tensor:
                    program.emit(f"{program.tiles[result].name}[{at}] = {name}[0];")
                else:
                    program.emit(f"{program.names[result]} = {name}[0];")

        nest = build(program.forms)
        inner = nest.inner()
        put_lanes(inner)
        write_versions(nest, lambda: write(nest, inner=inner), lambda: write(build(None), SELDOM))
    program.tiles.update(written)


def _fold(operation: Operation) -> str:
    """The function of fold.h that combines the last few lanes; "" where there is none."""
    block = operation.blocks[0]
    if len(block.operations) != 2 or block.operations[0].operands != block.arguments:
        return ""
    name, element = block.operations[0].name, block.arguments[0].type.element
    symbol = {"arith.addf": "add", "arith.mulf": "mul", "arith.maxnumf": "maxnum", "arith.minnumf": "minnum"}.get(name)
    return f"tn_fold_{symbol}_{element}" if symbol and element in ("f32", "f64") else ""


def _combine_halves(program: Program, operation: Operation, sums: list[str], half: int) -> None:
    nest = Nest(program, (), ())
    kinds = [computed(value.type.element) for value in operation.operands]
    left = [nest.temporary(kind, f"{name}[lane]") for kind, name in zip(kinds, sums, strict=True)]
    right = [nest.temporary(kind, f"{name}[lane + {half}]") for kind, name in zip(kinds, sums, strict=True)]
    for name, new in zip(sums, _combined(nest, operation.blocks[0], left, right), strict=True):
        nest.put(f"{name}[lane] = {new};")
    nest.write()


def _reduce_columns(program: Program, operation: Operation, axis: int, shape: tuple[int, ...]) -> None:
    rest = shape[:axis] + shape[axis + 1 :]
    identity, written = _identity(operation), _written_on_the_way(program, operation)
    tiles = [program.tiles[result] for result in operation.results]

    def build(forms: Forms | None) -> Nest:
        nest = Nest(program, shape, range(len(shape)), forms)
        _pass_over(nest, operation)
        at = linear(nest.index[:axis] + nest.index[axis + 1 :], rest)
        values = _values(nest, operation, written)
        before = [nest.temporary(computed(tile.type.element), f"{tile.name}[{at}]", nest.innermost) for tile in tiles]
        combined = _combined(nest, operation.blocks[0], before, values)
        for tile, value, new in zip(tiles, values, combined, strict=True):
            first = "" if identity is not None else f"{nest.index[axis]} == 0 ? {value} : "
            nest.put(f"{tile.name}[{at}] = {first}{new};")
        return nest

    def write(nest: Nest, note: str = "") -> None:
        _fill_what_is_passed_over(nest, operation, written)
        if identity is not None:
            first = program.declare(computed(tiles[0].type.element), _start(nest, operation, identity))
            at = []
            for low, high in (nest.range(dim) for dim in range(len(shape)) if dim != axis):
                at.append(program.fresh("i"))
                program.emit(f"for (int {at[-1]} = {low}; {at[-1]} < {high}; {at[-1]}++)")
            program.emit(f"{tiles[0].name}[{linear(at, rest)}] = {first};")
        nest.write(parallel=any(size > 1 for size in shape[axis + 1 :]), note=note)

    nest = build(program.forms)
    write_versions(nest, lambda: write(nest), lambda: write(build(None), SELDOM))
    program.tiles.update(written)


def _written_on_the_way(program: Program, operation: Operation) -> dict[Value, Tile]:
    """Fresh tiles for the operands that are to become tiles by being reduced."""
    return {value: program.allocate(value.type) for value in _late(program, operation)}


def _late(program: Program, operation: Operation) -> list[Value]:
    late = [value for value in operation.operands if value.producer in program.plan.late]
    return [value for value in dict.fromkeys(late) if value not in program.tiles]


def _values(nest: Nest, operation: Operation, written: dict[Value, Tile]) -> list[str]:
    """The lanes of the operands; those of tiles that are written on the way are kept."""
    for value, tile in written.items():
        nest.put(f"{tile.name}[{linear(nest.index, nest.shape)}] = {nest.expression(value, nest.index)};")
    return [nest.expression(value, nest.index) for value in operation.operands]


def _passed_over(operation: Operation, program: Program) -> tuple[Value, str] | None:
    """The mask of a `tl.where` that is reduced, and the constant where it does not hold, if that changes nothing."""
    choice = operation.operands[0].producer
    if len(operation.operands) != 1 or choice is None or choice.name != "arith.select" or _identity(operation) is None:
        return None
    mask, _, other = choice.operands
    suffix = "" if choice.result.type.element == "f64" else "f"
    neutral = {
        "arith.addf": (f"0.0{suffix}", f"(-0.0{suffix})"),
        "arith.addi": ("0",),
        "arith.maximumf": (f"(-__builtin_inf{suffix}())",),
        "arith.maxnumf": (f"(-__builtin_inf{suffix}())",),
        "arith.minimumf": (f"__builtin_inf{suffix}()",),
        "arith.minnumf": (f"__builtin_inf{suffix}()",),
    }.get(operation.blocks[0].operations[0].name, ())
    constant = uniform(program, other)
    return (mask, constant) if mask.type.is_tensor and constant in neutral else None


def _pass_over(nest: Nest, operation: Operation, chunked: int | None = None) -> None:
    """Bounds the loops by the mask; that over the `chunked` dimension runs in whole pieces, so it tests on."""
    if found := _passed_over(operation, nest.program):
        nest.confine(found[0], chunked)


def _start(nest: Nest, operation: Operation, identity: str) -> str:
    """What accumulators start from: the constant of the lanes of theirs that are passed over, if there are any."""
    found, excluded = _passed_over(operation, nest.program), nest.excluded(operation.integer("axis"))
    return f"{excluded} ? {found[1]} : {identity}" if found and excluded else identity


def _fill_what_is_passed_over(nest: Nest, operation: Operation, written: dict[Value, Tile]) -> None:
    """Gives lanes that the loops do not reach the constant that stands there."""
    program = nest.program
    found, excluded = _passed_over(operation, program), nest.excluded()
    if not found or not excluded:
        return
    with program.scope(f"if ({excluded})"):
        (result,) = operation.results
        if result not in program.tiles:
            program.emit(f"{program.names[result]} = {found[1]};")
        for tile in (*written.values(), *(program.tiles[one] for one in (result,) if one in program.tiles)):
            fill_uniform(program, tile, found[1])


def _identity(operation: Operation) -> str | None:
    """What changes nothing when it is combined: -0 for sums, and NaN for maxnum, which prefers any number to it."""
    block = operation.blocks[0]
    if len(block.operations) != 2 or block.operations[0].operands != block.arguments:
        return None
    name, element = block.operations[0].name, block.arguments[0].type.element
    suffix = "" if element == "f64" else "f"
    if name in ("arith.addf", "arith.mulf"):
        return f"-0.0{suffix}" if name == "arith.addf" else f"1.0{suffix}"
    if name in ("arith.maxnumf", "arith.minnumf"):
        return f'__builtin_nan{suffix}("")'
    if name in ("arith.maximumf", "arith.minimumf"):
        return f"{'-' if name == 'arith.maximumf' else ''}__builtin_inf{suffix}()"
    if name in ("arith.addi", "arith.ori", "arith.xori", "arith.maxui"):
        return "0"
    if name == "arith.andi":
        return "1" if element == "i1" else "-1"
    if element == "i1" or element not in ("i8", "i16", "i32", "i64"):
        return None
    bits = integer_bits(element)
    return {"arith.maxsi": f"INT{bits}_MIN", "arith.minsi": f"INT{bits}_MAX", "arith.minui": "-1"}.get(name)


def scan(program: Program, operation: Operation) -> None:
    axis, shape = operation.integer("axis"), operation.operands[0].type.dims
    tiles = []
    for value, result in zip(operation.operands, operation.results, strict=True):
        tile = program.allocate(result.type)
        fill(program, value, tile)
        program.tiles[result] = tile
        tiles.append(tile)
    if shape[axis] == 1:
        return
    stride = 1
    for size in shape[axis + 1 :]:
        stride *= size
    nest = Nest(program, shape, range(len(shape)))
    nest.bounds[axis] = [("low", 1)]
    at, before = linear(nest.index, shape), f"-{stride}"
    if operation.flag("reverse"):
        at, before = f"{at} + {(shape[axis] - 1) * stride} - 2 * {nest.index[axis]} * {stride}", f"+{stride}"
    at = nest.temporary("int", f"({at})")
    kinds = [computed(tile.type.element) for tile in tiles]
    left = [
        nest.temporary(kind, f"{tile.name}[{at} {before}]", nest.innermost)
        for kind, tile in zip(kinds, tiles, strict=True)
    ]
    right = [
        nest.temporary(kind, f"{tile.name}[{at}]", nest.innermost) for kind, tile in zip(kinds, tiles, strict=True)
    ]
    for tile, new in zip(tiles, _combined(nest, operation.blocks[0], left, right), strict=True):
        nest.put(f"{tile.name}[{at}] = {new};")
    with program.scope():
        nest.write_bounds()
        nest.write(parallel=any(size > 1 for size in shape[axis + 1 :]))


def gather(program: Program, operation: Operation) -> None:
    source, indices = operation.operands
    axis, result = operation.integer("axis"), operation.result
    tile = materialise(program, source)
    to = declare_tensor(program, result)
    nest = Nest(program, result.type.dims, range(len(result.type.dims)))
    at = nest.temporary("int", nest.expression(indices, nest.index))
    place = (*nest.index[:axis], at, *nest.index[axis + 1 :])
    nest.put(f"{to.name}[{linear(nest.index, result.type.dims)}] = {tile.name}[{linear(place, source.type.dims)}];")
    nest.write()


def histogram(program: Program, operation: Operation) -> None:
    source, *mask = operation.operands
    to = declare_tensor(program, operation.result)
    bins = operation.result.type.size
    program.emit(f"memset({to.name}, 0, sizeof *{to.name} * {bins});")
    nest = Nest(program, source.type.dims, (0,))
    value = nest.expression(source, nest.index)
    lane = nest.expression(mask[0], nest.index) if mask else "1"
    nest.put(f"if ({lane} && (uint64_t){value} < {bins}) {to.name}[{value}]++;")
    nest.write(parallel=False)


def concatenate(program: Program, operation: Operation) -> None:
    to = declare_tensor(program, operation.result)
    start = 0
    for part in operation.operands:
        _copy(program, part, f"{to.name} + {start}")
        start += part.type.size


def _copy(program: Program, value: Value, to: str) -> None:
    tile = materialise(program, value)
    program.emit(f"memcpy({to}, {tile.name}, sizeof *{tile.name} * {value.type.size});")
