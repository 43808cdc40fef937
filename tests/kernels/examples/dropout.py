import torch


def flat(dtype, n):
    return torch.randn(3, 700 * n).to(dtype), 0.3, torch.tensor([5]), 7


def strided(dtype, n):
    return torch.randn(65 * n, 7, 5).to(dtype)[:, 1:].transpose(0, 2), 0.3, torch.tensor(-5), 7


def channels(dtype, n):
    return torch.randn(3 * n, 5, 4, 7 * n).to(dtype), 0.3, torch.tensor([5]), 7


def channels_last(dtype, n):
    return torch.randn(2, 9 * n, 4 * n, 7).to(dtype).to(memory_format=torch.channels_last), 0.3, torch.tensor([5]), 7


EXAMPLES = {
    "channel_dropout": [channels, channels_last],
    "channel_dropout_": [channels, channels_last],
    "dropout": [flat, strided],
    "dropout_": [flat, strided],
}
