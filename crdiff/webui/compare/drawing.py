"""The images of one way: the tab's own job again, with other settings of CR-Diff."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from PIL.Image import Resampling

from crdiff.evaluation.candidates import seeds_of
from crdiff.method.schedule import Schedule
from crdiff.presets.size import Size
from crdiff.settings import Settings
from crdiff.webui.compare.comparison import Drawn
from crdiff.webui.infotext import HIRES_K_KEY, NOTE_KEY, SOURCE_KEY, key_of
from crdiff.webui.jobs.copies import copied


@dataclass(frozen=True)
class Batch:
    """What was drawn in one way.

    Attributes:
        images: those that are done.
        seconds: it took.
        origin: where the ratios came from; empty if CR-Diff did not act.
        k: amplification at every step; None if CR-Diff did not act, or with more than one.
        note: what the infotext says of it.
        result: the host's.
    """

    images: list[Drawn]
    seconds: float
    origin: str
    k: float | None
    note: str
    result: Any


def batch_size(p: Any, images: int) -> int:
    """Images at a time: as many as the tab draws, or fewer, so that none more is drawn than was asked for."""
    return next(size for size in range(min(p.batch_size, images), 0, -1) if images % size == 0)


def draw(
    p: Any,
    settings: Settings,
    images: int,
    size: Size | None = None,
    resampled: tuple[int, int] | None = None,
    candidate: int = 0,
) -> Batch:
    """Draw as many images, from the job's seed on, with these settings of CR-Diff.

    Args:
        p: the host's processing object, its seed fixed; not changed.
        settings: CR-Diff's.
        images: how many.
        size: that they are drawn at; None draws at the job's.
        resampled: (width, height) to which they are brought then; None leaves them as they are.
        candidate: from which of the seeds by ``seeds_of`` on; 0 is the job's own.
    """
    from modules import processing
    from modules.shared import state

    job = copied(p, settings)
    job.do_not_save_grid = True
    job.batch_size = batch_size(p, images)
    job.n_iter = images // job.batch_size
    if size is not None:
        job.height, job.width = size.height, size.width
    if candidate:
        # What tells the job's own images apart: with variations that is the seed of these.
        name = "subseed" if job.subseed_strength else "seed"
        setattr(job, name, seeds_of(getattr(job, name), candidate + 1)[candidate])
    started = time.perf_counter()
    result = processing.process_images(job)
    seconds = time.perf_counter() - started
    done = _singles(result)
    if state.interrupted:
        # What was being drawn is not done.
        done = done[: (len(done) - 1) // job.batch_size * job.batch_size]
    if resampled is not None:
        done = [replace(one, image=one.image.resize(resampled, Resampling.LANCZOS)) for one in done]
    params = job.extra_generation_params
    return Batch(
        done,
        seconds,
        str(params.get(SOURCE_KEY, "")),
        k_of(params),
        str(params.get(NOTE_KEY, "")),
        result,
    )


def k_of(params: Mapping[str, Any]) -> float | None:
    """The k at every step of an image, by its generation parameters; None if it has none, or more than one."""
    texts = [params[key] for key in (key_of("stages"), key_of("hires_ratios")) if key in params]
    if SOURCE_KEY not in params or HIRES_K_KEY in params or any(Schedule.parse(text).has_own_k for text in texts):
        return None
    return float(params[key_of("k")])


def _singles(result: Any) -> list[Drawn]:
    """The host's images without its grid, and without masks and what extensions add, which have no text."""
    first = result.index_of_first_image
    images = result.images[first:]
    marked = [image for image in images if image.info.get("parameters") in result.infotexts]
    told = zip(
        marked or images,
        result.infotexts[first:],
        result.all_prompts,
        result.all_negative_prompts,
        result.all_seeds,
        result.all_subseeds,
    )
    return [Drawn(*one) for one in told]
