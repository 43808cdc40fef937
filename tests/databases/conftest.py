"""torch's databases without what serves its own test classes alone."""

import pytest
from torch.testing._internal import common_utils
from torch.testing._internal.opinfo import core


@pytest.fixture(autouse=True)
def samples_without_a_search_of_the_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """For each set of samples torch looks through all frames for a TestCase, which takes longer than the test."""
    for module in (common_utils, core):
        monkeypatch.setattr(module, "extract_test_fn", lambda: None)
