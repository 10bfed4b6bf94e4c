"""What a reader of the figures has to know of how they came about."""

from __future__ import annotations

from collections.abc import Mapping

from crdiff.evaluation.images import Plan


def notes(plan: Plan, labels: Mapping[str, str]) -> list[str]:
    """A sentence for each way that takes the best of several images.

    Args:
        plan: what is compared.
        labels: of the metrics.
    """
    chosen = {one.way: one for ways in plan.drawings.values() for one in ways if one.candidates > 1}
    return [
        f"{way}: of {one.candidates} dense images from different seeds the one with the highest "
        f"{labels.get(one.chosen_by, one.chosen_by)}. That score both chooses and judges, which favours this way in "
        "its column; the other metrics had no part in the choice."
        for way, one in chosen.items()
    ]
