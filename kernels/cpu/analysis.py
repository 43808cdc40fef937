"""Decides, before any C is written, which tensors become tiles, which loads are read in place, which stores join.

A `sink` is where a lazily written tensor is finally needed: a store, a dot, a reduction, a value that becomes a tile.
"""

from dataclasses import dataclass, field

from .expressions import COSTS, POINTWISE
from .ttir import Block, Function, Operation, Value

RESHAPING = frozenset(
    {
        "arith.constant",
        "tt.broadcast",
        "tt.expand_dims",
        "tt.join",
        "tt.make_range",
        "tt.reshape",
        "tt.splat",
        "tt.split",
        "tt.trans",
        "tt.unsplat",
    }
)
_EFFECTS = frozenset(
    {
        "cf.br",
        "cf.cond_br",
        "label",
        "tt.atomic_cas",
        "tt.atomic_rmw",
        "tt.call",
        "tt.return",
        "tt.store",
    }
)
_AFFINE = frozenset({"arith.addi", "arith.subi", "arith.muli", "arith.extsi", "arith.cmpi", "arith.andi"})
_FUSING = frozenset({"tt.store", "tt.dot", "tt.reduce", "scf.yield"})
_EXPENSIVE = 20
_WORTH_KEEPING = 8
_DIVISION = 6
_READINGS = 3


@dataclass
class Plan:
    """`tiles`: operations whose results become tiles where they stand; `late`: those of them whose tile is written by
    the reduction that needs them first; `reread`: loads among them that several sinks may as well read in place;
    `groups`: the stores that one nest does, under the last of them; `grouped`: the stores that a later one does."""

    tiles: set[Operation] = field(default_factory=set)
    late: set[Operation] = field(default_factory=set)
    reread: set[Operation] = field(default_factory=set)
    groups: dict[Operation, list[Operation]] = field(default_factory=dict)
    grouped: set[Operation] = field(default_factory=set)

    def join(self, other: "Plan") -> None:
        self.tiles |= other.tiles
        self.late |= other.late
        self.reread |= other.reread
        self.groups |= other.groups
        self.grouped |= other.grouped


def lazy(operation: Operation) -> bool:
    """Whether the result is an expression of its operands' lanes."""
    return operation.name in POINTWISE or operation.name in RESHAPING


def has_effect(operation: Operation) -> bool:
    return operation.name in _EFFECTS or any(
        has_effect(inner) for block in operation.blocks for inner in block.operations
    )


def plan(function: Function) -> Plan:
    return _Planner(function).plan


def conjuncts(mask: Value) -> list[Value]:
    """The masks of any shape whose conjunction is the mask."""
    producer = mask.producer
    if producer is not None and producer.name == "arith.andi":
        return [part for operand in producer.operands for part in conjuncts(operand)]
    return [mask]


