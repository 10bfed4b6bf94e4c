"""Calibrations of a pipeline of diffusers: it draws plain images in this process, and its layers are watched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from crdiff import __version__
from crdiff.calibration.denoising import Denoising
from crdiff.calibration.hessians import NO_HESSIANS, WHOLE
from crdiff.calibration.kept import Kept
from crdiff.calibration.run import Calibration, CalibrationRun
from crdiff.errors import UnsupportedModelError
from crdiff.guidance.adapters import AdaptedAccess
from crdiff.guidance.live_weights import LiveWeights
from crdiff.guidance.pipeline_hook import PipelineHook
from crdiff.method.groups import GROUPS
from crdiff.models.architecture import find_layers
from crdiff.presets.size import Size
from crdiff.pruning.calibrations import Calibrations
from crdiff.pruning.matrix_files import MatrixFiles
from crdiff.pruning.statistics import Statistics

Draw = Callable[[str, int], torch.Tensor]
"""Draws an image of a prompt and seed by a call of the pipeline; answers its latent, (1, channels, height, width)."""

_PREDICTIONS = {"epsilon": False, "v_prediction": True}


class PipelineCalibrations:
    """Those of one pipeline.

    Args:
        pipe: with a UNet.
        kept: where they are.
        sha256: of the weights, by which these are told from others; None takes the pipeline's name.

    Raises:
        UnsupportedModelError: it has no UNet whose layers could be pruned.
    """

    def __init__(self, pipe: Any, kept: Calibrations, sha256: str | None = None) -> None:
        self._pipe, self._kept = pipe, kept
        self._hook = PipelineHook(pipe, self._begin, sha256)
        self._calibration = Calibration()
        self._run: CalibrationRun | None = None

    def in_force(self) -> Statistics | None:
        """The one of the weights as they are now."""
        unet, access = self._pipe.unet, self._hook.access()
        return self._kept.of(LiveWeights(unet, find_layers(unet).prunable, access, access.identity()).state)

    def make(
        self,
        kept: Kept,
        images: Sequence[tuple[str, int]],
        draw: Draw,
        made: Mapping[str, str],
        should_stop: Callable[[], bool],
    ) -> bool:
        """Make one, and keep it; how it stands is printed.

        Images are drawn again for the groups whose Hessians do not fit into free memory beside the others'.

        Args:
            kept: what it has to keep.
            images: prompt and seed of each.
            draw: draws one.
            made: how they are drawn, see Statistics.
            should_stop: asked before each image.

        Returns:
            Whether it was made; if it was stopped, nothing is kept.

        Raises:
            CRDiffError: the model cannot be watched.
            OSError: it cannot be kept.
        """
        denoising = self._denoising() if kept.gradients else None
        told = {"images": str(len(images)), **made, "hessians": kept.hessians, "version": __version__}
        told |= {"gradients": "yes"} if kept.gradients else {}
        files, done = self._kept.files() if kept.hessians == WHOLE else None, False
        try:
            done = self._made(kept, files, lambda last: self._drawn(images, draw, last, should_stop), denoising, told)
        finally:
            self._calibration = Calibration()  # the sums leave the memory
            if files is not None and not done:
                files.delete()
        return done

    def _made(
        self,
        kept: Kept,
        files: MatrixFiles | None,
        drawn: Callable[[Denoising | None], bool],
        denoising: Denoising | None,
        told: Mapping[str, str],
    ) -> bool:
        """Draw all images, again for each part of the Hessians, and keep what they have shown."""
        present = {layer.group for layer in find_layers(self._pipe.unet).prunable}
        missing = () if kept.hessians == NO_HESSIANS else tuple(group for group in GROUPS if group in present)
        found: Statistics | None = None
        while found is None or missing:
            last = denoising if found is None else None
            self._calibration = Calibration(missing, files is not None, last is not None)
            if not drawn(last):
                return False
            ((state, gathering),) = self._calibration.gatherings.items()
            if missing and not gathering.hessians:
                raise UnsupportedModelError(f"There is not enough free memory for the Hessians of {missing[0]}.")
            missing = tuple(group for group in missing if group not in gathering.hessians)
            files = None if files is None else files.with_those_of(gathering.whole())
            new = gathering.statistics(told)
            found = new if found is None else found.with_hessians_of(new)
            if last is not None:
                found = found.with_gradients(gathering.gradients.halves())
            del gathering  # its Hessians leave the memory before the next ones come
        self._kept.put(state, replace(found, hessians=files))
        return True

    def _begin(self, size: Size, access: AdaptedAccess) -> CalibrationRun:
        self._run = CalibrationRun(self._calibration, access)
        return self._run

    def _drawn(
        self,
        images: Sequence[tuple[str, int]],
        draw: Draw,
        denoising: Denoising | None,
        should_stop: Callable[[], bool],
    ) -> bool:
        """Whether all images were drawn and watched; with gradients of their loss, if there is one."""
        for number, (prompt, seed) in enumerate(images):
            if should_stop():
                return False
            print(f"Calibration: image {number + 1} of {len(images)}", flush=True)
            try:
                with self._hook.installed():
                    latent = draw(prompt, seed)
                assert self._run is not None, "the pipeline did not call its UNet"
                if self._run.refusals:
                    raise UnsupportedModelError(" ".join(self._run.refusals))
                if denoising is not None:
                    self._run.differentiate(latent, denoising)
            finally:
                if self._run is not None:
                    self._run.close()
                    self._run = None
        return True

    def _denoising(self) -> Denoising:
        scheduler = self._pipe.scheduler
        signal, predicts = getattr(scheduler, "alphas_cumprod", None), scheduler.config.get("prediction_type")
        if signal is None or predicts not in _PREDICTIONS:
            raise UnsupportedModelError("Gradients need a UNet that predicts noise or v; leave out the ways by taylor.")
        return Denoising.of_signal(signal, velocity=_PREDICTIONS[predicts])
