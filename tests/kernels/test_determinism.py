"""Every operation gives the same bits each time and on any number of threads."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from tests.kernels.examples import Example, examples, tensors
from tests.kernels.examples.matmul import square
from tests.targets.recording import forget_plans
from tritonnet.kernels import _tune
from tritonnet.kernels.matmul import pick_tile
from tritonnet.testing._memory import bits

# Numbers of threads, and how often each call is repeated on them; the last one for tiles that are picked by it.
REPEATS = {1: 20, 2: 20, 8: 1}


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)


def outcome(example: Example, dtype: torch.dtype, count: int) -> list[Tensor]:
    """All that a call with several programs returns or may have written, in fresh memory, on `count` threads."""
    call = example.make(dtype, 8)
    with threads(count):
        results = call.of(example.op)
    return [bits(tensor) for tensor in tensors(results, call.args, call.kwargs)]


@pytest.fixture(autouse=True)
def _one_thread():
    # Threads of torch's, where it makes and compares tensors, would wait for each other in a loop; ours do not.
    with threads(1):
        yield
    forget_plans()


# Of fewer bits than 32, what differs besides loads and stores is how products are taken.
PRODUCTS = [example for example in examples() if example.op.name.startswith(("conv2d", "matmul"))]
CASES = [(each, torch.float32) for each in examples()] + [(each, torch.bfloat16) for each in PRODUCTS]


@pytest.mark.parametrize("example, dtype", CASES, ids=str)
def test_same_bits(example, dtype):
    first = outcome(example, dtype, 1)
    for count, repeats in REPEATS.items():
        forget_plans()
        for repeat in range(repeats):
            for at, (one, other) in enumerate(zip(first, outcome(example, dtype, count), strict=True)):
                assert torch.equal(one, other), f"tensor {at} on {count} threads, repeat {repeat}"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_product_takes_other_tiles_on_other_numbers_of_threads(dtype):
    """So that the test above meets a pair of them."""
    (M, K), (_, N) = (operand.shape for operand in square(dtype, 8))
    one, eight = (
        pick_tile(M, N, K, 1, dtype, _tune.Target("cpu", "no such processor", units, 512 << 10)) for units in (1, 8)
    )
    assert one != eight
    assert (one.BLOCK_K, one.SPLIT_K) == (eight.BLOCK_K, eight.SPLIT_K)


def test_the_number_of_threads_reaches_the_tiles():
    for count in (3, 4):
        forget_plans()
        with threads(count):
            assert _tune.target(torch.device("cpu")).units == count
