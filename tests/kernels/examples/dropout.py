import torch


def flat(dtype, n):
    return torch.randn(3, 700 * n).to(dtype), 0.3, torch.tensor([5]), 7


def strided(dtype, n):
    return torch.randn(65 * n, 7, 5).to(dtype)[:, 1:].transpose(0, 2), 0.3, torch.tensor(-5), 7


EXAMPLES = {"dropout": [flat, strided], "dropout_": [flat, strided]}
