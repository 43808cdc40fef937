"""matmul: values in every size, dtype and layout; tiles, split K, 64-bit offsets, errors."""

import importlib

import pytest
import torch

from tritonnet.errors import DeviceError, DtypeError, ShapeError
from tritonnet.kernels import _tune, matmul
from tritonnet.kernels.matmul import Tile, matmul_reference, pick_tile
from tritonnet.testing import check

product = importlib.import_module("tritonnet.kernels.matmul.product")
tiles = importlib.import_module("tritonnet.kernels.matmul.tiles")

CPU = _tune.Target("cpu", "no such processor", 2, 512 << 10)
H100 = _tune.Target("gpu", "no such gpu", 132, 232448)
RTX = _tune.Target("gpu", "no such gpu", 82, 101376)
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


@pytest.fixture
def tile(monkeypatch):
    """Sets the tile of every product, whatever its sizes."""

    def use(tile):
        product._plan.cache_clear()
        monkeypatch.setattr(product, "pick_tile", lambda *_: tile)

    yield use
    product._plan.cache_clear()


def test_product():
    check(
        matmul,
        matmul_reference,
        {"a": ("M", "K"), "b": ("K", "N"), "bias": ("N",)},
        dims={"M": [0, 1, 5, 129], "K": [0, 1, 19, 257], "N": [0, 1, 7, 65]},
        hyper=[{"activation": "relu"}],
    )


def test_product_without_bias():
    check(
        lambda a, b, **hyper: matmul(a, b, None, **hyper),
        lambda a, b, **hyper: matmul_reference(a, b, None, **hyper),
        {"a": ("M", "K"), "b": ("K", "N")},
        dims={"M": [3], "K": [0, 256], "N": [4, 128]},
        hyper=[{"activation": "relu"}],
        layouts=("contiguous",),
    )


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (("Z", "M", "K"), ("Z", "K", "N")),
        (("Z", "M", "K"), ("K", "N")),
        (("M", "K"), ("Z", "K", "N")),
        ((1, "M", "K"), ("Z", "K", "N")),
        (("Y", "Z", "M", "K"), ("Z", "K", "N")),
        (("Z", "Y", "M", "K"), ("Z", 1, "K", "N")),
        (("Z", 1, "M", "K"), ("Y", "K", "N")),
        (("X", "Y", "Z", "M", "K"), ("X", 1, "Z", "K", "N")),
        (("Z", 1, "Y", 1, "M", "K"), ("X", 1, "Z", "K", "N")),
    ],
    ids=str,
)
def test_batches(a, b):
    sizes = {"X": [2], "Y": [3], "Z": [0, 1, 2], "M": [1, 5], "K": [0, 7], "N": [6]}
    dims = {name: sizes[name] for name in sizes if name in a + b}
    layouts = ("contiguous", "transposed", "sliced", "expanded")
    inputs = {"a": a, "b": b, "bias": ("N",)}
    check(matmul, matmul_reference, inputs, dims=dims, dtypes=[torch.float32], layouts=layouts)


def test_batches_that_no_stride_walks():
    a = torch.randn(4, 3, 2, 5, 6).permute(2, 0, 1, 3, 4)
    b = torch.randn(2, 3, 4, 6, 7).permute(0, 2, 1, 3, 4)
    torch.testing.assert_close(matmul(a, b), matmul_reference(a, b))


def test_split_k(tile):
    tile(Tile(32, 16, 16, SPLIT_K=8))
    check(
        matmul,
        matmul_reference,
        {"a": ("Z", "M", "K"), "b": ("Z", "K", "N"), "bias": ("N",)},
        dims={"Z": [0, 1, 3], "M": [0, 1, 33], "K": [0, 1, 40, 1000], "N": [0, 1, 17]},
        hyper=[{"activation": "relu"}],
        layouts=("contiguous", "transposed"),
    )


