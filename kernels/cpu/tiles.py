"""Tensors that become tiles: loads, kept expressions, initial values, and tiles that are taken over in place."""

from collections.abc import Sequence

from .analysis import RESHAPING
from .elements import literal
from .expressions import POINTWISE
from .forms import Forms
from .indices import linear
from .nests import Nest
from .program import Program, Tile
from .runs import runs_of
from .ttir import Operation, Type, Value
from .versions import SELDOM, order_for, write_versions

_ZEROS = ("0", "0LL", "0.0", "0.0f")


def materialise(program: Program, value: Value) -> Tile:
    """The tile of a tensor; it is computed here unless it has one."""
    if value not in program.tiles:
        tile = program.allocate(value.type)
        fill(program, value, tile)
        program.tiles[value] = _with_flag(program, value, tile)
    return program.tiles[value]


def _with_flag(program: Program, value: Value, tile: Tile) -> Tile:
    """A vector of indices knows whether it is a run of consecutive numbers, and has room to note its runs if not."""
    kind = value.type
    if kind.element not in ("i32", "i64") or len(kind.dims) != 1 or kind.size < 4:
        return tile
    flag = program.fresh("run")
    program.emit(f"int {flag} = 1;")
    program.emit(f"for (int k = 1; k < {kind.size}; k++) {flag} &= {tile.name}[k] == {tile.name}[0] + k;")
    runs = program.fresh("runs")
    first, place = program.allocate(Type(kind.dims, "i32")), program.allocate(Type(kind.dims, "i64"))
    program.emit(f"int {runs} = {flag} ? 1 : -1, *const {runs}_first = {first.name};")
    program.emit(f"int64_t *const {runs}_place = {place.name};")
    program.emit(f"{runs}_first[0] = 0, {runs}_place[0] = {tile.name}[0];")
    return Tile(tile.name, kind, flag, runs)


def fill(program: Program, value: Value, tile: Tile) -> None:
    """Computes a tensor into a tile of its shape, which the expression may read lane by lane."""
    producer = value.producer
    if program.tiles.get(value) is tile:
        return
    if value in program.tiles:
        program.emit(f"memcpy({tile.name}, {program.tiles[value].name}, sizeof *{tile.name} * {tile.type.size});")
    elif producer is not None and producer.name == "tt.load" and value not in program.shifted:
        fill_load(program, producer, tile)
    elif producer is not None and producer.name == "arith.constant":
        fill_uniform(program, tile, literal(producer.text, value.type.element))
    else:
        _fill_expression(program, [(value, tile)])


def fill_uniform(program: Program, tile: Tile, constant: str) -> None:
    if constant in _ZEROS:
        program.emit(f"memset({tile.name}, 0, sizeof *{tile.name} * {tile.type.size});")
    else:
        program.emit(f"for (int k = 0; k < {tile.type.size}; k++) {tile.name}[k] = {constant};")


def _fill_expression(program: Program, pairs: Sequence[tuple[Value, Tile]]) -> None:
    """One nest for tensors of one shape: every lane is read before its tiles are written."""
    shape = pairs[0][0].type.dims
    forms = program.forms
    pointer = next((found for value, _ in pairs if (found := _some_pointer(program, value)) is not None), None)
    same_shape = pointer is not None and pointer.type.dims == shape
    order = order_for(forms, pointer) if pointer is not None and same_shape else list(range(len(shape)))

    def build(forms: Forms | None) -> Nest:
        nest = Nest(program, shape, order, forms)
        lanes = [nest.expression(value, nest.index) for value, _ in pairs]
        for lane, (_, tile) in zip(lanes, pairs, strict=True):
            nest.put(f"{tile.name}[{linear(nest.index, shape)}] = {lane};")
        return nest

    nest = build(forms)
    write_versions(nest, nest.write, lambda: build(None).write(note=SELDOM))


def _some_pointer(program: Program, value: Value, depth: int = 0) -> Value | None:
    """A pointer that a lazily read load of an expression goes through."""
    producer = value.producer
    if value in program.tiles or value in program.shifted or producer is None or depth > 16:
        return None
    if producer.name == "tt.load":
        return producer.operands[0]
    if producer.name in POINTWISE:
        for operand in producer.operands:
            if (found := _some_pointer(program, operand, depth + 1)) is not None:
                return found
    return None


