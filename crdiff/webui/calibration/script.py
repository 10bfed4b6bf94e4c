"""The calibration among the host's scripts."""

from __future__ import annotations

from typing import Any

from crdiff.webui.calibration.context import CalibrationContext
from crdiff.webui.calibration.job import run_calibration
from crdiff.webui.calibration.request import SCRIPT_TITLE, CalibrationRequest
from crdiff.webui.jobs.api_jobs import ApiJob
from crdiff.webui.jobs.script import make_job_script
from modules import scripts


def make_calibration_script(context: CalibrationContext) -> type[scripts.Script]:
    """The class of the calibration script."""

    def run(p: Any, request: Any) -> Any:
        if isinstance(request, ApiJob):
            return run_calibration(p, request.request, context, request.monitor)
        read = CalibrationRequest.from_dict if isinstance(request, dict) else CalibrationRequest.from_text
        return run_calibration(p, read(request), context, context.monitor)

    return make_job_script("calibration", SCRIPT_TITLE, run)
