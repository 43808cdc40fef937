"""The examples: every operation has some, which launch all of its kernels and agree with its reference."""

import pytest
import torch

from tests.kernels.agreement import disagreement
from tests.kernels.examples import DEVICE, EXAMPLES, examples, kernels
from tests.targets.recording import recording
from tritonnet.kernels import OPS, _tune

# On a CPU what test_determinism.py compiles too: other dtypes and sizes are met by each operation's own tests.
EVERYTHING = DEVICE.type == "cuda"
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)[: 4 if EVERYTHING else 1]
TARGETS = [_tune.Target("cpu", "no such processor", 2, 512 << 10), _tune.Target("gpu", "no such gpu", 132, 232448)]


@pytest.mark.parametrize("name", sorted(OPS))
def test_every_operation_has_examples(name):
    assert EXAMPLES.get(name), f"{name}: none in tests/kernels/examples/"


def test_nothing_else_has_examples():
    assert EXAMPLES.keys() <= OPS.keys()


def test_every_kernel_is_launched_by_an_example():
    launched = set()
    for target in TARGETS:
        with recording(target) as record:
            launched |= {
                launch.kernel.fn for each in examples() for n in (1, 8) for launch in record(each, DTYPES[0], n)
            }
    assert not {kernel.__name__ for kernel in kernels() - launched}
    assert launched


@pytest.mark.parametrize("n", [1, 8] if EVERYTHING else [8])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("example", examples(), ids=str)
def test_agrees_with_its_reference(example, dtype, n):
    assert disagreement(example, dtype, n) == ""
