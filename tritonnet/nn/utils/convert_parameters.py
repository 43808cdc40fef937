"""Parameters as one vector, and back. Nothing is computed: torch copies and views."""

from collections.abc import Iterable

import torch
from torch import Tensor

from ...errors import DeviceError, DtypeError, ShapeError


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All elements of contiguous parameters one after another, in a new tensor; gradients flow back.

    Raises: DeviceError for parameters on several devices; torch's errors for none and for ones not contiguous.
    """
    return torch.cat([p.view(-1) for p in _on_one_device("parameters_to_vector", parameters)])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Lets the parameters, in turn, be slices of `vec`, whose memory they then share.

    Raises: DtypeError if vec is no tensor, DeviceError for parameters on several devices, ShapeError for a vector that
        is too short; the parameters are then as they were.
    """
    if not isinstance(vec, Tensor):
        raise DtypeError(f"vector_to_parameters: expected torch.Tensor, but got: {type(vec).__name__}")
    params = _on_one_device("vector_to_parameters", parameters)
    count = sum(p.numel() for p in params)
    if vec.numel() < count:
        raise ShapeError(f"vector_to_parameters: vec has {vec.numel()} elements; the parameters have {count}")
    start = 0
    for p in params:
        p.data = vec[start : start + p.numel()].view_as(p).data
        start += p.numel()


def _on_one_device(name: str, parameters: Iterable[Tensor]) -> list[Tensor]:
    params = list(parameters)
    for p in params:
        if p.device != params[0].device:
            raise DeviceError(f"{name}: parameters on {params[0].device} and {p.device}; a vector lies on one device")
    return params
