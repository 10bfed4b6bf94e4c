"""The calibration as a job of the host: it runs where the host would draw, and ends without an image."""

from __future__ import annotations

import logging
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

from crdiff.calibration.gradients import Gradients
from crdiff.calibration.run import Calibration
from crdiff.errors import CRDiffError
from crdiff.pruning.statistics import Statistics
from crdiff.pruning.store import WeightsState
from crdiff.webui.calibration.context import CalibrationContext
from crdiff.webui.calibration.images import PlainImages
from crdiff.webui.calibration.monitor import CalibrationMonitor, CalibrationStatus
from crdiff.webui.calibration.preparation import Setup, prepare
from crdiff.webui.calibration.report import counted
from crdiff.webui.calibration.request import CalibrationRequest
from crdiff.webui.jobs.host import finished, undisturbed_host

_NOTHING = "The calibration was stopped before its first image was done; nothing was kept."

_log = logging.getLogger("crdiff")


class NotCalibratedError(CRDiffError):
    """A calibration that cannot go on; nothing of it is kept."""


def run_calibration(
    p: Any, request: CalibrationRequest, context: CalibrationContext, monitor: CalibrationMonitor
) -> Any:
    """Calibrate with the job ``p`` of the host, in its place in the queue.

    Args:
        p: the host's processing object.
        request: what is wanted.
        context: the surroundings.
        monitor: told how the calibration stands.

    Returns:
        The host's result, without an image.

    Raises:
        CRDiffError: the model cannot be calibrated.
        OSError: the calibration cannot be kept.
    """
    monitor.begin(CalibrationStatus("running", images=request.images))
    try:
        with undisturbed_host():
            setup = prepare(p, request, context)
            images = PlainImages(p, setup.size, context.slot)
            status = CalibrationJob(setup, images, context, monitor).run()
    except BaseException as error:
        monitor.update(state="failed", message=str(error) or type(error).__name__)
        raise
    _log.info("%s", status.message)
    return finished(copy(p), status.message)


@dataclass(frozen=True)
class Round:
    """What was gathered while the images were drawn once.

    Attributes:
        state: of the weights.
        statistics: of their layers.
        groups: whose Hessians are among them.
        gradients: of the weights; None if none were gathered.
    """

    state: WeightsState
    statistics: Statistics
    groups: tuple[str, ...]
    gradients: Gradients | None = None


class CalibrationJob:
    """The calibration itself.

    Args:
        setup: what to do.
        images: draws.
        context: where the result is kept.
        monitor: told how it stands.
    """

    def __init__(
        self, setup: Setup, images: PlainImages, context: CalibrationContext, monitor: CalibrationMonitor
    ) -> None:
        self._setup, self._images, self._monitor = setup, images, monitor
        self._kept = context.calibrations
        self._files = context.calibrations.files() if setup.whole else None
        self._drawn = 0
        self._stopped = False

    def run(self) -> CalibrationStatus:
        """Draw and keep; how it ended."""
        status = None
        try:
            status = self._run()
        finally:
            if self._files is not None and (status is None or status.name is None):
                self._files.delete()
        return status

    def _run(self) -> CalibrationStatus:
        first = self._round(self._setup.hessians, differentiated=self._setup.gradients)
        if first is None or self._drawn == 0:
            return self._monitor.update(state="stopped", message=_NOTHING)
        found, drawn, missing = first.statistics, self._drawn, self._without(self._setup.hessians, first)
        while missing and not self._stopped:
            # The images are drawn again for the groups whose Hessians did not fit into memory beside the others.
            self._monitor.update(groups=missing)
            again = self._round(missing)
            if again is None or self._stopped or not again.groups:
                break
            if again.state != first.state:
                raise NotCalibratedError("The weights changed during the calibration; nothing was kept.")
            found, missing = found.with_hessians_of(again.statistics), self._without(missing, again)
        return self._keep(replace(first, statistics=found), drawn, missing)

    def _round(self, hessians: tuple[str, ...], *, differentiated: bool = False) -> Round | None:
        """Draw all images once, unless stopped; None if that was before the first step."""
        from modules.shared import state as host

        calibration, count = Calibration(hessians, self._setup.whole, differentiated), len(self._setup.images)
        self._drawn = 0
        for prompt, seed in self._setup.images:
            host.textinfo = self._monitor.update(drawn=self._drawn).text
            host.job_count = int(host.job_no) + count - self._drawn
            self._images.draw(prompt, seed, calibration)
            self._stopped = self._monitor.should_stop
            if self._stopped:
                break
            host.skipped = False  # the steps that were drawn of the image count
            self._drawn += 1
        self._monitor.update(drawn=self._drawn)
        if len(calibration.gatherings) > 1:
            raise NotCalibratedError(
                "The weights changed between the images, by another checkpoint or by LoRAs that are not in all of the "
                "prompts; nothing was kept."
            )
        for state, gathering in calibration.gatherings.items():
            # One round's leave the memory before the next one's come; of a later round that was stopped none are kept.
            if self._files is not None and not (self._stopped and self._files.keys):
                self._files = self._files.with_those_of(gathering.whole())
            found = gathering.statistics(self._setup.made)
            return Round(state, found, tuple(gathering.hessians), gathering.gradients if differentiated else None)
        if not self._stopped:
            raise NotCalibratedError("The host drew without the model's own UNet, so there was nothing to watch.")
        return None

    @staticmethod
    def _without(groups: tuple[str, ...], made: Round) -> tuple[str, ...]:
        return tuple(group for group in groups if group not in made.groups)

    def _keep(self, made: Round, drawn: int, missing: tuple[str, ...]) -> CalibrationStatus:
        state, found, wanted = made.state, made.statistics, len(self._setup.images)
        known = self._kept.of(state)
        if drawn < wanted and known is not None and int(known.made.get("images", 0)) > drawn:
            return self._monitor.update(
                state="stopped",
                message=f"The calibration was stopped after {drawn} of {wanted} images; "
                f"the earlier one with {counted(int(known.made['images']), 'image')} is kept instead.",
            )
        if drawn < wanted:
            found = replace(found, made={**found.made, "images": str(drawn)})
        if made.gradients is not None:
            found = found.with_gradients(made.gradients.halves())
        path = self._kept.put(state, replace(found, hessians=self._files))
        return self._monitor.update(
            state="stopped" if self._stopped else "done",
            message=self._told(made, drawn, missing),
            drawn=drawn,
            name=path.stem,
        )

    def _told(self, made: Round, drawn: int, missing: tuple[str, ...]) -> str:
        found, wanted = made.statistics, len(self._setup.images)
        images = counted(drawn, "image") if drawn == wanted else f"{drawn} of {wanted} images (it was stopped)"
        name, size = self._setup.checkpoint.name, self._setup.size
        parts = [f"{name} is calibrated with {images}: {found.tokens} tokens at {size}."]
        if found.skipped:
            parts.append(f"Left out because of values that are not finite: {counted(found.skipped, 'input')}.")
        if missing:
            why = "it was stopped" if self._stopped else "they do not fit into free memory"
            parts.append(f"The Hessians of {', '.join(missing)} are missing because {why}.")
        elif self._setup.hessians and found.uninverted:
            parts.append(f"Without a Hessian that can be inverted: {counted(len(found.uninverted), 'layer')}.")
        if made.gradients is not None and made.gradients.dropped:
            parts.append(
                f"Left out because of values that are not finite: {counted(made.gradients.dropped, 'gradient')}."
            )
        return " ".join(parts)
