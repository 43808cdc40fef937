"""What several kernels use."""

import pytest

from tritonnet.kernels._tile import fitting


@pytest.mark.parametrize(("kind", "blocks"), [("gpu", [1, 1, 2, 4, 16, 64]), ("cpu", [1, 1, 4, 4, 16, 64])])
def test_blocks_hold_what_there_is_up_to_a_limit(kind, blocks):
    assert [fitting(n, 64, kind) for n in (0, 1, 2, 3, 9, 1000)] == blocks
    assert fitting(1000, 128, kind) == 128 and fitting(3, 2, kind) == 2


def test_a_cpu_takes_fewer_blocks():
    assert [len({fitting(n, 1024, kind) for n in range(2000)}) for kind in ("gpu", "cpu")] == [11, 6]
