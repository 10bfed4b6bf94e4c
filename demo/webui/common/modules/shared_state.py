"""What is going on right now: the job, its progress, and the requests to stop it."""

from __future__ import annotations

import contextlib
import datetime
import logging
import time
from typing import Any

from modules import devices

log = logging.getLogger(__name__)


class State:
    skipped = False
    interrupted = False
    stopping_generation = False
    job = ""
    job_no = 0
    job_count = 0
    processing_has_refined_job_count = False
    job_timestamp = "0"
    sampling_step = 0
    sampling_steps = 0
    current_latent: Any = None
    current_image: Any = None
    current_image_sampling_step = 0
    id_live_preview = 0
    textinfo: str | None = None
    time_start: float | None = None

    def __init__(self, shared: Any) -> None:
        self._shared = shared

    def skip(self) -> None:
        self.skipped = True

    def interrupt(self) -> None:
        self.interrupted = True

    def begin(self, job: str = "(unknown)") -> None:
        self.sampling_step = 0
        self.time_start = time.time()
        self.job_count = -1
        self.processing_has_refined_job_count = False
        self.job_no = 0
        self.job_timestamp = datetime.datetime.now().strftime("%Y%m%d%H%M%S")
        self.current_latent = None
        self.current_image = None
        self.current_image_sampling_step = 0
        self.id_live_preview = 0
        self.skipped = False
        self.interrupted = False
        self.stopping_generation = False
        self.textinfo = None
        self.job = job
        devices.torch_gc()
        log.info("Starting job %s", job)

    def end(self) -> None:
        log.info("Ending job %s (%.2f seconds)", self.job, time.time() - (self.time_start or time.time()))
        self.job = ""
        self.job_count = 0
        devices.torch_gc()

    def nextjob(self) -> None:
        if self._shared.opts.live_previews_enable and self._shared.opts.show_progress_every_n_steps == -1:
            self.do_set_current_image()
        self.job_no += 1
        self.sampling_step = 0
        self.current_image_sampling_step = 0

    def dict(self) -> dict[str, Any]:
        names = ("skipped", "interrupted", "stopping_generation", "job", "job_count", "job_timestamp", "job_no",
                 "sampling_step", "sampling_steps")
        return {name: getattr(self, name) for name in names}

    def set_current_image(self) -> None:
        """Makes a preview of the current latent, if previews are on and enough steps have gone by."""
        every = self._shared.opts.show_progress_every_n_steps
        if not self._shared.parallel_processing_allowed or not self._shared.opts.live_previews_enable or every == -1:
            return
        if self.sampling_step - self.current_image_sampling_step >= every:
            self.do_set_current_image()

    def do_set_current_image(self) -> None:
        if self.current_latent is None:
            return
        from modules import sd_samplers_common

        # A preview is taken from another thread, and the model may be switched under it.
        with contextlib.suppress(Exception):
            make = sd_samplers_common.samples_to_image_grid if self._shared.opts.show_progress_grid else (
                sd_samplers_common.sample_to_image)
            self.assign_current_image(make(self.current_latent))
            self.current_image_sampling_step = self.sampling_step

    def assign_current_image(self, image: Any) -> None:
        if self._shared.opts.live_previews_image_format == "jpeg" and image.mode in ("RGBA", "P"):
            image = image.convert("RGB")
        self.current_image = image
        self.id_live_preview += 1