@pytest.mark.parametrize("shape", [(1, 1, 1), (31, 33, 15), (32, 32, 16), (33, 31, 17), (100, 70, 50)])
@pytest.mark.parametrize("group_m", [1, 3, 8])
def test_every_program_has_a_tile_of_its_own(tile, shape, group_m):
    M, N, K = shape
    tile(Tile(32, 32, 16, GROUP_M=group_m))
    a, b = torch.randn(M, K, dtype=torch.float64), torch.randn(K, N, dtype=torch.float64)
    torch.testing.assert_close(matmul(a, b), a @ b)


def test_out_dtype():
    def reference(a, b, out_dtype=None):
        return matmul_reference(a, b, out_dtype=None if a.dtype == torch.float64 else out_dtype)

    check(
        lambda a, b, **hyper: matmul(a, b, **hyper),
        reference,
        {"a": ("M", "K"), "b": ("K", "N")},
        dims={"M": [5], "K": [300], "N": [6]},
        dtypes=[torch.bfloat16, torch.float16],
        hyper=[{"out_dtype": torch.float32}],
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_operands_are_rounded_to_dtype(dtype):
    a, b, bias = torch.randn(9, 70), torch.randn(70, 8), torch.randn(8)
    c = matmul(a, b.to(dtype), bias, dtype=dtype)
    exact = a.to(dtype).double() @ b.to(dtype).double() + bias.double()
    assert c.dtype == dtype
    torch.testing.assert_close(c.double(), exact, rtol=torch.finfo(dtype).eps, atol=1e-5)
    c = matmul(a, b, bias, dtype=dtype, out_dtype=torch.float32)
    torch.testing.assert_close(c.double(), exact, rtol=1e-5, atol=1e-5)


def test_nan_and_infinity():
    a = torch.tensor([[float("nan"), 1.0], [float("inf"), 1.0], [-float("inf"), 1.0]])
    c = matmul(a, torch.ones(2, 1), activation="relu")
    torch.testing.assert_close(c, torch.tensor([[float("nan")], [float("inf")], [0.0]]), equal_nan=True)


@pytest.mark.parametrize("operand", ["a rows", "a columns", "b rows", "b columns"])
def test_offsets_beyond_32_bits(operand):
    # Memory that is never touched is never there: only the pages under a few elements are.
    far = (1 << 30) + 8
    huge = torch.empty_strided((4, 3), (far, 1), dtype=torch.float16)
    small = torch.randn(4, 3, dtype=torch.float16)
    huge.copy_(small)
    a, b = (torch.randn(*size, dtype=torch.float16) for size in ((5, 4), (3, 6)))
    left, right, left_small, right_small = {
        "a rows": (huge, b, small, b),
        "a columns": (huge.mT, a.mT, small.mT, a.mT),
        "b rows": (a, huge, a, small),
        "b columns": (b.mT, huge.mT, b.mT, small.mT),
    }[operand]
    assert torch.equal(matmul(left, right), matmul(left_small, right_small))


@pytest.mark.parametrize("operand", ["a", "b"])
def test_steps_along_k_beyond_32_bits(operand):
    huge = torch.empty_strided((600, 3), ((1 << 23) + 8, 1), dtype=torch.float16)
    small, other = torch.randn(600, 3, dtype=torch.float16), torch.randn(5, 600, dtype=torch.float16)
    huge.copy_(small)
    if operand == "a":
        assert torch.equal(matmul(huge.mT, other.mT), matmul(small.mT, other.mT))
    else:
        assert torch.equal(matmul(other, huge), matmul(other, small))


def test_batch_offsets_beyond_32_bits():
    huge = torch.empty_strided((4, 3, 5), ((1 << 30) + 8, 5, 1), dtype=torch.float16)
    huge.copy_(torch.randn(4, 3, 5))
    b = torch.randn(4, 5, 2, dtype=torch.float16)
    assert torch.equal(matmul(huge, b), matmul(huge.contiguous(), b))


def test_pick_tile_fits_the_sizes():
    assert pick_tile(8192, 8192, 8192, 1, torch.bfloat16, H100).BLOCK_N == 256
    assert pick_tile(16, 4096, 4096, 1, torch.bfloat16, H100).BLOCK_M == 16
    for M, N, K, Z in ((1, 1, 1, 1), (0, 0, 0, 0), (128, 10, 64, 1), (5000, 3, 2, 7)):
        for target in (CPU, H100, RTX):
            for dtype in FLOATS:
                pick_tile(M, N, K, Z, dtype, target)


def test_pick_tile_splits_only_long_k_of_small_products():
    assert pick_tile(4096, 4096, 65536, 1, torch.bfloat16, H100).SPLIT_K == 1
    assert pick_tile(64, 64, 65536, 1, torch.bfloat16, H100).SPLIT_K > 1
    assert pick_tile(64, 64, 256, 1, torch.bfloat16, H100).SPLIT_K == 1
    assert pick_tile(10, 64, 65536, 1, torch.float32, CPU).SPLIT_K > 1


@pytest.mark.parametrize("dtype", FLOATS)
def test_pick_tile_stays_within_shared_memory(dtype):
    for target in (H100, RTX):
        tile = pick_tile(8192, 8192, 8192, 1, dtype, target)
        assert tiles._bytes(tile, dtype) <= target.shared


def test_the_order_of_a_sum_does_not_depend_on_the_number_of_threads():
    for sizes in ((128, 1024, 784, 1), (10, 64, 65536, 1), (64, 64, 4096, 12)):
        tiles = [
            pick_tile(*sizes, torch.float32, _tune.Target("cpu", CPU.name, units, 1 << 19)) for units in (1, 8, 64)
        ]
        assert len({(tile.BLOCK_K, tile.SPLIT_K) for tile in tiles}) == 1


def test_pick_tile_takes_a_measured_tile(monkeypatch):
    entry = {"dtype": "float32", "sizes": [128, 128, 128, 1], "tile": {"BLOCK_M": 16, "BLOCK_N": 32, "BLOCK_K": 64}}
    monkeypatch.setattr(_tune, "table", lambda name: {"matmul": [entry]})
    assert pick_tile(100, 130, 128, 1, torch.float32, CPU) == Tile(16, 32, 64)


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        (((2, 3), (4, 5), None), "a is (2, 3) and b is (4, 5); inner sizes 3 and 4 differ"),
        (((3,), (3, 4), None), "a is (3,) and b is (3, 4); each needs rows and columns"),
        (((2, 3), (), None), "each needs rows and columns"),
        (((2, 4, 3), (5, 3, 4), None), "batch sizes 2 and 5 do not broadcast"),
        (((2, 3), (3, 4), (3,)), r"bias is (3,) and b is (3, 4); bias needs to be (4,)"),
        (((2, 3), (3, 4), (1, 4)), r"bias needs to be (4,)"),
    ],
)
def test_wrong_shapes(shapes, said):
    for function in (matmul, matmul_reference):
        with pytest.raises(ShapeError) as raised:
            function(*(shape if shape is None else torch.ones(shape) for shape in shapes))
        assert str(raised.value).startswith("matmul: ") and said in str(raised.value)


