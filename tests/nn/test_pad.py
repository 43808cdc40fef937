import pytest
import torch

from tritonnet import nn


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("kind", ["ConstantPad", "ZeroPad", "ReflectionPad", "ReplicationPad", "CircularPad"])
def test_is_torchs(twins, agree, kind, dims):
    x = torch.randn(2, 3, *(4, 3, 5)[:dims], dtype=torch.float64)
    rest = (0.5,) if kind == "ConstantPad" else ()
    for padding in (2, (1, 2, 0, 1, 2, 1)[: 2 * dims]):
        ours, theirs = twins(f"{kind}{dims}d", padding, *rest)
        assert ours.padding == theirs.padding
        agree(ours, theirs, x)
        agree(ours, theirs, x[0])


def test_errors():
    with pytest.raises(ValueError, match=r"CircularPad1d: expected 2D or 3D input \(got 4D input\)"):
        nn.CircularPad1d(1)(torch.ones(1, 1, 3, 3))
    with pytest.raises(RuntimeError, match="to reflect, they must be smaller"):
        nn.ReflectionPad2d(3)(torch.ones(1, 3, 3))
