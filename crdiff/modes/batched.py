"""Both passes as one of twice the rows: fewer, larger kernels, which pays at small sizes on fast GPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crdiff.modes.exact import Exact
from crdiff.modes.mode import Step

if TYPE_CHECKING:
    import torch


class Batched:
    """See Mode. Kernels for another batch size round differently; hosts that cannot double their inputs run exact."""

    name = "batched"
    help = (
        "both passes as one of twice the rows, for small sizes on fast GPUs; takes twice the memory for activations, "
        "and differs from exact by rounding."
    )
    passes = 2.0
    shares = False
    pruned_passes = 1.0

    def predict(self, step: Step) -> torch.Tensor:
        both = step.both()
        return Exact().predict(step) if both is None else step.amplified(*both)
