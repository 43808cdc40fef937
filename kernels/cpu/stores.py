"""Loads and stores: a group of stores and the loads that feed it become one loop nest, if they do not overlap."""

from .elements import computed, from_memory, stored, stored_size, to_memory
from .forms import Forms, Pointer, Scalar, add, multiply, text
from .indices import Index
from .nests import Nest
from .program import Program
from .tiles import fill_load, materialise
from .ttir import Operation, Value
from .versions import SELDOM, Ranges, order_for, write_versions


def load(program: Program, operation: Operation) -> None:
    value = operation.result
    if value.type.is_tensor:
        if operation in program.plan.tiles and not (operation in program.plan.reread and _in_rows(program, value)):
            materialise(program, value)
        return
    element = value.type.element
    place = from_memory(f"*({stored(element)} *){program.names[operation.operands[0]]}", element)
    if len(operation.operands) > 1:
        other = program.names[operation.operands[2]] if len(operation.operands) > 2 else "0"
        place = f"{program.names[operation.operands[1]]} ? {place} : {other}"
    program.names[value] = program.declare(computed(element), place)


def _in_rows(program: Program, value: Value) -> bool:
    """Whether a load of floats reads rows of neighbours: as cheap as to read a tile that it would be copied to."""
    assert value.producer is not None
    form = program.forms.pointer(value.producer.operands[0])
    if form is None or not value.type.is_float or value.type.dims[-1] == 1:
        return False
    return form.offset.steps[-1] == 1 and form.offset.is_affine


def store(program: Program, operation: Operation) -> None:
    if operation in program.plan.grouped:
        return
    pointer, value, *mask = operation.operands
    if not pointer.type.is_tensor:
        guard = f"if ({program.names[mask[0]]}) " if mask else ""
        element = pointer.type.pointee
        program.emit(
            f"{guard}*({stored(element)} *){program.names[pointer]} = {to_memory(program.names[value], element)};"
        )
        return
    _store_tensors(program, program.plan.groups[operation])


def _store_tensors(program: Program, group: list[Operation]) -> None:
    pointers = [member.operands[0] for member in group]
    mask = group[0].operands[2] if len(group[0].operands) > 2 else None
    shape = pointers[0].type.dims
    order = order_for(program.forms, pointers[0])

    def build(forms: Forms | None, members: list[Operation]) -> Nest:
        nest = Nest(program, shape, order, forms)
        lane = nest.restrict(mask)
        lines = []
        for member in members:
            element = member.operands[0].type.pointee
            value = to_memory(nest.expression(member.operands[1], nest.index), element)
            guard = "" if lane == "1" else f"if ({lane}) "
            lines.append(f"{guard}{nest.place(member.operands[0], nest.index)} = {value};")
        for line in lines:
            nest.put(line)
        return nest

    with program.scope():
        nest = build(program.forms, group)
        scattered = any(program.forms.pointer(pointer) is None for pointer in pointers)
        unchecked = list(nest.loads) if scattered else _unchecked(nest, pointers, program)
        for value in reversed(unchecked):
            materialise(program, value)
        if scattered and len(group) > 1:
            for member in group:
                build(None, [member]).write()
            return
        nest = build(program.forms, group) if unchecked else nest
        loads = dict(nest.loads)

        def slow() -> None:
            tiles = dict(program.tiles)
            for value in reversed(list(loads)):
                tile = program.allocate(value.type)
                assert value.producer is not None
                fill_load(program, value.producer, tile, literal_only=True)
                program.tiles[value] = tile
            for member in group:
                build(None, [member]).write(note=SELDOM)
            program.tiles = tiles

        def overlaps(ranges: Ranges) -> list[str]:
            return [] if scattered else _disjoint(program, ranges, pointers, loads)

        write_versions(nest, nest.write, slow, overlaps)


