"""Scorers by name, and sums of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from crdiff.errors import SettingsError
from crdiff.scoring.formula import NAMES, Formula
from crdiff.scoring.model_files import ModelFiles
from crdiff.scoring.scorer import Scorer

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image


def create(score: str | Formula, files: ModelFiles) -> Scorer:
    """The scorer of a name or a formula, not yet loaded.

    Raises:
        SettingsError: the formula cannot be read, or names a score that does not exist.
    """
    formula = Formula.parse(score) if isinstance(score, str) else score
    if len(formula.terms) == 1 and formula.terms[0][1] == 1:
        return _single(formula.terms[0][0], files)
    return SumScorer(formula, [_single(name, files) for name, _ in formula.terms])


def first_available(files: ModelFiles) -> str | None:
    """The name of the first score that needs nothing more on this machine; None if there is none.

    SSIM is left out: it says how near an image is to the dense one, not how good it is.
    """
    names = (name for name in NAMES if name != "ssim")
    return next((name for name in names if _single(name, files).available() is None), None)


def _single(name: str, files: ModelFiles) -> Scorer:
    # Imported one by one: a name alone needs no torch.
    if name == "imagereward":
        from crdiff.scoring.imagereward import ImageRewardScorer

        return ImageRewardScorer(files)
    if name == "clip":
        from crdiff.scoring.clip import ClipScorer

        return ClipScorer(files)
    if name == "pickscore":
        from crdiff.scoring.clip import pick_score

        return pick_score(files)
    if name == "ssim":
        from crdiff.scoring.ssim import SsimScorer

        return SsimScorer()
    if name == "own":
        from crdiff.scoring.own import OwnScorer

        return OwnScorer(files.own)
    raise SettingsError(f"There is no score {name!r}; known are {', '.join(NAMES)}.")


class SumScorer:
    """A weighted sum of scorers, all of which must be usable."""

    def __init__(self, formula: Formula, scorers: Sequence[Scorer]) -> None:
        self.name = str(formula)
        self._scorers = list(scorers)
        self._weights = [weight for _, weight in formula.terms]

    @property
    def needs_dense(self) -> bool:
        """Whether one of them compares with the dense image."""
        return any(scorer.needs_dense for scorer in self._scorers)

    @property
    def highest(self) -> float | None:
        """The sum of their bounds; None if one has none, or is subtracted."""
        total = 0.0
        for scorer, weight in zip(self._scorers, self._weights):
            if scorer.highest is None or weight < 0:
                return None
            total += weight * scorer.highest
        return total

    def available(self) -> str | None:
        return next((problem for scorer in self._scorers if (problem := scorer.available()) is not None), None)

    def load(self, device: torch.device | str = "cpu") -> None:
        try:
            for scorer in self._scorers:
                scorer.load(device)
        except BaseException:
            self.close()
            raise

    def prepare(self, prompt: str, dense: Image | None = None) -> list[Any]:
        """What each of them prepares."""
        return [scorer.prepare(prompt, dense) for scorer in self._scorers]

    def score(self, prepared: list[Any], images: Sequence[Image]) -> list[float]:
        totals = [0.0] * len(images)
        for scorer, weight, part in zip(self._scorers, self._weights, prepared):
            for place, score in enumerate(scorer.score(part, images)):
                totals[place] += weight * score
        return totals

    def close(self) -> None:
        for scorer in self._scorers:
            scorer.close()
