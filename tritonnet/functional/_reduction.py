"""How losses spell their reduction."""

import warnings


def legacy_reduction(size_average: bool | None, reduce: bool | None) -> str:
    """The reduction that its old spelling, of which at least one is given, stands for; with a DeprecationWarning."""
    if reduce is not None and not reduce:
        reduction = "none"
    else:
        reduction = "mean" if size_average is None or size_average else "sum"
    message = f"size_average and reduce are deprecated; use reduction={reduction!r}"
    warnings.warn(message, DeprecationWarning, stacklevel=3)
    return reduction
