"""One image of a search: the tab's own job again, with other ratios, prompt and seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from crdiff.errors import CRDiffError
from crdiff.search.errors import STOPPED, AbortSearchError
from crdiff.search.strategies.point import Point
from crdiff.settings import Settings
from crdiff.specs import CUSTOM
from crdiff.webui.infotext import NOTE_KEY, SOURCE_KEY
from crdiff.webui.jobs.copies import copied

_WATCHED = ("sd_model_checkpoint", "sd_vae", "CLIP_stop_at_last_layers")
"""Options of the host that change every image: scores from before and after a change must not be compared."""


class SkippedError(CRDiffError):
    """The user skipped an image."""


@dataclass
class Drawn:
    """An image as the host returned it, and its infotext."""

    image: Any
    infotext: str


class Trials:
    """Draws with copies of a job, so that prompt, size, sampler, LoRAs and other scripts are the tab's own.

    Nothing of the job itself is changed, and nothing is saved.

    Args:
        p: the host's processing object, its seed fixed.
        settings: the accordion's, for its window of steps and its mode.
        hires: whether Hires. fix stays on, where the job has it on.
    """

    def __init__(self, p: Any, settings: Settings, *, hires: bool) -> None:
        from modules import shared

        self._p = p
        self._settings = settings
        self._hires = hires
        # Hosts do not always put back an option that a job overrides.
        watched = [name for name in _WATCHED if name not in (p.override_settings or {})]
        self._options = {name: getattr(shared.opts, name, None) for name in watched}
        self._model: str | None = None

    @property
    def hires_left_out(self) -> bool:
        """Whether the job has Hires. fix on, and trials do not."""
        return not self._hires and bool(getattr(self._p, "enable_hr", False))

    def draw(self, point: Point, prompt: str, seed: int, *, hires: bool | None = None) -> Drawn:
        """Draw one image; ``hires`` overrides whether Hires. fix stays on.

        Raises:
            AbortSearchError: the user stopped, or further images could not be compared with those so far.
            SkippedError: the user skipped this one.
        """
        from modules import processing
        from modules.shared import state

        self._check_options()
        job = self._job(point, prompt, seed, self._hires if hires is None else hires)
        processed = processing.process_images(job)
        if state.interrupted or not processed.images:
            raise AbortSearchError(STOPPED, "stopped")
        if state.skipped:
            state.skipped = False
            raise SkippedError("This image was skipped.")
        params = job.extra_generation_params
        if NOTE_KEY in params and SOURCE_KEY not in params:
            raise AbortSearchError(f"CR-Diff could not act: {params[NOTE_KEY]}")
        self._check_model()
        place = processed.index_of_first_image
        texts = processed.infotexts
        return Drawn(processed.images[place], texts[place] if place < len(texts) else processed.info)

    def settings_of(self, point: Point) -> Settings:
        """The accordion's settings for a configuration."""
        if point.rounded.is_dense:
            return Settings()
        drawn: Mapping[str, Any] = point.settings
        return replace(self._settings, enabled=True, preset=CUSTOM, hires_ratios="", **drawn)

    def _job(self, point: Point, prompt: str, seed: int, hires: bool) -> Any:
        job = copied(self._p, self.settings_of(point))
        job.prompt, job.seed = prompt, seed
        job.n_iter = job.batch_size = 1
        job.do_not_save_samples = job.do_not_save_grid = True
        if not hires and getattr(job, "enable_hr", False):
            job.enable_hr = False
        return job

    def _check_options(self) -> None:
        from modules import shared

        for name, was in self._options.items():
            if getattr(shared.opts, name, None) != was:
                what = "The checkpoint was switched" if name == _WATCHED[0] else f"The setting {name} was changed"
                raise AbortSearchError(f"{what} during the search; the best so far is kept.")

    def _check_model(self) -> None:
        """A refiner may be the model that is left after an image, but then it is after every image."""
        from modules import shared

        info = getattr(shared.sd_model, "sd_checkpoint_info", None)
        name = str(getattr(info, "filename", ""))
        if self._model is None:
            self._model = name
        elif self._model != name:
            raise AbortSearchError("The checkpoint was switched during the search; the best so far is kept.")
