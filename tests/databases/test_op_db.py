"""Every function of torch's operator database that tritonnet.functional offers, beside torch's own."""

import functools
import itertools
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pytest

pytest.importorskip("expecttest")

import torch
from torch import Tensor
from torch.autograd import forward_ad

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_methods_invocations import op_db

from torch.testing._internal.common_utils import noncontiguous_like
from torch.testing._internal.opinfo.core import BinaryUfuncInfo, UnaryUfuncInfo
from torch.utils._pytree import tree_leaves

from tests.databases.comparing import Case, check, chosen, compare, copied, run, tolerance_of, wide
from tests.databases.exclusions import FUNCTION_ERRORS, FUNCTIONS
from tests.test_dispatch import ALLOCATIONS, VIEWS, Listing
from tritonnet import functional as F
from tritonnet import kernels
from tritonnet.errors import BackwardError


def name_of(entry: Any) -> str:
    return entry.name.removeprefix("nn.functional.")


def id_of(entry: Any) -> str:
    return f"{entry.name}.{entry.variant_test_name}".rstrip(".")


# Warnings of torch.s are no matter here.
pytestmark = pytest.mark.filterwarnings("ignore")

ENTRIES = [entry for entry in op_db if name_of(entry) in F.__all__ and "complex" not in entry.variant_test_name]
# What else torch may do with floating-point tensors: further views, copies, and a view's gradient put in its place.
PLACES = {"_unsafe_view", "clone", "copy_", "select_backward", "slice_backward", "squeeze", "unsqueeze"}
DTYPES = [torch.float64, torch.float32, torch.bfloat16]


class Ours:
    """An entry's call with tritonnet's function in the place of torch's."""

    def __init__(self, entry: Any) -> None:
        self.entry, self.name = entry, name_of(entry)
        self.home = torch.nn.functional if entry.name.startswith("nn.functional.") else torch
        self.torchs = getattr(self.home, self.name)
        self.calls = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._replaced(self.entry.op)(*args, **kwargs)

    def _replaced(self, op: Any) -> Callable[..., Any]:
        ours: Callable[..., Any] = getattr(F, self.name)
        if op is self.torchs:
            return ours
        if isinstance(op, functools.partial):
            return partial(self._replaced(op.func), *op.args, **op.keywords)
        return partial(self._looked_up, op)

    def _looked_up(self, op: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """For a wrapper that looks torch's function up when it is called."""

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            return getattr(F, self.name)(*args, **kwargs)

        before = self.calls
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.home, self.name, counted)
            result = op(*args, **kwargs)
        assert self.calls > before, f"{self.entry.name}: the entry does not call the function by its name"
        return result


def case_of(entry: Any, sample: Any) -> Case:
    return Case(id_of(entry), (sample.input, *sample.args), sample.kwargs)


def cases(entry: Any, dtype: torch.dtype) -> list[Case]:
    """In float64 as many as differ in a setting, six at most; two in float32, else one."""
    torch.manual_seed(1)
    requires_grad = entry.supports_autograd and dtype in entry.supported_backward_dtypes("cpu")
    samples = entry.sample_inputs("cpu", dtype, requires_grad=requires_grad)
    found = (case_of(entry, sample) for sample in samples)
    return chosen(found, {torch.float64: 6, torch.float32: 2}.get(dtype, 1))


def beside(entry: Any, case: Case, twice: bool = False, **how: Any) -> None:
    """Compares outputs and gradients; gradients of gradients (twice) where tritonnet has them.

    layout: how tritonnet is given inputs and gradients; torch, which refuses some layouts, has them as they are.
    """
    ours = Ours(entry)
    try:
        found = run(ours, case, twice=twice, **how)
    except BackwardError:
        if not twice:
            raise
        found, twice = run(ours, case, **how), False
    expected = run(entry.op, case, twice=twice)
    exact = partial(run, entry.op, case.mapped(wide), twice=twice)
    compare(case, found, expected, exact, tolerance_of(entry))


def each(entry: Any, cases: Iterable[Case], **how: Any) -> int:
    count = 0
    for case in cases:
        check(case, FUNCTIONS.get(entry.name, []), partial(beside, entry, case, **how))
        count += 1
    return count


TAKEN = [(entry, dtype) for entry in ENTRIES for dtype in DTYPES if dtype in entry.supported_dtypes("cpu")]
FLOATING = [entry for entry, dtype in TAKEN if dtype == torch.float32]


@pytest.mark.parametrize("entry, dtype", TAKEN, ids=lambda value: id_of(value) if hasattr(value, "op") else str(value))
def test_outputs_and_gradients(entry, dtype):
    assert each(entry, cases(entry, dtype), twice=dtype == torch.float64 and entry.supports_gradgrad)


