"""What of torch's databases tritonnet leaves out, by entry. Each line must be needed: cases that pass fail the test.

Nowhere asked: integer and complex tensors for floating-point functions, nested and sparse tensors, forward-mode
differentiation, torch.func, torch.compile, `out=`. test_op_db.py holds that these are refused and not computed wrongly.
"""

import torch

from tests.databases.comparing import Case, Exclusion


def drawing(case: Case) -> bool:
    """Dropout at work."""
    return case.kwargs.get("training", True) and 0 < case.kwargs.get("p", 0.5) < 1


def of_numbers(case: Case) -> bool:
    return not case.tensors()


def sloped(case: Case) -> bool:
    """A float64 input of hardsigmoid with elements on its slope."""
    x = case.args[0]
    return x.dtype == torch.float64 and bool((x.abs() < 3).any())


def of_other_modes(case: Case) -> bool:
    return case.name.endswith((".bicubic", ".area"))


def counts_nothing(case: Case) -> bool:
    """poisson_nll_loss with Stirling's term, differentiated by a target that is zero somewhere."""
    target = case.args[1]
    return bool(case.kwargs.get("full")) and target.requires_grad and bool((target == 0).any())


MODULES: dict[str, list[Exclusion]] = {}
FUNCTIONS = {
    "add": [Exclusion("two numbers, no tensor", of_numbers)],
    "mul": [Exclusion("two numbers, no tensor", of_numbers)],
    **{
        f"nn.functional.{name}": [Exclusion("other elements are dropped than torch drops", drawing, AssertionError)]
        for name in ("dropout", "dropout2d", "dropout3d")
    },
    "nn.functional.interpolate": [Exclusion("bicubic and area", of_other_modes, NotImplementedError)],
    "nn.functional.hardsigmoid": [Exclusion("torch rounds 1 / 6 to float32 in the gradient", sloped, AssertionError)],
    "nn.functional.poisson_nll_loss": [Exclusion("torch's gradient is 0 * inf", counts_nothing, AssertionError)],
}

# Calls that torch refuses.
MODULE_ERRORS: dict[str, list[Exclusion]] = {}
FUNCTION_ERRORS: dict[str, list[Exclusion]] = {}
