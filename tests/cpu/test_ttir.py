"""The parser of TTIR: types, names, regions, early returns."""

import pytest

from tritonnet.kernels._errors import UnsupportedKernelError
from tritonnet.kernels.cpu.ttir import Type, parse, parse_type, split

LOOPS = """
module {
  tt.func public @loops(%arg0: !tt.ptr<f32> {tt.divisibility = 16 : i32}, %n: i32) attributes {noinline = false} {
    %c0_i32 = arith.constant 0 : i32
    %cst = arith.constant dense<0xFF800000> : tensor<8xf32>
    %0:2 = scf.for %i = %c0_i32 to %n step %c0_i32 iter_args(%a = %cst, %b = %c0_i32) -> (tensor<8xf32>, i32)  : i32 {
      %1 = arith.addi %b, %i : i32
      %2 = scf.if %true -> (i32) {
        scf.yield %1 : i32
      } else {
        scf.yield %b : i32
      }
      scf.yield %a, %2 : tensor<8xf32>, i32
    } {tt.num_stages = 2 : i32}
    %3 = "tt.reduce"(%0#0) <{axis = 0 : i32}> ({
    ^bb0(%x: f32, %y: f32):
      %5 = arith.maxnumf %x, %y : f32
      tt.reduce.return %5 : f32
    }) : (tensor<8xf32>) -> f32
    %4 = scf.while (%w = %0#1) : (i32) -> i32 {
      %5 = arith.cmpi slt, %w, %n : i32
      scf.condition(%5) %w : i32
    } do {
    ^bb0(%w: i32):
      scf.yield %w : i32
    }
    tt.return
  }
}
""".replace("%true", "%t").replace("    %cst", "    %t = arith.constant true\n    %cst")

RETURNS = """
module {
  tt.func public @returns(%arg0: !tt.ptr<f32>, %n: i32) attributes {noinline = false} {
    %0 = tt.get_program_id x : i32
    %1 = arith.cmpi sge, %0, %n : i32
    cf.cond_br %1, ^bb1, ^bb2(%0 : i32)
  ^bb1:  // pred: ^bb0
    tt.return
  ^bb2(%2: i32):  // pred: ^bb0
    %3 = tt.addptr %arg0, %2 : !tt.ptr<f32>, i32
    tt.assert %1, "100 %d : of %n, \\22quoted\\22" : i1
    tt.return
  }
}
"""


@pytest.mark.parametrize(
    ("text", "shape", "element"),
    [
        ("i32", None, "i32"),
        ("tensor<128xi1>", (128,), "i1"),
        ("tensor<4x16x8xbf16>", (4, 16, 8), "bf16"),
        ("!tt.ptr<f16>", None, "ptr<f16>"),
        ("!tt.ptr<f32, 1>", None, "ptr<f32>"),
        ("!tt.ptr<!tt.ptr<f32>>", None, "ptr<ptr<f32>>"),
        ("tensor<2x4x!tt.ptr<f64>>", (2, 4), "ptr<f64>"),
    ],
)
def test_types(text: str, shape: tuple[int, ...] | None, element: str) -> None:
    assert parse_type(text) == Type(shape, element)


def test_split_minds_brackets_and_arrows() -> None:
    assert split("a, tensor<2x!tt.ptr<f32>>, (i32, i32) -> f32, {x = [1, 2]}") == [
        "a",
        "tensor<2x!tt.ptr<f32>>",
        "(i32, i32) -> f32",
        "{x = [1, 2]}",
    ]


def test_regions_and_names() -> None:
    function = parse(LOOPS)["loops"]
    names = [operation.name for operation in function.body.operations]
    assert names == ["arith.constant"] * 3 + ["scf.for", "tt.reduce", "scf.while", "tt.return"]
    loop, reduction, waiting = function.body.operations[3:6]
    assert [value.type for value in loop.results] == [Type((8,), "f32"), Type(None, "i32")]
    counter, tensor, scalar = loop.blocks[0].arguments
    assert counter.type == scalar.type == Type(None, "i32")
    assert loop.blocks[0].terminator.operands == [tensor, loop.blocks[0].operations[1].result]
    choice = loop.blocks[0].operations[1]
    assert [len(block.operations) for block in choice.blocks] == [1, 1]
    assert choice.blocks[1].terminator.operands == [scalar]
    assert reduction.operands == [loop.results[0]]
    assert reduction.integer("axis") == 0
    assert reduction.result.type == Type(None, "f32")
    # %5 is one value in the reduction and another in the loop's condition.
    assert waiting.blocks[0].operations[0].word == "slt"
    assert waiting.blocks[0].terminator.operands[0] is waiting.blocks[0].operations[0].result
    assert waiting.blocks[1].terminator.operands == waiting.blocks[1].arguments


def test_users_are_known() -> None:
    function = parse(LOOPS)["loops"]
    n = function.arguments[1]
    assert [user.name for user in n.uses] == ["scf.for", "arith.cmpi"]


def test_early_returns_and_strings() -> None:
    function = parse(RETURNS)["returns"]
    branch = function.body.operations[2]
    assert branch.targets == [("bb1", 0), ("bb2", 1)]
    assert [operation.text for operation in function.body.operations if operation.name == "label"] == ["bb1", "bb2"]
    address, check = function.body.operations[6:8]
    assert address.operands == [function.arguments[0], function.body.labels["bb2"][0]]
    assert address.result.type == Type(None, "ptr<f32>")
    assert check.operands == [function.body.operations[1].result]
    assert check.strings == [r"100 %d : of %n, \22quoted\22"]


def test_what_cannot_be_read_is_refused_with_its_place() -> None:
    with pytest.raises(
        UnsupportedKernelError, match=r"loops: TTIR line 8: cannot read: %1 = arith.addi %nobody, %i : i32"
    ):
        parse(LOOPS.replace("arith.addi %b, %i", "arith.addi %nobody, %i"))