def test_wrong_activation():
    with pytest.raises(ShapeError, match="activation is 'swish'; it is one of 'none', 'relu'"):
        matmul(torch.ones(2, 2), torch.ones(2, 2), activation="swish")


def test_wrong_dtypes():
    a = torch.ones(2, 2)
    with pytest.raises(DtypeError, match="got float32, float16; a, b and bias need to have one dtype"):
        matmul(a, a.half())
    with pytest.raises(DtypeError, match="got float32, float32, float64"):
        matmul(a, a, a[0].double())
    for wrong in (torch.int64, torch.bool, torch.complex64):
        with pytest.raises(DtypeError, match="takes float32, float16, bfloat16, float64"):
            matmul(a.to(wrong), a.to(wrong))
    with pytest.raises(DtypeError, match="got int64"):
        matmul(a, a.long())


def test_wrong_devices():
    with pytest.raises(DeviceError, match="matmul: tensors on cpu and meta"):
        matmul(torch.ones(2, 2), torch.ones(2, 2, device="meta"))


def test_meta_tensors_have_shape_and_dtype():
    c = matmul(torch.ones(5, 2, 3, device="meta"), torch.ones(3, 4, device="meta"), out_dtype=torch.float64)
    assert c.shape == (5, 2, 4) and c.dtype == torch.float64 and c.device.type == "meta"
