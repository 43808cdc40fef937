import torch


def constant(dtype, n):
    return torch.randn(2, 3, 7 * n, 9 * n).to(dtype), (2, 1, 0, 3), "constant", 0.5


def six_axes(dtype, n):
    return torch.randn(3, 2, 3, 2, 3, 5 * n).to(dtype)[::2, :, 1:, :, 1:, 1:].transpose(1, 4), (1, 0, -1, 2)


def reflect(dtype, n):
    return torch.randn(2, 3, 7 * n, 9 * n).to(dtype), (2, 1, 0, 3), "reflect"


def replicate(dtype, n):
    return torch.randn(2, 3, 7 * n, 9 * n).to(dtype).to(memory_format=torch.channels_last), (2, 1, 0, 3), "replicate"


def circular(dtype, n):
    return torch.randn(3, 7 * n).to(dtype), (2, 1), "circular"


def _gradient(mode):
    def gradient(dtype, n):
        return torch.randn(2, 3, 7 * n, 9 * n).to(dtype), (2, 3, 7 * n - 3, 9 * n - 3), (2, 1, 0, 3), mode

    gradient.__name__ = mode
    return gradient


EXAMPLES = {
    "pad": [constant, six_axes, reflect, replicate, circular],
    "pad_backward": [_gradient(mode) for mode in ("constant", "reflect", "replicate", "circular")],
}
