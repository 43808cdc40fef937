"""Elements between channels and pixels, and channels among groups: views, and the one copy that they need."""

from torch import Tensor

from tritonnet.errors import ShapeError


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """[..., C r^2, H, W] to [..., C, H r, W r]: y[c, h r + i, w r + j] = input[c r^2 + i r + j, h, w].

    Source: Shi et al., Real-time single image and video super-resolution (2016), equation 4.

    Raises: ShapeError for fewer than three dimensions, a factor below 1, channels that r^2 does not divide.
    """
    r, shape = upscale_factor, tuple(input.shape)
    if len(shape) < 3 or r < 1 or shape[-3] % (r * r):
        raise ShapeError(f"pixel_shuffle: input is {shape}; it takes [..., C, H, W] with {r}^2 > 0 dividing C")
    *batch, channels, height, width = shape
    split = input.reshape(*batch, channels // (r * r), r, r, height, width)
    return split.movedim((-4, -3), (-3, -1)).reshape(*batch, channels // (r * r), height * r, width * r)


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """[..., C, H r, W r] to [..., C r^2, H, W]: the inverse of pixel_shuffle.

    Raises: ShapeError for fewer than three dimensions, a factor below 1, sizes that r does not divide.
    """
    r, shape = downscale_factor, tuple(input.shape)
    if len(shape) < 3 or r < 1 or shape[-2] % r or shape[-1] % r:
        raise ShapeError(f"pixel_unshuffle: input is {shape}; it takes [..., C, H, W] with {r} > 0 dividing H, W")
    *batch, channels, height, width = shape
    split = input.reshape(*batch, channels, height // r, r, width // r, r)
    return split.movedim((-3, -1), (-4, -3)).reshape(*batch, channels * r * r, height // r, width // r)


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """[N, C, ...] with channel k of group g, g C/groups + k, in place k groups + g.

    Source: Zhang et al., ShuffleNet (2018).

    Raises: ShapeError for fewer than three dimensions, groups below 1, channels that they do not divide.
    """
    shape = tuple(input.shape)
    if len(shape) < 3 or groups < 1 or shape[1] % groups:
        raise ShapeError(f"channel_shuffle: input is {shape}; it takes [N, C, ...] with {groups} > 0 dividing C")
    split = input.reshape(shape[0], groups, shape[1] // groups, *shape[2:])
    return split.transpose(1, 2).reshape(shape)
