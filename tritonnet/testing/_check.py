"""check: a function against its float64 reference, over sizes, dtypes, layouts, gradients, repeats."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf, prod
from typing import Any

import torch
from torch import Tensor

from ._bounds import Exact, Results, bound, scales
from ._cases import Case, Dimension, Input, cases, labelled, make, tensors
from ._memory import LAYOUTS, Placed, Poison, bits, sentinel

_REPORTED = 4
_AFTERWARDS = "after the call, "
_GRADIENT = "gradient of "


def check(
    fn: Callable[..., Any],
    reference: Callable[..., Any],
    inputs: Mapping[str, Input],
    *,
    dims: Mapping[str, Dimension],
    dtypes: Sequence[torch.dtype] = (torch.float32, torch.float16, torch.bfloat16, torch.float64),
    grad: Sequence[str] | None = None,
    hyper: Sequence[dict[str, Any]] = (),
    seeds: Sequence[int] = (0,),
    device: str | torch.device | None = None,
    inplace: Sequence[str] | None = None,
    layouts: Sequence[str] = LAYOUTS,
    input_roundoff: float = 0.0,
) -> list[str]:
    """Fails unless `fn` computes what `reference` does in float64, within a derived bound, and touches nothing else.

    Both are called with the inputs in order, positionally, and with the keywords of one entry of `hyper`. The reference
    gets the very same values as float64 tensors on the CPU. What is compared: every result, every input written in
    place, every gradient. `tritonnet.testing._bounds` derives the bound from dtype, number of terms and condition.
    Shapes must be the reference's, and dtypes those that it gives for the inputs in their own dtypes.

    The cases go axis by axis: each dimension through its sizes while the others keep their base (the smallest size
    above 1), then all at their largest; each entry of `hyper`; each mixture of layouts, of inputs and incoming
    gradients; each gradient alone. In every case: memory from torch.empty holds sentinels; bands before and after every
    tensor, and inputs that are not written in place, must stay as they were; a second call (at the base and at the
    largest sizes also one on another number of threads) must give the same bits.

    Args:
        inputs: name to dimensions, `{"x": ("B", "N")}`, for normal random values; or a factory `(sizes, generator) ->
            value`, where the value is a tensor, a list of tensors, or anything else, handed on. Float64 tensors from a
            factory are rounded to the dtype of the case; other dtypes are kept.
        dims: name to sizes, or to a function of the sizes chosen before it, `{"H": [3, 8], "P": lambda s: s["H"] - 2}`.
        grad: names of the inputs whose gradients are compared, for random incoming gradients.
        hyper: keyword arguments; each dictionary is tried at the base. All other cases are called without any.
        device: "cuda" where there is one, else "cpu".
        inplace: names of the inputs that fn writes; what `fn.inplace` says if not given.
        layouts: those that fn takes, of `tritonnet.testing.LAYOUTS`.
        input_roundoff: a relative rounding of the inputs that fn may do, as the 2**-11 of TF32.

    Returns: the names of the cases.
    Raises: AssertionError that names the cases, the worst element, and a line of Python that repeats it.
    """
    subject = _Subject(
        fn=fn,
        reference=reference,
        inputs=inputs,
        dims=dims,
        inplace=tuple(getattr(fn, "inplace", ()) if inplace is None else inplace),
        device=torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu")),
        input_roundoff=input_roundoff,
    )
    names: list[str] = []
    failures: list[str] = []
    cause: Exception | None = None
    for case in cases(dims, dtypes, tuple(grad or ()), hyper, seeds, layouts):
        names.append(str(case))
        try:
            problems = subject.problems(case)
        except Exception as error:
            problems = [f"raised {type(error).__name__}: {error}"]
            cause = cause or error
        if problems:
            failures.append("\n    ".join([str(case), *problems, "repeat: " + subject.line(case)]))
            if len(failures) == _REPORTED:
                break
    if failures:
        head = f"check({_name(fn)}): {len(failures)} of the first {len(names)} cases failed"
        raise AssertionError("\n  ".join([head, *failures])) from cause
    return names


@dataclass(frozen=True)
class _Subject:
    """What is checked, and how one case of it runs."""

    fn: Callable[..., Any]
    reference: Callable[..., Any]
    inputs: Mapping[str, Input]
    dims: Mapping[str, Dimension]
    inplace: tuple[str, ...]
    device: torch.device
    input_roundoff: float

    def problems(self, case: Case) -> list[str]:
        """What is wrong in one case, a line each."""
        placed: dict[str, Placed] = {}
        given = {name: self._place(name, at, case, placed) for at, name in enumerate(self.inputs)}
        dtypes = self._dtypes(given, case)
        incoming: dict[str, Placed] = {}

        def arrive(results: dict[str, Tensor]) -> list[Tensor]:
            for at, (label, result) in enumerate(results.items()):
                if label not in incoming:
                    values = torch.randn(result.shape, generator=_generator(case, 1000 + at), dtype=torch.float64)
                    layout = case.layout(len(self.inputs) + at)
                    incoming[label] = Placed(values.to(dtypes[label]), layout, self.device)
            return [_upcast(incoming[label].tensor).to(result.dtype) for label, result in results.items()]

        def exact(mode: Exact) -> Results:
            with mode:
                values = {name: tensors(lambda v: mode.disturb(_upcast(v)), value) for name, value in given.items()}
                return self._outcome(
                    self.reference, values, case, lambda roots: [mode.disturb(g) for g in arrive(roots)], mode.uncast
                )

        def call() -> tuple[Results, list[str]]:
            return self._call(given, placed, incoming, case)

        with _threads(1):
            expected = exact(Exact())
        first, found = call()
        pairs: dict[str, tuple[Tensor, Tensor]] = {}
        for label in {**expected, **first}:
            got, want = first.get(label), expected.get(label)
            if label not in expected or label not in first:
                found.append(f"{label}: only {'fn' if label in first else 'the reference'} returns it")
            elif got is not None:
                pairs[label] = got, torch.zeros(got.shape, dtype=torch.float64) if want is None else want
            elif want is not None:
                found.append(f"{label}: None, expected a tensor of shape {tuple(want.shape)}")

        def wrong(measured: dict[str, Tensor]) -> list[str]:
            compared = (
                self._mismatch(label, *pair, measured.get(label), dtypes[label]) for label, pair in pairs.items()
            )
            return [problem for problem in compared if problem]

        mismatches = wrong({})
        if mismatches:
            with _threads(1):
                for measured in scales(exact, expected, case.seed):
                    mismatches = wrong(measured)
                    if not mismatches:
                        break
        found += mismatches
        if not found:
            found += _differing("a second call", first, *call())
        if not found and case.threads and self.device.type == "cpu":
            count = 2 if torch.get_num_threads() == 1 else 1
            with _threads(count):
                found += _differing(f"a call on {count} thread{'s' * (count > 1)}", first, *call())
        return found

    def line(self, case: Case) -> str:
        """Python that runs the case again, among few others."""
        inputs = ", ".join(f"{n!r}: {f'inputs[{n!r}]' if callable(v) else repr(v)}" for n, v in self.inputs.items())
        dims = ", ".join(f"{n!r}: {f'dims[{n!r}]' if callable(v) else [case.sizes[n]]}" for n, v in self.dims.items())
        more = f", grad={list(case.grad)!r}" if case.grad else ""
        more += f", hyper=[{case.hyper!r}]" if case.hyper else ""
        more += f", seeds=[{case.seed}]" if case.seed else ""
        named = ", ".join(map(_name, (self.fn, self.reference)))
        return f"check({named}, {{{inputs}}}, dims={{{dims}}}, dtypes=[{case.dtype}]{more})"

    def _place(self, name: str, at: int, case: Case, placed: dict[str, Placed]) -> Any:
        """The value of one input, its tensors in guarded memory; these are entered in `placed` by label."""
        value = make(self.inputs[name], case.sizes, case.dtype, _generator(case, at))
        layout = case.layout(at)
        if name in self.inplace and layout in ("expanded", "constant"):
            layout = "contiguous"
        labels = iter(labelled(name, value))

        def place(values: Tensor) -> Tensor:
            one = placed[next(labels)] = Placed(values, layout, self.device)
            return one.tensor

        return tensors(place, value)

    def _dtypes(self, given: dict[str, Any], case: Case) -> dict[str, torch.dtype]:
        """The dtype of everything that is compared: as the reference gives it for inputs in their own dtypes."""
        values = {name: tensors(lambda v: v.detach().cpu().clone(), value) for name, value in given.items()}
        results = self.reference(*values.values(), **case.hyper)
        found = {label: result.dtype for label, result in labelled("result", results).items()}
        for name, value in given.items():
            for label, tensor in labelled(name, value).items():
                found[_AFTERWARDS + label] = found[_GRADIENT + label] = tensor.dtype
        return found

    def _outcome(
        self,
        function: Callable[..., Any],
        values: dict[str, Any],
        case: Case,
        arrive: Callable[[dict[str, Tensor]], list[Tensor]],
        value_of: Callable[[Tensor], Tensor] = Tensor.detach,
    ) -> Results:
        """Everything that is compared, by label: results, inputs written in place, gradients."""
        wanted = {_GRADIENT + label: leaf for name in case.grad for label, leaf in labelled(name, values[name]).items()}
        for leaf in wanted.values():
            leaf.requires_grad_()
        results = labelled("result", function(*values.values(), **case.hyper))
        outcome: Results = {label: value_of(result) for label, result in results.items()}
        for name in self.inplace:
            outcome |= {_AFTERWARDS + label: leaf.detach() for label, leaf in labelled(name, values[name]).items()}
        if wanted:
            roots = {label: result for label, result in results.items() if result.requires_grad}
            leaves = list(wanted.values())
            gradients = [None] * len(leaves)
            if roots:
                gradients = torch.autograd.grad(list(roots.values()), leaves, arrive(roots), allow_unused=True)
            outcome |= dict(zip(wanted, gradients, strict=True))
            for leaf in leaves:
                leaf.requires_grad_(False)
        return outcome

    def _call(
        self, given: dict[str, Any], placed: dict[str, Placed], incoming: dict[str, Placed], case: Case
    ) -> tuple[Results, list[str]]:
        """fn once in poisoned memory, and what it wrote that was not its own; inputs are as before afterwards."""

        def arrive(roots: dict[str, Tensor]) -> list[Tensor]:
            if roots.keys() != incoming.keys():
                raise ValueError(f"gradients flow from {', '.join(roots)}, in the reference from {', '.join(incoming)}")
            return [one.tensor for one in incoming.values()]

        versions = {label: one.tensor._version for label, one in placed.items()}
        with Poison() as poison:
            outcome = self._outcome(self.fn, given, case, arrive)
        outcome = {label: None if value is None else value.clone() for label, value in outcome.items()}
        found = [damage] if (damage := poison.broken_guard()) else []
        written = {label for name in self.inplace for label in labelled(name, given[name])}
        for label, one in placed.items():
            if label in written and one.tensor.numel() and one.tensor._version == versions[label]:
                found.append(f"{label}: written in place, but its version counter stands still")
            if damage := one.damage(written=label in written):
                found.append(f"input {label}: {damage}")
        for label, one in incoming.items():
            if damage := one.damage(written=False):
                found.append(f"incoming gradient of {label}: {damage}")
        return outcome, found

    def _mismatch(self, label: str, got: Tensor, want: Tensor, scale: Tensor | None, dtype: torch.dtype) -> str:
        """What is wrong with one result; without a scale, nothing but the rounding of the result is allowed."""
        if got.shape != want.shape:
            return f"{label}: shape {tuple(got.shape)}, expected {tuple(want.shape)}"
        if got.dtype != dtype:
            return f"{label}: {got.dtype}, expected {dtype}"
        if got.device.type != self.device.type:
            return f"{label}: on {got.device}, expected {self.device}"
        got = got.cpu().flatten()
        want, shape = want.flatten(), want.shape
        allowed = torch.zeros(want.shape, dtype=torch.float64)
        value = got.double()
        right = (value == want) | (value.isnan() & want.isnan())
        if dtype.is_floating_point:
            allowed = bound(want, allowed if scale is None else scale.flatten(), dtype, self.input_roundoff)
            right |= (value - want).abs() <= allowed
            right |= (want.abs() > torch.finfo(dtype).max) & (value == want.sign() * inf)
        if right.all():
            return ""
        off = (value - want.double()).abs()
        badness = torch.nan_to_num(off, nan=inf) / allowed.clamp_min(torch.finfo(torch.float64).smallest_normal)
        worst = int(torch.where(right, -1.0, badness).argmax())
        at = [worst // prod(shape[d + 1 :]) % shape[d] for d in range(len(shape))]
        origin = " from memory that was never written" if int(bits(got[worst])) == sentinel(dtype) else ""
        return (
            f"{label}: {int((~right).sum())} of {want.numel()} elements are wrong, the worst at {at}: "
            f"got {got[worst].item()!r}{origin}, expected {want[worst].item()!r}, "
            f"off by {off[worst].item():.3g}, allowed {allowed[worst].item():.3g}"
        )


def _upcast(value: Tensor) -> Tensor:
    """A contiguous copy on the CPU, in float64 where it is floating-point."""
    value = value.detach().cpu()
    dtype = torch.float64 if value.is_floating_point() else value.dtype
    return value.to(dtype, copy=True, memory_format=torch.contiguous_format)


def _differing(which: str, first: Results, second: Results, found: list[str]) -> list[str]:
    """What differs in any bit between two calls, after what the second was found to do."""
    for label, one in first.items():
        other = second.get(label)
        if one is None and other is None:
            continue
        if one is None or other is None or not torch.equal(bits(one), bits(other)):
            found.append(f"{label}: {which} gives other bits")
    return found


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _generator(case: Case, at: int) -> torch.Generator:
    return torch.Generator().manual_seed(case.seed * 10_000 + at)


def _name(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__name__", function))
