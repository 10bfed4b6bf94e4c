"""Draws and scores what an evaluation lacks, image by image; it may be killed and started again at any point."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from crdiff.errors import CRDiffError
from crdiff.evaluation.engine import Drawn, Engine, Request
from crdiff.evaluation.errors import EvaluationError
from crdiff.evaluation.images import Item
from crdiff.evaluation.metrics.metric import Distance, Metric
from crdiff.evaluation.progress import Progress
from crdiff.evaluation.record import Record

if TYPE_CHECKING:
    from PIL.Image import Image


class Runner:
    """See ``draw_missing``.

    Args:
        engine: draws.
        metrics: score every image; loaded already.
        distances: judge all images of a way; loaded already.
        record: what has been drawn and scored.
        keep: whether images are kept.
    """

    def __init__(
        self,
        engine: Engine,
        metrics: Sequence[Metric],
        distances: Sequence[Distance],
        record: Record,
        *,
        keep: bool,
    ) -> None:
        self._engine, self._metrics, self._distances = engine, metrics, distances
        self._record, self._keep = record, keep

    def missing(self, items: Sequence[Item]) -> list[Item]:
        """Those of which the image, a score or features are missing."""
        return [item for item in items if self._lacks(item)]

    def draw_missing(
        self, items: Sequence[Item], progress: Progress, should_stop: Callable[[], bool] = lambda: False
    ) -> bool:
        """Draw and score them.

        Args:
            items: as ``missing`` gives them.
            progress: told of every one.
            should_stop: asked before every one.

        Returns:
            Whether all of them are done.

        Raises:
            CRDiffError: one could not be drawn or scored; those before it are kept.
        """
        try:
            for item in items:
                if should_stop():
                    return False
                self._complete(item)
                progress.step(item)
        finally:
            progress.close()
        return True

    def _lacks(self, item: Item) -> bool:
        return not self._record.entry(item).drawn or bool(self._unscored(item) or self._unseen(item))

    def _unscored(self, item: Item) -> list[Metric]:
        entry = self._record.entry(item)
        return [metric for metric in self._metrics if metric.name not in entry.scores]

    def _unseen(self, item: Item) -> list[Distance]:
        return [one for one in self._distances if self._record.features(item, one.name) is None]

    def _complete(self, item: Item) -> None:
        metrics = self._unscored(item)
        image = self._record.image(item)
        if image is not None:
            self._see(item, image)
            self._record.scored(item, _scores(metrics, item, image))
            return
        start = time.perf_counter()
        drawn = self._drawn(item)
        seconds = time.perf_counter() - start
        self._see(item, drawn.image)
        self._record.drawn(item, drawn, seconds, _scores(metrics, item, drawn.image), keep=self._keep)

    def _see(self, item: Item, image: Image) -> None:
        for distance in self._unseen(item):
            self._record.keep_features(item, distance.name, distance.features(image))

    def _drawn(self, item: Item) -> Drawn:
        request = Request(item.prompt, item.seed, item.drawing.size, item.drawing.settings)
        try:
            drawn = self._engine.draw(request)
        except CRDiffError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:200].rstrip(".")
            raise EvaluationError(
                f"An image of {item.size}, {item.drawing.way}, could not be drawn ({type(error).__name__}: {reason})."
            ) from error
        if item.drawing.size != item.size:
            # Imported here: the command line starts without it.
            from PIL.Image import Resampling

            scaled = drawn.image.resize((item.size.width, item.size.height), Resampling.LANCZOS)
            return Drawn(scaled, drawn.infotext)
        return drawn


def _scores(metrics: Sequence[Metric], item: Item, image: Image) -> dict[str, float]:
    return {metric.name: metric.score(item.prompt, image) for metric in metrics}
