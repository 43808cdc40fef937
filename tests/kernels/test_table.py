"""Tables of pointers: what they hold; strides beyond 2^31 elements, of which only a few pages are touched."""

import torch

from tritonnet.kernels import _table, clip_norm_, total_norm

FAR = 1 << 31


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


def test_clipping_over_strides_beyond_32_bits():
    x = torch.randn(4, 3).half()
    strided = torch.empty_strided((4, 3), (FAR // 2 + 8, 3), dtype=torch.float16).copy_(x)
    assert torch.equal(total_norm([strided]), total_norm([x]))
    clip_norm_([strided], total_norm([x]), 0.5)
    clip_norm_([x], total_norm([x]), 0.5)
    assert torch.equal(strided, x)
