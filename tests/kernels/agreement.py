"""Does an example agree with its reference? The question of tritonnet.testing.check, asked of one call as it stands."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from tests.kernels.examples import Call, Example, tensors
from tritonnet.testing._bounds import Exact, Results, bound, scales


def disagreement(example: Example, dtype: torch.dtype, n: int) -> str:
    """What the results, and the arguments written in place, have that the float64 reference has not; "" for nothing.

    The bound is that of `check`: derived from dtype, number of terms and condition.
    """
    given = example.make(dtype, n)
    # What the example makes of float64 says which of its tensors are of the case's dtype.
    leaves, structure = tree_flatten((given.args, given.kwargs))
    wide, _ = tree_flatten((example.make(torch.float64, n).args, given.kwargs))
    kinds = [w.dtype if isinstance(w, Tensor) else None for w in wide]
    before = [leaf.detach().cpu().clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves]

    def exact(mode: Exact) -> Results:
        with mode:
            values = [
                mode.disturb(leaf.to(kind, copy=True)) if kind is not None else leaf
                for leaf, kind in zip(before, kinds, strict=True)
            ]
            call = Call(*tree_unflatten(values, structure))
            return labelled(call.of(example.op.reference), call, mode)

    expected = exact(Exact())
    results = labelled(given.of(example.op), given)
    if results.keys() != expected.keys():
        return f"it returns {', '.join(results)}, and its reference {', '.join(expected)}"
    found = {label: wrong(got.cpu(), expected[label], None) for label, got in results.items()}
    if any(found.values()):
        for measured in scales(exact, expected, 0):
            found = {label: wrong(got.cpu(), expected[label], measured.get(label)) for label, got in results.items()}
            if not any(found.values()):
                break
    return "; ".join(f"{label}: {problem}" for label, problem in found.items() if problem)


def labelled(results: Any, call: Call, mode: Exact | None = None) -> dict[str, Tensor]:
    """Every tensor that a call returned or may have written."""
    named = {f"result {at}": value for at, value in enumerate(tensors(results))}
    named |= {f"argument {at}": value for at, value in enumerate(tensors(call.args, call.kwargs))}
    return {label: (mode.uncast(value) if mode else value.detach()) for label, value in named.items()}


def wrong(got: Tensor, want: Tensor, scale: Tensor | None) -> str:
    if got.shape != want.shape:
        return f"shape {tuple(got.shape)}, expected {tuple(want.shape)}"
    if not got.dtype.is_floating_point:
        return "" if torch.equal(got, want) else "other integers"
    off, value = (got.double() - want).abs(), got.double()
    allowed = bound(want, torch.zeros_like(want) if scale is None else scale, got.dtype)
    if want.dtype != torch.float64:
        # A reference that was told to round, and has: either side may have gone the other way.
        allowed += want.abs() * torch.finfo(want.dtype).eps
    right = (value == want) | (value.isnan() & want.isnan()) | (off <= allowed)
    right |= (want.abs() > torch.finfo(got.dtype).max) & (value == want.sign() * torch.inf)
    if right.all():
        return ""
    worst = int(torch.where(right, -1.0, torch.nan_to_num(off / allowed, nan=torch.inf)).argmax())
    got, want, off, allowed = (t.flatten()[worst].item() for t in (got, want, off, allowed))
    return (
        f"{int((~right).sum())} of {right.numel()} are wrong: got {got}, expected {want}, off {off}, allowed {allowed}"
    )