def _unchecked(nest: Nest, pointers: list[Value], program: Program) -> list[Value]:
    """The loads for which no test can tell whether the stores change what they read."""
    forms = [program.forms.pointer(pointer) for pointer in pointers]
    return [
        value
        for value, (form, index) in nest.loads.items()
        if form is None or (form in forms and (index != nest.index or any(form.offset.vectors)))
    ]


def _disjoint(
    program: Program, ranges: Ranges, pointers: list[Value], loads: dict[Value, tuple[Pointer | None, Index]]
) -> list[str]:
    """Conditions under which no store of the nest changes what another lane of a load or store touches."""
    nest = ranges.nest
    forms = [program.forms.pointer(pointer) for pointer in pointers]
    if len(pointers) == 1 and not loads:
        return []
    touched: list[tuple[Pointer, Index, str]] = [
        (form, nest.index, pointer.type.pointee) for form, pointer in zip(forms, pointers, strict=True) if form
    ]
    spans = {}
    others = touched + [(form, index, value.type.element) for value, (form, index) in loads.items() if form]
    for form, index, element in others:
        if (form, index) not in spans:
            spans[form, index] = ranges.memory(form, index, element)
    conditions = []
    for k, (form, index, element) in enumerate(touched):
        low, high = spans[form, index]
        for other, other_index, other_element in others[k + 1 :]:
            if (other, other_index) == (form, index):
                conditions.append(_injective(form, nest))
                continue
            other_low, other_high = spans[other, other_index]
            apart = f"tn_apart({low}, {high}, {other_low}, {other_high})"
            same = (
                _same(form, other)
                if other_index == index and stored_size(element) == stored_size(other_element)
                else ""
            )
            conditions.append(f"({apart} | ({same} & {_injective(form, nest)}))" if same else apart)
    return [condition for condition in conditions if condition != "1"]


def _same(form: Pointer, other: Pointer) -> str:
    """The condition that two pointers are equal in every lane; "" where no cheap test can tell."""
    if any(form.offset.vectors) or any(other.offset.vectors):
        return ""
    tests = []
    for step, other_step in zip(form.offset.steps, other.offset.steps, strict=True):
        if step != other_step:
            if isinstance(step, int) and isinstance(other_step, int):
                return ""
            tests.append(f"{text(step)} == {text(other_step)}")
    base = f"{form.root} - {other.root}"
    tests.append(f"{base} == 0" if form.offset.base == other.offset.base else "")
    return " & ".join(test for test in tests if test) if tests[-1] else ""


def _injective(form: Pointer, nest: Nest) -> str:
    """The condition that no two lanes of an affine pointer touch the same element."""
    steps = [(form.offset.steps[dim], dim) for dim in reversed(range(len(nest.shape))) if nest.shape[dim] > 1]
    if not steps:
        return "1"
    if all(isinstance(step, int) for step, _ in steps):
        reach = 0
        for apart, size in sorted((abs(int(step)), nest.shape[dim]) for step, dim in steps):
            if apart <= reach:
                return "0"
            reach += apart * (size - 1)
        return "1"
    if len(steps) == 1:
        return f"{text(steps[0][0])} != 0"
    # With symbols the outer dimensions have to be the larger steps, which is the usual layout.
    inner = sorted(steps, key=lambda pair: not isinstance(pair[0], int))
    tests, reach_text = [], add(0, 0)
    for step, dim in inner:
        size_of = abs(step) if isinstance(step, int) else f"llabs({step})"
        low, high = nest.range(dim)
        last: Scalar = int(high) - 1 - int(low) if low.isdigit() and high.isdigit() else f"({high} - 1 - {low})"
        if isinstance(size_of, int) and isinstance(reach_text, int):
            if size_of <= reach_text:
                return "0"
        else:
            alone = "" if isinstance(last, int) else f"{last} < 1 | "
            tests.append(f"({alone}{text(size_of)} > {text(reach_text)})")
        reach_text = add(reach_text, multiply(size_of, last))
    return f"({' & '.join(tests)})"
