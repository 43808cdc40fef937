"""The base of every operation's autograd Function."""

from typing import Any

import torch
from torch.autograd.function import _SingleLevelFunction

from tritonnet.errors import BackwardError, TransformError
from tritonnet.kernels import never_compiled


class _Opaque(type(_SingleLevelFunction)):  # type: ignore[misc]
    """torch.compile traces into classes of torch's metaclass alone, past `apply`; this one makes it ask `apply`."""


class Function(_SingleLevelFunction, metaclass=_Opaque):  # type: ignore[misc]
    """torch.autograd.Function as autograd itself sees it, without what torch adds for torch.func and torch.compile.

    torch.compile passes over it, so that an operation is one graph break.
    """

    @classmethod
    @never_compiled
    def apply(cls, *args: Any) -> Any:
        """Run `forward` and record it for `backward`. Raises: TransformError under a transform of torch.func."""
        if torch._C._are_functorch_transforms_active():
            raise TransformError(cls.__name__.strip("_"))
        return super().apply(*args)

    @staticmethod
    def jvp(ctx: Any, *_: Any) -> Any:
        raise BackwardError(
            f"{type(ctx).__name__.strip('_').removesuffix('Backward')}: derivatives in forward mode are not offered; "
            "torch.autograd.grad and backward() find them in reverse"
        )