class _Planner:
    def __init__(self, function: Function) -> None:
        self.plan = Plan()
        self.leader: dict[Operation, Operation] = {}
        self.sinks: dict[Value, set[Operation]] = {}
        self.costs: dict[Value, int] = {}
        self.affine: set[Value] = set()
        self.group(function.body)
        self.cost(function.body)
        self.decide(function.body)

    def group(self, block: Block) -> None:
        """Neighbouring stores of one shape and mask, to different pointers, with nothing but expressions in between."""
        members: list[Operation] = []

        def close() -> None:
            if members:
                last = members[-1]
                self.plan.groups[last] = list(members)
                self.plan.grouped.update(members[:-1])
                self.leader.update(dict.fromkeys(members, last))
                members.clear()

        for operation in block.operations:
            for inner in operation.blocks:
                self.group(inner)
            if operation.name == "tt.store":
                if members and not _joins(members, operation):
                    close()
                members.append(operation)
            elif not lazy(operation):
                close()
        close()

    def cost(self, block: Block) -> None:
        for operation in block.operations:
            for inner in operation.blocks:
                self.cost(inner)
            if lazy(operation) and operation.result.type.is_tensor:
                cost = COSTS.get(operation.name, 1) + sum(self.costs.get(value, 0) for value in operation.operands)
                for value in operation.results:
                    self.costs[value] = min(cost, 1000)
                if self.is_affine(operation):
                    self.affine.add(operation.result)
                elif self.is_index_vector(operation, cost):
                    self.plan.tiles.add(operation)
                    self.costs[operation.result] = 0

    def is_affine(self, operation: Operation) -> bool:
        """Whether a lane is a sum of multiples of indices, or compares such sums: a form (forms.py) says it better."""
        return (operation.name in _AFFINE or operation.name in RESHAPING) and all(
            value in self.affine or not value.type.is_tensor for value in operation.operands
        )

    def is_index_vector(self, operation: Operation, cost: int) -> bool:
        """A vector of indices with a division in it, that is spread over rows or columns or used inside of a loop."""
        kind = operation.result.type
        if operation.name not in POINTWISE or sum(size > 1 for size in kind.dims) != 1 or cost < _WORTH_KEEPING:
            return False
        return kind.element[0] == "i" and any(
            user.name in ("tt.expand_dims", "tt.broadcast") or user.block is not operation.block
            for user in operation.result.uses
        )

    def decide(self, block: Block) -> None:
        for operation in reversed(block.operations):
            for inner in operation.blocks:
                self.decide(inner)
            sinks: set[Operation] = set()
            for value in operation.results:
                self.sinks[value] = set()
                for user in value.uses:
                    if self.is_read_in_place(user):
                        self.sinks[value] |= set().union(*(self.sinks[result] for result in user.results))
                    else:
                        self.sinks[value].add(self.leader.get(user, user))
                sinks |= self.sinks[value]
            if not (operation.results and operation.result.type.is_tensor) or operation in self.plan.tiles:
                continue
            if operation.name == "tt.load":
                in_place = all(self.is_fused(operation, sink) for sink in sinks)
                if not in_place or len(sinks) != 1:
                    self.plan.tiles.add(operation)
                if in_place and len(sinks) <= _READINGS:
                    self.plan.reread.add(operation)
            elif operation.name in POINTWISE and self.is_worth_a_tile(operation, sinks):
                self.plan.tiles.add(operation)
                if _first_use_reduces(operation):
                    self.plan.late.add(operation)

    def is_read_in_place(self, user: Operation) -> bool:
        """Whether a user's lanes are written where its own users need them."""
        if user in self.plan.tiles or not user.results or not user.result.type.is_tensor:
            return False
        return lazy(user) or user.name == "tt.load"

    def is_worth_a_tile(self, operation: Operation, sinks: set[Operation]) -> bool:
        if operation.result in self.affine:
            return False
        cost = self.costs[operation.result]
        inside_loop = any(sink.block is not operation.block for sink in sinks)
        if cost >= _EXPENSIVE and (len(sinks) > 1 or inside_loop):
            return True
        if cost >= _DIVISION and operation.result.type.is_float and _spreads_over_rows(operation.result):
            return True
        return inside_loop and operation.result.type.is_float and _in_loop(operation, sinks)

    def is_fused(self, load: Operation, sink: Operation) -> bool:
        """Whether a sink of a load may read it in place: it comes before anything that could change the memory."""
        if sink.block is not load.block or (sink.name not in _FUSING and sink not in self.plan.tiles):
            return False
        if load.result.type.element[0] == "i" and any(
            user.name in ("tt.expand_dims", "tt.broadcast") for user in load.result.uses
        ):
            return False
        first = self.plan.groups[sink][0] if sink in self.plan.groups else sink
        return not any(has_effect(other) for other in load.block.operations[load.position + 1 : first.position])


def _first_use_reduces(operation: Operation) -> bool:
    """Whether the result is reduced as it is, before any other use and anything that could change memory."""
    block, users = operation.block, operation.result.uses
    if any(user.block is not block for user in users):
        return False
    first = min(users, key=lambda user: user.position)
    between = block.operations[operation.position + 1 : first.position]
    return first.name == "tt.reduce" and not any(has_effect(other) for other in between)


def _spreads_over_rows(value: Value) -> bool:
    """Whether a row of values is broadcast to many rows, for each of which it would be computed again."""
    dims = value.type.dims
    for user in value.uses:
        if user.name in ("tt.broadcast", "tt.expand_dims"):
            after = user.result.type.dims
            grows = user.name == "tt.broadcast" and after[-1] == dims[-1] > 1 and after[:-1] != dims[:-1]
            if grows or (user.name == "tt.expand_dims" and _spreads_over_rows(user.result)):
                return True
    return False


def _in_loop(operation: Operation, sinks: set[Operation]) -> bool:
    """Whether a sink runs several times for one run of the operation."""
    for sink in sinks:
        owner = sink.block.owner
        while owner is not None and sink.block is not operation.block:
            if owner.name in ("scf.for", "scf.while"):
                return True
            if owner.block is operation.block:
                break
            owner = owner.block.owner
    return False


def _joins(members: list[Operation], store: Operation) -> bool:
    first = members[0]
    same_mask = store.operands[2:] == first.operands[2:]
    kind = store.operands[0].type
    return (
        kind.is_tensor
        and kind.shape == first.operands[0].type.shape
        and same_mask
        and all(store.operands[0] is not other.operands[0] for other in members)
    )
