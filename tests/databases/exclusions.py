"""What of torch's databases tritonnet leaves out, by entry. Each line must be needed: cases that pass fail the test.

Nowhere asked: integer and complex tensors for floating-point functions, nested and sparse tensors, forward-mode
differentiation, torch.func, torch.compile, `out=`. test_op_db.py holds that these are refused and not computed wrongly.
"""

from tests.databases.comparing import Case, Exclusion


def drawing(case: Case) -> bool:
    """Dropout at work."""
    return case.kwargs.get("training", True) and 0 < case.kwargs.get("p", 0.5) < 1


MODULES: dict[str, list[Exclusion]] = {}
FUNCTIONS = {
    "nn.functional.dropout": [Exclusion("other elements are dropped than torch drops", drawing, AssertionError)],
}

# Calls that torch refuses.
MODULE_ERRORS: dict[str, list[Exclusion]] = {}
FUNCTION_ERRORS: dict[str, list[Exclusion]] = {}
