"""The criteria by name, in the order in which users see them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crdiff.pruning.criterion import Criterion
    from crdiff.pruning.store import Store, WeightsState

CriterionMaker = Callable[["WeightsState", "Store"], "Criterion"]
"""Makes a criterion for a state of the weights, with the store that keeps what criteria have gathered."""


def _magnitude(state: WeightsState, store: Store) -> Criterion:
    from crdiff.pruning.magnitude import MagnitudeCriterion  # settings name criteria without importing torch

    return MagnitudeCriterion(state, store)


DEFAULT_CRITERION = "magnitude"
CRITERIA: dict[str, CriterionMaker] = {DEFAULT_CRITERION: _magnitude}
