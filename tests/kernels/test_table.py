"""Tables of pointers: what they hold, and chunks beyond 2^31 elements, of which alone a page is ever touched."""

from dataclasses import replace

import torch

from tritonnet.kernels import _table, adam, clip_norm_, clip_value_, sgd, total_norm
from tritonnet.kernels.adam import adam_table
from tritonnet.kernels.clip import clip_table
from tritonnet.kernels.sgd import sgd_table

FAR = 1 << 31
BLOCK = 8192
LEFT = 100


def test_integers():
    rows = [[1, -2, 1 << 62], (True, False, 3), map(int, [7, 8, 9])]
    assert _table.integers(rows).tolist() == [[1, -2, 1 << 62], [1, 0, 3], [7, 8, 9]]
    assert _table.integers([[], []]).shape == (2, 0)


def test_chunks():
    assert _table.chunks_of([3, 0, 8, 9], 4).tolist() == [[0, 0], [2, 0], [2, 1], [3, 0], [3, 1], [3, 2]]
    assert _table.chunks_of([0], 4).shape == (0, 2)


def test_addresses_are_0_for_none_alone():
    x = torch.ones(2)
    assert _table.addresses([x, None, torch.ones(0)]) == [x.data_ptr(), 0, 16]


def test_same_order_and_gaps():
    x = torch.randn(2, 3, 4, 5)
    assert _table.same_order(x, torch.empty_like(x)) and _table.same_order(x[:1], x.permute(0, 1, 2, 3)[:1])
    assert not _table.same_order(x, x.to(memory_format=torch.channels_last))
    assert not _table.same_order(x, x[:1])
    assert _table.same_order(torch.ones(4, 1), torch.ones(1, 4).t())
    for dense in (x, x.to(memory_format=torch.channels_last), x.permute(3, 1, 0, 2), torch.ones(()), torch.ones(0, 3)):
        assert _table.without_gaps(dense)
    for gaps in (x[:, ::2], x[..., :4], torch.ones(3).expand(2, 3)):
        assert not _table.without_gaps(gaps)


def far(count):
    """`count` float16 tensors past 2^31 elements long, side by side in memory whose pages do not exist yet."""
    memory = torch.empty(FAR + (count + 1) * BLOCK, dtype=torch.float16)
    return [memory[at * BLOCK :][: FAR + LEFT] for at in range(count)]


def last_chunk(table):
    """The table with the last of its chunks alone, the one that lies past 2^31 elements."""
    assert table.chunks[-1].tolist() == [0, FAR // BLOCK]
    return replace(table, chunks=table.chunks[-1:])


def near_and_far(count):
    """Tensors of the elements beyond 2^31, and the far ones that hold the same there."""
    near, tensors = [torch.rand(LEFT).half() for _ in range(count)], far(count)
    for tensor, values in zip(tensors, near, strict=True):
        tensor[FAR:] = values
    return near, tensors


def assert_agree(near, tensors):
    for values, tensor in zip(near, tensors, strict=True):
        assert torch.equal(tensor[FAR:], values)


def test_a_step_of_sgd_beyond_32_bits():
    near, tensors = near_and_far(3)
    hyper = torch.tensor([[0.1, 0.9, 0.5, 0.1]], dtype=torch.float64)
    sgd(*([t] for t in near), hyper)
    columns = [[t] for t in tensors]
    sgd(*columns, hyper, table=last_chunk(sgd_table(*columns, [0], [False])))
    assert_agree(near, tensors)


def test_a_step_of_adam_beyond_32_bits():
    near, tensors = near_and_far(5)
    hyper = torch.tensor([[0.1, 0.9, 0.99, 1e-3, 0.1]], dtype=torch.float64)
    adam(*([t] for t in near), [torch.zeros(())], hyper)
    columns = [[t] for t in (*tensors, torch.zeros(()))]
    adam(*columns, hyper, table=last_chunk(adam_table(*columns, [0])))
    assert_agree(near, tensors)


def test_clipping_beyond_32_bits():
    near, tensors = near_and_far(1)
    table = last_chunk(clip_table(tensors))
    norm = total_norm(near)
    assert torch.equal(total_norm(tensors, table=table), norm)
    clip_norm_(near, norm, 0.5)
    clip_norm_(tensors, norm, 0.5, table=table)
    assert_agree(near, tensors)
    clip_value_(near, 0.01)
    clip_value_(tensors, 0.01, table=table)
    assert_agree(near, tensors)


def test_clipping_over_strides_beyond_32_bits():
    x = torch.randn(4, 3).half()
    strided = torch.empty_strided((4, 3), (FAR // 2 + 8, 3), dtype=torch.float16).copy_(x)
    assert torch.equal(total_norm([strided]), total_norm([x]))
    clip_norm_([strided], total_norm([x]), 0.5)
    clip_norm_([x], total_norm([x]), 0.5)
    assert torch.equal(strided, x)
