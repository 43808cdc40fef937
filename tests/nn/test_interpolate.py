import pytest
import torch


@pytest.mark.parametrize(
    "name, options",
    [
        ("Upsample", {"scale_factor": 2}),
        ("Upsample", {"size": (5, 9), "mode": "bilinear", "align_corners": True}),
        ("Upsample", {"scale_factor": (1.5, 0.5), "mode": "bilinear", "recompute_scale_factor": True}),
        ("UpsamplingNearest2d", {"size": 7}),
        ("UpsamplingBilinear2d", {"scale_factor": (2, 3)}),
    ],
    ids=str,
)
def test_is_torchs(twins, agree, name, options):
    ours, theirs = twins(name, **options)
    for attribute in ("name", "size", "scale_factor", "mode", "align_corners", "recompute_scale_factor"):
        assert getattr(ours, attribute) == getattr(theirs, attribute)
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64)
    agree(ours, theirs, x)
    agree(ours, theirs, x.to(memory_format=torch.channels_last))
