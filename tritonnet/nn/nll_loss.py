"""NLLLoss: of log-probabilities and class indices."""

from torch import Tensor

from .. import functional as F
from ..functional._reduction import legacy_reduction
from ..module import Module


class NLLLoss(Module):
    """-input[target], weighted and averaged; see functional.nll_loss.

    Args:
        weight: [C], a weight for each class; a buffer of the module.
        ignore_index: targets of this value count for nothing.
        reduction: "mean" (weighted), "sum" or "none".
        size_average, reduce: the old spelling of reduction, which it overrules.
    """

    weight: Tensor | None

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        if size_average is not None or reduce is not None:
            reduction = legacy_reduction(size_average, reduce)
        self.reduction = reduction
        self.ignore_index = ignore_index
        self.register_buffer("weight", weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.nll_loss(input, target, weight=self.weight, ignore_index=self.ignore_index, reduction=self.reduction)
