"""The demo's images and searches as a client of a WebUI's API asks for them."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crdiff.presets.size import Size
from crdiff.search.errors import AbortSearchError
from crdiff.search.remote import RemoteEvaluation, WebUI, ask_checkpoint
from crdiff.search.strategies.annealing import SimulatedAnnealing
from crdiff.search.strategies.point import DENSE, Point
from demo.evaluate.find_presets import TEMPERATURE
from demo.evaluate.objective import noise_seed
from demo.running import running

SCORE = "own"
"""The demo's scene scorer, as CR-Diff knows it."""

_POLL_S = 0.2


@contextmanager
def webui_at(url: str | None, checkpoint: Path) -> Iterator[WebUI]:
    """The WebUI at ``url``, or a demo of its own with this checkpoint.

    Raises:
        StartError: the demo did not start.
    """
    if url is not None:
        yield WebUI(url)
        return
    with tempfile.TemporaryDirectory(prefix="crdiff-demo-") as folder:
        arguments = ["--checkpoint", str(checkpoint)]
        with running(Path(sys.executable), Path(folder), arguments) as address:
            yield WebUI(address)


@dataclass(frozen=True)
class Found:
    """What a search came to.

    Attributes:
        point: the best configuration; its mean score.
        score: of the best.
        dense: mean score of the dense model.
        start: mean score of the configuration it started from.
        images: scores of all images that were drawn.
    """

    point: Point
    score: float
    dense: float
    start: float
    images: tuple[float, ...]


class Studio:
    """Draws and searches at one size, in the WebUI; every caption has noises of its own.

    Args:
        webui: with the demo's checkpoint selected.
        size: of the images.
        steps: of DPM++ 2M on the model's own sigmas.
        guidance: of classifier-free guidance.
    """

    def __init__(self, webui: WebUI, size: Size, steps: int, guidance: float) -> None:
        self._webui = webui
        self.checkpoint = ask_checkpoint(webui)
        self._body = {"height": size.height, "width": size.width, "steps": steps, "cfg_scale": guidance,
                      "sampler_name": "DPM++ 2M", "scheduler": "Uniform"}  # fmt: skip
        self._evaluate = RemoteEvaluation(webui, self._body, SCORE, self.checkpoint)

    def many(self, point: Point, images: Sequence[tuple[str, int]]) -> list[float]:
        """The scores of images, given as pairs of caption and image seed; an objective's ``evaluate_many``."""
        return self._evaluate(point, [(caption, noise_seed(caption, seed)) for caption, seed in images])

    def scores(self, point: Point, caption: str, seeds: Sequence[int]) -> list[float]:
        """The scores of one caption's images."""
        return self.many(point, [(caption, seed) for seed in seeds])

    def search(self, caption: str, start: Point, seeds: Sequence[int], evaluations: int) -> Found:
        """Anneal the ratios for one caption, from ``start`` and the dense model.

        Raises:
            AbortSearchError: it did not come to its end.
        """
        wanted = {
            "evaluations": evaluations, "seeds": [noise_seed(caption, seed) for seed in seeds], "score": SCORE,
            "starts": [start.to_dict(), DENSE.to_dict()], "strategy": SimulatedAnnealing.name,
            "temperature": TEMPERATURE, "iterations": evaluations, "racing": "off",
        }  # fmt: skip
        body = {**self._body, "prompt": caption, "seed": wanted["seeds"][0], "search": wanted}
        path = f"/crdiff/v1/search/{self._webui.call('POST', '/crdiff/v1/search', body)['id']}"
        while (answer := self._webui.call("GET", path))["state"] == "running":
            time.sleep(_POLL_S)
        if answer["state"] != "done":
            raise AbortSearchError(answer["message"])
        drawn = [entry for entry in answer["history"] if not entry["repeat"]]
        return Found(
            point=_point(answer["best"]),
            score=answer["best"]["score"],
            dense=answer["dense"]["score"],
            start=next(entry["score"] for entry in drawn if _point(entry) == start),
            images=tuple(score for entry in drawn for score in entry["scores"]),
        )


def _point(entry: dict[str, Any]) -> Point:
    return Point(*(entry[axis] for axis in ("down", "mid", "up", "k")))
