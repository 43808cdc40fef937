"""Offsets past 2^31 elements: huge strides over memory that is allocated lazily, so that no page but a few exists."""

import pytest
import torch
from torch import Tensor

from tritonnet import kernels

FAR = (1 << 30) + 8


def spread(values: Tensor, *stride: int) -> Tensor:
    """The values in a tensor of these strides, the last of them past 2^31 elements from the first."""
    assert sum((n - 1) * step for n, step in zip(values.shape, stride, strict=True)) > 1 << 31
    return torch.empty_strided(values.shape, stride, dtype=values.dtype).copy_(values)


def half(*shape: int) -> Tensor:
    return torch.randn(shape).half()


@pytest.mark.parametrize("stride", [(FAR, 1), (1, FAR), (3, FAR)], ids=str)
def test_column_sum(stride: tuple[int, int]) -> None:
    x = half(4, 3)
    x = half(3, 4) if stride[1] == FAR else x
    assert torch.equal(kernels.column_sum(spread(x, *stride)), kernels.column_sum(x))


def test_column_sum_over_batches() -> None:
    x = half(4, 2, 3)
    assert torch.equal(kernels.column_sum(spread(x, FAR, 3, 1)), kernels.column_sum(x))


@pytest.mark.parametrize("stride", [(FAR, 1), (1, FAR)], ids=str)
def test_cross_entropy_and_its_gradient(stride: tuple[int, int]) -> None:
    x, target = half(4, 4), torch.tensor([3, 0, 2, 3])
    loss, *kept = kernels.cross_entropy(x, target)
    far = spread(x, *stride)
    far_loss, *far_kept = kernels.cross_entropy(far, target)
    torch.testing.assert_close(far_loss, loss)
    gradient = kernels.cross_entropy_backward(torch.ones_like(loss), x, target, *kept)
    torch.testing.assert_close(kernels.cross_entropy_backward(torch.ones_like(loss), far, target, *far_kept), gradient)


def test_cross_entropy_with_far_weights() -> None:
    x, target, weight = half(4, 4), torch.tensor([3, 0, 2, 3]), torch.rand(4).half()
    loss = kernels.cross_entropy(x, target, weight, reduction="none")[0]
    far = kernels.cross_entropy(x, target, spread(weight, FAR), reduction="none")[0]
    assert torch.equal(far, loss)
