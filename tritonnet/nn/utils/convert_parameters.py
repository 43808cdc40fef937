"""Parameters as one vector, and back. Nothing is computed: torch copies and views."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from ...errors import DeviceError, DtypeError


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All elements of contiguous parameters one after another, in a new tensor; gradients flow back.

    Raises: DeviceError for parameters on several devices; torch's errors for none and for ones not contiguous.
    """
    return torch.cat([p.view(-1) for p in _on_one_device(parameters)])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Lets the parameters, in turn, be slices of `vec`, whose memory they then share.

    Raises: DtypeError if vec is no tensor, DeviceError for parameters on several devices; torch's error for a vector
        that is too short.
    """
    if not isinstance(vec, Tensor):
        raise DtypeError(f"vector_to_parameters: expected torch.Tensor, but got: {type(vec).__name__}")
    start = 0
    for p in _on_one_device(parameters):
        p.data = vec[start : start + p.numel()].view_as(p).data
        start += p.numel()


def _on_one_device(parameters: Iterable[Tensor]) -> Iterator[Tensor]:
    first = None
    for p in parameters:
        first = first or p.device
        if p.device != first:
            raise DeviceError(f"parameters on {first} and {p.device}; a vector lies on one device")
        yield p
