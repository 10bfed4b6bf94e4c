"""One image of a calibration: plain txt2img with the sampler, steps and guidance of the job, and no other script."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from crdiff.calibration.denoising import Denoising
from crdiff.calibration.run import Calibration, CalibrationRun
from crdiff.errors import UnsupportedModelError
from crdiff.patching import Original, Patch
from crdiff.presets.size import Size
from crdiff.webui.generation import ActivePass, ActiveSlot
from crdiff.webui.hosts.base import select_host

_KEPT = ("negative_prompt", "styles", "sampler_name", "scheduler", "steps", "cfg_scale", "distilled_cfg_scale")
"""What an image has of the job that asks for it, where the host knows it."""


class PlainImages:
    """Draws one image after the other, watched by a calibration. Nothing of the job is changed, and nothing is saved.

    Args:
        p: the host's processing object, of txt2img or img2img.
        size: of the images.
        slot: where the host's per-step callback looks.
    """

    def __init__(self, p: Any, size: Size, slot: ActiveSlot) -> None:
        self._p, self._size, self._slot = p, size, slot

    def draw(self, prompt: str, seed: int, calibration: Calibration) -> None:
        """Draw an image; it is not looked at.

        Raises:
            UnsupportedModelError: the model cannot be watched.
        """
        from modules import processing

        job = self._job(prompt, seed)
        refusals: list[str] = []

        def sample(original: Original, *args: Any, **kwargs: Any) -> Any:
            with self._watched(calibration, refusals) as run:
                drawn = original(*args, **kwargs)
                if calibration.differentiated and not _broken_off():
                    run.differentiate(drawn, _denoising())
                return drawn

        patch = Patch(job, "sample", sample)
        try:
            processing.process_images(job)
        finally:
            patch.remove()
            job.close()
        if refusals:
            raise UnsupportedModelError(" ".join(refusals))

    @contextmanager
    def _watched(self, calibration: Calibration, refusals: list[str]) -> Iterator[CalibrationRun]:
        from modules import shared

        host = select_host(shared.sd_model)
        outer = self._slot.current
        with CalibrationRun(calibration, host.access()) as run:
            try:
                with host.hooked(run) as hook:
                    self._slot.current = ActivePass(None, run, hook)
                    yield run
            finally:
                self._slot.current = outer
                refusals += run.refusals

    def _job(self, prompt: str, seed: int) -> Any:
        from modules import processing, scripts, shared

        p = self._p
        known = {field.name for field in fields(processing.StableDiffusionProcessingTxt2Img)}
        kept = {name: getattr(p, name) for name in _KEPT if name in known and hasattr(p, name)}
        job = processing.StableDiffusionProcessingTxt2Img(
            sd_model=shared.sd_model,
            outpath_samples=p.outpath_samples,
            outpath_grids=p.outpath_grids,
            prompt=prompt,
            seed=seed,
            height=self._size.height,
            width=self._size.width,
            do_not_save_samples=True,
            do_not_save_grid=True,
            override_settings=dict(p.override_settings or {}),
            **kept,
        )
        # Some hosts look for a script of their own without asking whether there are any.
        job.scripts, job.script_args = scripts.ScriptRunner(), ()
        return job


def _denoising() -> Denoising:
    """What the host's model has been trained for.

    Raises:
        UnsupportedModelError: for something else than to predict noise or v.
    """
    from modules import shared

    found = select_host(shared.sd_model).denoising()
    if found is None:
        raise UnsupportedModelError("Gradients need a UNet that predicts noise or v; calibrate this one without them.")
    return found


def _broken_off() -> bool:
    """Whether the image under way is not drawn to its end."""
    from modules.shared import state

    return bool(state.interrupted or state.skipped or getattr(state, "stopping_generation", False))
