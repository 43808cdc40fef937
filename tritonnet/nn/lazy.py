"""LazyLinear and LazyConv2d: layers that find the number of their input features in the first input."""

from typing import Any

import torch
from torch import Tensor

from ..errors import ShapeError
from ..module import Module
from ..parameter import UninitializedParameter, is_lazy
from .conv2d import Conv2d
from .linear import Linear


class LazyModuleMixin(Module):
    """Makes a lazy module of one: `class LazyThing(LazyModuleMixin, Thing)`, with UninitializedParameters.

    The first call hands its arguments to `initialize_parameters`, and the module then becomes a `cls_to_become`.
    Until then it can be moved, cast, copied, saved and loaded; a state dict with shapes gives it its own.
    Parameters stay the same objects, so that an optimizer may have them before they have a shape.

    Raises: RuntimeError if `initialize_parameters` leaves a parameter without a shape.
    """

    cls_to_become: type[Module] | None = None
    _found_sizes = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self._found_sizes:
            self.initialize_parameters(*args, **kwargs)
            if self.has_uninitialized_params():
                raise RuntimeError(f"module {type(self).__name__} has not been fully initialized")
            if self.cls_to_become is not None:
                self.__class__ = self.cls_to_become  # type: ignore[assignment]
                return self(*args, **kwargs)
            self._found_sizes = True
        return super().__call__(*args, **kwargs)

    def initialize_parameters(self, *args: Any, **kwargs: Any) -> None:
        """Materialize the parameters for the arguments of a call; subclasses define it."""
        raise NotImplementedError(f"initialize_parameters is not implemented for {type(self).__name__}")

    def has_uninitialized_params(self) -> bool:
        """Whether a parameter or buffer of this module itself has no shape yet."""
        return any(is_lazy(tensor) for tensor in [*self._parameters.values(), *self._buffers.values()])


class LazyLinear(LazyModuleMixin, Linear):
    """A Linear that takes in_features from its first input, and then is one; see LazyModuleMixin.

    Args: out_features, bias, device and dtype as for Linear.
    """

    cls_to_become = Linear

    def __init__(
        self,
        out_features: int,
        bias: bool = True,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(0, 0, False)
        self.weight = UninitializedParameter(device=device, dtype=dtype)
        self.out_features = out_features
        if bias:
            self.bias = UninitializedParameter(device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        """Draw initial values anew, if there is a shape for them."""
        if not self.has_uninitialized_params() and self.in_features != 0:
            super().reset_parameters()

    def initialize_parameters(self, input: Tensor) -> None:
        if not self.has_uninitialized_params():
            self.in_features = self.weight.shape[1]
            return
        self.in_features = input.shape[-1]
        _materialize(self, (self.out_features, self.in_features))


class LazyConv2d(LazyModuleMixin, Conv2d):
    """A Conv2d that takes in_channels from its first input, and then is one; see LazyModuleMixin.

    Args: those of Conv2d but for in_channels.

    Raises: ShapeError for an input of other than 3 or 4 dimensions, or whose channels the groups do not divide.
    """

    cls_to_become = Conv2d

    def __init__(
        self,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: str | int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(0, 0, kernel_size, stride, padding, dilation, groups, False, padding_mode, device, dtype)
        self.weight = UninitializedParameter(device=device, dtype=dtype)
        self.out_channels = out_channels
        if bias:
            self.bias = UninitializedParameter(device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        """Draw initial values anew, if there is a shape for them."""
        if not self.has_uninitialized_params() and self.in_channels != 0:
            super().reset_parameters()

    def initialize_parameters(self, input: Tensor) -> None:
        if not self.has_uninitialized_params():
            self.in_channels = self.weight.shape[1] * self.groups
            return
        if input.dim() not in (3, 4):
            raise ShapeError(
                f"LazyConv2d: input is {tuple(input.shape)}; it has 3 dimensions, or 4 with those of a batch"
            )
        channels = input.shape[-3]
        if channels % self.groups:
            raise ShapeError(f"LazyConv2d: in_channels is {channels}, not divisible by groups={self.groups}")
        self.in_channels = channels
        _materialize(self, (self.out_channels, channels // self.groups, *self.kernel_size))


def _materialize(layer: LazyLinear | LazyConv2d, shape: tuple[int, ...]) -> None:
    """Shapes for those that have none (a state dict may have brought the others), then initial values for all."""
    for name, its in (("weight", shape), ("bias", shape[:1])):
        tensor = layer._parameters[name]
        if is_lazy(tensor):
            tensor.materialize(its)
    layer.reset_parameters()
