import torch

from . import call


def _image(dtype, *shape):
    return torch.randn(shape).to(dtype)


def nearest(dtype, n):
    return _image(dtype, 2, 3, 5 * n, 7 * n), (10 * n, 9 * n)


def exact(dtype, n):
    return _image(dtype, 2, 3, 9 * n), (20 * n,), "nearest-exact"


def linear(dtype, n):
    x = _image(dtype, 2, 3, 5 * n, 7 * n).to(memory_format=torch.channels_last)
    return call(x, (8 * n, 15 * n), "linear", scales=(1.6, 2.2))


def volume(dtype, n):
    return call(_image(dtype, 1, 2, 3, 4 * n, 5 * n), (5, 8 * n, 5 * n), "linear", align_corners=True)


def nearest_gradient(dtype, n):
    return _image(dtype, 2, 3, 10 * n, 9 * n), (2, 3, 5 * n, 7 * n)


def exact_gradient(dtype, n):
    return _image(dtype, 2, 3, 20 * n), (2, 3, 9 * n), "nearest-exact"


def linear_gradient(dtype, n):
    return call(_image(dtype, 2, 3, 8 * n, 15 * n), (2, 3, 5 * n, 7 * n), "linear", scales=(1.6, 2.2))


def many_readers(dtype, n):
    dy = _image(dtype, 2, 3, 24 * n, 11 * n).to(memory_format=torch.channels_last)
    return call(dy, (2, 3, 2 * n, n), "linear", align_corners=True)


EXAMPLES = {
    "interpolate": [nearest, exact, linear, volume],
    "interpolate_backward": [nearest_gradient, exact_gradient, linear_gradient, many_readers],
}