@pytest.mark.parametrize("entry", FLOATING, ids=id_of)
def test_any_layout_of_inputs_and_gradients(entry):
    each(entry, cases(entry, torch.float32), layout=noncontiguous_like)


POINTWISE = [entry for entry in ENTRIES if isinstance(entry, UnaryUfuncInfo | BinaryUfuncInfo)]


@pytest.mark.parametrize("entry", POINTWISE, ids=id_of)
def test_reference_inputs(entry):
    """Of pointwise functions: large, small and extremal values, sizes, strides."""
    torch.manual_seed(1)
    samples = entry.reference_inputs("cpu", torch.float32, requires_grad=False)
    assert each(entry, chosen(case_of(entry, sample) for sample in samples))


ERRORS = [entry for entry in ENTRIES if entry.error_inputs_func is not None]


@pytest.mark.parametrize("entry", ERRORS, ids=id_of)
def test_errors_are_of_torchs_classes(entry):
    for each in entry.error_inputs("cpu"):
        case = case_of(entry, each.sample_input)
        check(case, FUNCTION_ERRORS.get(entry.name, []), partial(refuses, entry, case, each.error_type))


def refuses(entry: Any, case: Case, error: type[Exception]) -> None:
    with pytest.raises(error):
        Ours(entry)(*case.args, **case.kwargs)


def forward_mode(call: Callable[..., Any], case: Case) -> Any:
    """The derivative along ones."""
    x, *rest = case.args
    with forward_ad.dual_level():
        y = call(forward_ad.make_dual(x.detach(), torch.ones_like(x)), *rest, **case.kwargs)
        return forward_ad.unpack_dual(y).tangent


def transformed(call: Callable[..., Any], case: Case) -> Any:
    """The gradient by torch.func."""
    x, *rest = case.args
    return torch.func.grad(lambda x: call(x, *rest, **case.kwargs).sum())(x.detach())


def mapped(call: Callable[..., Any], case: Case) -> Any:
    """Two calls as one by torch.func."""
    x, *rest = case.args
    return torch.func.vmap(lambda x: call(x, *rest, **case.kwargs))(torch.stack([x, 2 * x]).detach())


@pytest.mark.parametrize("entry", ENTRIES, ids=id_of)
def test_what_is_not_offered_is_refused_or_right(entry):
    """Integers, complex numbers, forward-mode differentiation, torch.func: RuntimeError, TypeError or torch's value."""

    def refused_or_right(case: Case, way: Callable[[Callable[..., Any], Case], Any]) -> None:
        try:
            found = way(Ours(entry), case)
        except (RuntimeError, TypeError):
            return
        expected = way(entry.op, case)
        torch.testing.assert_close(found, expected, msg=lambda text: f"{way.__name__}, {case}: {text}")

    def plainly(call: Callable[..., Any], case: Case) -> Any:
        return call(*case.mapped(copied).args, **case.kwargs)

    for dtype in {torch.int64, torch.bool, torch.complex64} & set(entry.supported_dtypes("cpu")):
        for sample in itertools.islice(entry.sample_inputs("cpu", dtype, requires_grad=False), 2):
            refused_or_right(case_of(entry, sample), plainly)
    if entry in FLOATING:
        for way in (forward_mode, transformed, mapped):
            refused_or_right(cases(entry, torch.float32)[0], way)


@pytest.mark.parametrize("entry", FLOATING, ids=id_of)
def test_arithmetic_is_tritonnets(entry):
    """Forward and backward leave views, memory, copies and integers to torch."""
    if kernels.path(torch.device("cpu"))[0] != "Triton on the CPU":
        pytest.skip("no C compiler: the references are torch's own operations")
    for case in cases(entry, torch.float32):
        if not any(exclusion.when(case) for exclusion in FUNCTIONS.get(entry.name, [])):
            computes_by_itself(entry, case)


def computes_by_itself(entry: Any, case: Case) -> None:
    args, kwargs = case.mapped(copied).args, case.mapped(copied).kwargs
    with Listing() as listing:
        outputs = [y for y in tree_leaves(Ours(entry)(*args, **kwargs)) if isinstance(y, Tensor)]
    ends = [y for y in outputs if y.requires_grad]
    leaves = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor) and x.requires_grad]
    starts = [torch.ones_like(y) for y in ends]
    if ends:
        with listing:
            torch.autograd.grad(ends, leaves, starts, allow_unused=True)
    computed = set(listing.floats) - VIEWS - ALLOCATIONS - PLACES
    assert not computed, f"{case}: torch's {computed}"
