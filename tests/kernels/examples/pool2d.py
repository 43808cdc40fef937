import torch

from . import call


def image(dtype, n):
    return torch.randn(n, 3 * n, 5 * n + 2, 7 * n + 1).to(dtype)


def last(x):
    return x.to(memory_format=torch.channels_last)


def maxima(dtype, n):
    return (image(dtype, n), 2)


def padded_maxima(dtype, n):
    return call(image(dtype, n), 3, 2, 1, index=torch.int8)


def maxima_of_channels_last(dtype, n):
    return call(last(image(dtype, n)), (3, 2), 2, 1, (1, 2), True, index=torch.int64)


def maxima_of_long_windows(dtype, n):
    return call(image(dtype, n), (7, 6), (1, 2), 3, index=torch.int32)


def long_maxima_of_channels_last(dtype, n):
    return call(last(image(dtype, n)), 6, (2, 1), 3, index=torch.int64)


def largest_pixel(dtype, n):
    return call(image(dtype, n), 1, index=torch.int32)


def adaptive_maxima(dtype, n):
    return call(image(dtype, n), (2 * n + 1, 3), index=torch.int64)


def gradient(dtype, n):
    x = image(dtype, n)
    index = torch.randint(0, 6, (n, 3 * n, (5 * n + 1) // 2, (7 * n - 1) // 2 + 1), dtype=torch.int8)
    return (torch.randn(index.shape).to(dtype), index, x.shape, (3, 2), 2)


def gradient_of_channels_last(dtype, n):
    _, index = torch.nn.functional.max_pool2d(last(image(torch.float32, n)), 3, 2, 1, return_indices=True)
    dy = last(torch.randn(index.shape).to(dtype))
    return call(dy, index, (n, 3 * n, 5 * n + 2, 7 * n + 1), 3, 2, 1, channels_last=True)


def gradient_side_by_side(dtype, n):
    index = torch.randint(0, 4, (n, 3 * n, 4 * n, 3 * n), dtype=torch.int32)
    return (torch.randn(index.shape).to(dtype), index, (n, 3 * n, 8 * n, 6 * n), 2)


def gradient_of_long_windows(dtype, n):
    _, index = torch.nn.functional.max_pool2d(image(torch.float32, n), 6, 2, 3, return_indices=True)
    return (torch.randn(index.shape).to(dtype), index, (n, 3 * n, 5 * n + 2, 7 * n + 1), 6, 2, 3)


def gradient_of_dilated_windows(dtype, n):
    index = torch.randint(0, 36, (n, 3 * n, 4 * n, 3 * n), dtype=torch.int32)
    return (torch.randn(index.shape).to(dtype), index, (n, 3 * n, 4 * n + 10, 3 * n + 10), 6, 1, 0, 2)


def adaptive_gradient(dtype, n):
    _, index = torch.nn.functional.adaptive_max_pool2d(image(torch.float32, n), (2 * n + 1, 3), return_indices=True)
    return (torch.randn(index.shape).to(dtype), index, (n, 3 * n, 5 * n + 2, 7 * n + 1))


def gradient_of_largest_pixel(dtype, n):
    index = torch.randint(0, 35 * n * n, (n, 3 * n, 1, 1), dtype=torch.int32)
    return (torch.randn(index.shape).to(dtype), index, (n, 3 * n, 5 * n, 7 * n))


def picked_taps(dtype, n):
    index = torch.randint(0, 6, (n, 3 * n, (5 * n + 1) // 2, (7 * n - 1) // 2 + 1), dtype=torch.int8)
    return (image(dtype, n), index, (3, 2), 2)


def picked_places(dtype, n):
    return (last(image(dtype, n)), torch.randint(0, 7, (n, 3 * n, 2 * n, 3)))


def means(dtype, n):
    return (image(dtype, n), 2)


def padded_means(dtype, n):
    return (image(dtype, n), 3, 2, 1, True, False)


def means_of_channels_last(dtype, n):
    return (last(image(dtype, n)), 3, 2, 1)


def means_of_long_windows(dtype, n):
    return (image(dtype, n), 7, 3, 3, False, True, 5)


def long_means_of_channels_last(dtype, n):
    return (last(image(dtype, n)), 7, 3, 3)


def whole_means(dtype, n):
    return (image(dtype, n), 1)


def adaptive_means(dtype, n):
    return (image(dtype, n), (2 * n + 1, 3))


def adaptive_means_of_channels_last(dtype, n):
    return (last(image(dtype, n)), (2 * n + 1, 3))


def means_gradient(dtype, n):
    return (torch.randn(n, 3 * n, 4 * n, 3 * n).to(dtype), (n, 3 * n, 8 * n, 6 * n), 2)


def padded_means_gradient(dtype, n):
    shape = (n, 3 * n, 10 * n - 1, 6 * n - 1)
    return call(torch.randn(n, 3 * n, 5 * n, 3 * n).to(dtype), shape, 3, 2, 1, channels_last=True)


def long_means_gradient(dtype, n):
    return (torch.randn(n, 3 * n, 3 * n, 2 * n).to(dtype), (n, 3 * n, 9 * n, 6 * n), 7, 3, 3, False, False)


def adaptive_means_gradient(dtype, n):
    return (torch.randn(n, 3 * n, 2 * n + 1, 3).to(dtype), (n, 3 * n, 5 * n + 2, 7 * n + 1))


def whole_means_gradient(dtype, n):
    return (torch.randn(n, 3 * n, 1, 1).to(dtype), (n, 3 * n, 5 * n + 2, 7 * n + 1))


def whole_means_gradient_of_channels_last(dtype, n):
    return call(torch.randn(n, 3 * n, 1, 1).to(dtype), (n, 3 * n, 5 * n + 2, 7 * n + 1), channels_last=True)


EXAMPLES = {
    "max_pool2d": [
        maxima,
        padded_maxima,
        maxima_of_channels_last,
        maxima_of_long_windows,
        long_maxima_of_channels_last,
    ],
    "adaptive_max_pool2d": [largest_pixel, adaptive_maxima],
    "max_pool2d_backward": [
        gradient,
        gradient_of_channels_last,
        gradient_side_by_side,
        gradient_of_long_windows,
        gradient_of_dilated_windows,
    ],
    "adaptive_max_pool2d_backward": [adaptive_gradient, gradient_of_largest_pixel],
    "max_pool2d_pick": [picked_taps, picked_places],
    "avg_pool2d": [
        means,
        padded_means,
        means_of_channels_last,
        means_of_long_windows,
        long_means_of_channels_last,
    ],
    "adaptive_avg_pool2d": [whole_means, adaptive_means, adaptive_means_of_channels_last],
    "avg_pool2d_backward": [means_gradient, padded_means_gradient, long_means_gradient],
    "adaptive_avg_pool2d_backward": [
        adaptive_means_gradient,
        whole_means_gradient,
        whole_means_gradient_of_channels_last,
    ],
}
