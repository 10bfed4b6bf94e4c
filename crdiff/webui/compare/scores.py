"""The scores of a comparison's images, by the scores of the search."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from crdiff.errors import CRDiffError, SettingsError
from crdiff.scoring.scorer import Scorer
from crdiff.search.strategies.point import DENSE as DENSE_POINT
from crdiff.webui.compare.comparison import Column, Comparison, Drawn
from crdiff.webui.compare.context import CompareContext
from crdiff.webui.compare.request import NO_SCORE
from crdiff.webui.compare.ways import DENSE, WAYS
from crdiff.webui.search.judge import OWN_FILE, Judge, choose_scorer


def scorer_for(name: str | None, context: CompareContext) -> tuple[Scorer | None, str]:
    """The scorer, not loaded; or None and a sentence on why there is none.

    Raises:
        SettingsError: the one that was asked for cannot be used.
    """
    if name == NO_SCORE:
        return None, ""
    try:
        return choose_scorer(name, context.folder), ""
    except SettingsError as problem:
        if name is not None:
            raise
        return None, str(problem)


def score(comparison: Comparison, scorer: Scorer, context: CompareContext) -> None:
    """Score all images; what keeps it from doing so is said in the comparison."""
    dense = next((column.images for column in comparison.columns if column.way == DENSE), [])

    def dense_image(prompt: str, row: int) -> Any:
        # By row, since rows that differ in their variation have one seed.
        if row >= len(dense):
            raise CRDiffError("this score compares with the dense image, which was not drawn.")
        return dense[row].image

    try:
        with Judge(scorer, dense_image, context.scorers, context.folder / OWN_FILE, put_back=False) as judge:
            for column in comparison.columns:
                _score(column, judge)
    except CRDiffError as problem:
        comparison.say(f"No scores: {problem}")
        for column in [one for one in comparison.columns if one.candidates]:
            comparison.say(f"{column.label} was left out: nothing could choose.")
            comparison.columns.remove(column)
        for column in comparison.columns:
            column.scores = column.right = None
    else:
        comparison.judge()
        for column in comparison.columns:
            if WAYS[column.way].candidates > 1:
                comparison.say(f"{column.label}: the score that judges has also chosen, which favours this way.")


def _score(column: Column, judge: Judge) -> None:
    """Score the images of a way, and take the best of each row's candidates."""
    best: list[tuple[float, Drawn]] = []
    for row, candidates in enumerate(zip(*(column.candidates or [column.images]))):
        scored = [(judge.score(one.image, one.prompt, row, DENSE_POINT), one) for one in candidates]
        best.append(max(scored, key=itemgetter(0)))
    column.images, column.scores = [one for _, one in best], [score for score, _ in best]
    column.candidates = []
    right = [judge.right(one.image, one.prompt) for one in column.images]
    column.right = None if None in right else [bool(one) for one in right]