def fill_load(program: Program, load: Operation, tile: Tile, literal_only: bool = False) -> None:
    """Copies a rectangle of memory into a tile; what the mask excludes becomes `other`."""
    pointer, mask = load.operands[0], load.operands[1] if len(load.operands) > 1 else None
    shape = load.result.type.dims
    other = uniform(program, load.operands[2]) if len(load.operands) > 2 else "0"
    forms = program.forms
    order = order_for(forms, pointer)
    runs = runs_of(program, load, order) if other is not None else None
    if runs is None and _needs_flags(program, pointer, order):
        forms = program.flagged

    def build(forms: Forms | None) -> Nest:
        nest = Nest(program, shape, order, forms)
        if other is not None:
            nest.restrict(mask)
        nest.put(f"{tile.name}[{linear(nest.index, shape)}] = {nest.expression(load.result, nest.index)};")
        return nest

    def write(nest: Nest, note: str = "") -> None:
        def excluded(dims: list[int]) -> None:
            index = list(nest.index)
            for dim in dims:
                name = program.fresh("i")
                index[dim] = name
                program.emit(f"for (int {name} = 0; {name} < {shape[dim]}; {name}++)")
            program.emit(f"{tile.name}[{linear(index, shape)}] = {other};")

        limits = [(nest.range(dim), str(shape[dim])) for dim in nest.bounds]
        if limits:
            full = " && ".join(f"{low} == 0 && {high} == {size}" for (low, high), size in limits)
            with program.scope(f"if (!({full}))"):
                fill_uniform(program, tile, other or "0")
        nest.write(excluded, note)

    if literal_only:
        write(build(None), SELDOM)
        return
    nest = build(forms)

    def fast() -> None:
        if runs is None:
            write(nest)
        else:
            runs.write(tile, lambda: fill_uniform(program, tile, other or "0"), lambda: write(nest))

    write_versions(nest, fast, lambda: write(build(None), "" if forms is program.flagged else SELDOM))


def _needs_flags(program: Program, pointer: Value, order: Sequence[int]) -> bool:
    """Whether the innermost places are consecutive only if the flag of a vector says so."""
    plain, flagged = program.forms.pointer(pointer), program.flagged.pointer(pointer)
    if plain is None or flagged is None or not order:
        return False
    return bool(flagged.offset.flags and plain.offset.vectors[order[-1]])


def uniform(program: Program, value: Value) -> str | None:
    """The C text of a tensor that is the same in every lane."""
    producer = value.producer
    if producer is not None and producer.name == "arith.constant":
        return literal(producer.text, value.type.element)
    if producer is not None and producer.name == "tt.splat":
        return program.names[producer.operands[0]]
    return None


def take_over(program: Program, value: Value, user: Operation, kind: Type) -> Tile | None:
    """A tile that the expression `value` reads lane by lane and nobody needs after `user`: it may be overwritten."""
    if len(value.uses) != 1 or value.uses[0].block is not user.block:
        return None
    if value in program.tiles:
        home = value.block or (value.producer and value.producer.block)
        return program.tiles[value] if home is user.block and value.type == kind else None
    producer = value.producer
    if producer is None or producer.name not in POINTWISE or producer.block is not user.block:
        return None
    if value in program.shifted:
        return None
    for operand in producer.operands:
        alone = operand.type == kind and producer.operands.count(operand) == 1
        if alone and (tile := take_over(program, operand, producer, kind)) is not None:
            return tile
    return None


def assign(program: Program, pairs: Sequence[tuple[Value, Tile]]) -> None:
    """Gives tiles new values, all read before any is written."""
    pending = [(value, tile) for value, tile in pairs if program.tiles.get(value) is not tile]
    written = {tile.name for _, tile in pending}
    copies = []
    together: dict[tuple[int, ...], list[tuple[Value, Tile]]] = {}
    for value, tile in pending:
        if value in program.tiles and value not in _tiles_named(program, written):
            copies.append((program.tiles[value], tile))
        elif not _lanewise(program, value, written):
            fresh = program.allocate(value.type)
            fill(program, value, fresh)
            copies.append((fresh, tile))
        else:
            together.setdefault(value.type.dims, []).append((value, tile))
    for group in together.values():
        if len(group) == 1:
            fill(program, *group[0])
        else:
            _fill_expression(program, group)
    for source, tile in copies:
        program.emit(f"memcpy({tile.name}, {source.name}, sizeof *{tile.name} * {tile.type.size});")


def _tiles_named(program: Program, names: set[str]) -> set[Value]:
    return {value for value, tile in program.tiles.items() if tile.name in names}


def _lanewise(program: Program, value: Value, names: set[str], same: bool = True) -> bool:
    """Whether an expression reads the named tiles only in the lane that it computes."""
    if not value.type.is_tensor:
        return True
    if value in program.tiles:
        return same or program.tiles[value].name not in names
    if value in program.shifted:
        return _lanewise(program, program.shifted[value][0], names, same)
    producer = value.producer
    if producer is None:
        return True
    same = same and producer.name not in RESHAPING
    return all(_lanewise(program, operand, names, same) for operand in producer.operands)


def declare_tensor(program: Program, value: Value) -> Tile:
    """A tile whose contents are written by the caller."""
    tile = program.allocate(value.type)
    program.tiles[value] = tile
    return tile
