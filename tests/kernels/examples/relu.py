import torch


def flat(dtype, n):
    return (torch.randn(3, 700 * n).to(dtype),)


def strided(dtype, n):
    """A view of four dimensions that do not merge."""
    return (torch.randn(3, 5, 7, 22 * n).to(dtype)[:, :4, 1:, ::2].transpose(0, 1),)


def gradient(dtype, n):
    return (*flat(dtype, n), torch.randn(3, 700 * n).to(dtype).relu())


def strided_gradient(dtype, n):
    dy = torch.randn(33 * n, 65).to(dtype).t()
    return dy, torch.randn(65, 33 * n).to(dtype).relu()


EXAMPLES = {"relu": [flat, strided], "relu_": [flat, strided], "relu_backward": [gradient, strided_gradient]}
