import pytest
import torch

from tritonnet import nn


def test_is_torchs_but_for_the_mask(twins, agree):
    ours, theirs = twins("Dropout", 0.3)
    assert repr(twins("Dropout")[0]) == "Dropout(p=0.5, inplace=False)"
    agree(ours.eval(), theirs.eval(), torch.randn(3, 5, dtype=torch.float64))


def test_drops_while_training():
    layer, x = nn.Dropout(0.25), torch.ones(10_000)
    y = layer(x)
    kept = (y != 0).float().mean().item()
    assert 0.72 < kept < 0.78  # 6 standard deviations either way
    torch.testing.assert_close(y[y != 0], torch.full((int(y.count_nonzero()),), 1 / 0.75))
    torch.manual_seed(1)
    first = layer(x)
    torch.manual_seed(1)
    assert torch.equal(layer(x), first)


def test_in_place():
    x = torch.ones(100)
    assert nn.Dropout(0.5, inplace=True)(x) is x and (x == 0).any()


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_p_is_a_probability(p):
    with pytest.raises(ValueError, match="Dropout: p is "):
        nn.Dropout(p)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_of_channels(twins, agree, dims):
    x = torch.randn(20, 30, *[2] * dims, dtype=torch.float64)
    ours, theirs = twins(f"Dropout{dims}d", 0.3)
    agree(ours.eval(), theirs.eval(), x)
    flat = (ours.train()(x) != 0).reshape(600, -1)
    assert torch.equal(flat.all(1), flat.any(1)) and 0.6 < flat.all(1).double().mean() < 0.8
    assert getattr(nn, f"Dropout{dims}d")(inplace=True)(x) is x
    with pytest.raises(ValueError, match=f"Dropout{dims}d: p is 2; it is a probability"):
        twins(f"Dropout{dims}d", 2)
