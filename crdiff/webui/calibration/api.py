"""The calibration in the host's API: ``/crdiff/v1/calibrate``, and the calibrations there are."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from fastapi import HTTPException

from crdiff.checks import shown
from crdiff.webui.api import guards, hosts_route
from crdiff.webui.calibration.context import CalibrationContext
from crdiff.webui.calibration.monitor import CalibrationMonitor, CalibrationStatus
from crdiff.webui.calibration.report import to_dict
from crdiff.webui.calibration.request import KIND, SCRIPT_TITLE, CalibrationRequest
from crdiff.webui.jobs.api import WAITING, JobApi, add_job_routes

_KEPT = "/crdiff/v1/calibrations"


def add_calibration_routes(app: Any, context: CalibrationContext) -> None:
    """Register the routes with the host's FastAPI app, after its own."""
    add_job_routes(app, CalibrationApi, CalibrationApi)
    kept, guarded = KeptCalibrations(context), guards(hosts_route(app))
    app.add_api_route(_KEPT, kept.list, methods=["GET"], **guarded)
    app.add_api_route(_KEPT + "/{name}", kept.delete, methods=["DELETE"], **guarded)


class CalibrationApi(JobApi):
    """Calibrations; see JobApi."""

    path = "/crdiff/v1/calibrate"
    kind = KIND
    title = SCRIPT_TITLE
    keys = tuple(field.name for field in fields(CalibrationRequest))
    unavailable = "The WebUI's API is switched off; start the WebUI with --api to calibrate through it."
    forgotten = f"but {_KEPT} lists what was kept."

    def read(self, asked: Any) -> CalibrationRequest:
        return CalibrationRequest.from_dict(asked)

    def monitor(self, request: CalibrationRequest) -> CalibrationMonitor:
        return CalibrationMonitor(CalibrationStatus("running", WAITING, images=request.images))

    def answer(self, status: CalibrationStatus) -> dict[str, Any]:
        return {
            "state": status.state,
            "message": status.text,
            "images": status.images,
            "drawn": status.drawn,
            "calibration": status.name,
        }


class KeptCalibrations:
    """The calibrations in CR-Diff's folder."""

    def __init__(self, context: CalibrationContext) -> None:
        self._calibrations = context.calibrations

    def list(self) -> list[dict[str, Any]]:
        """All of them, the latest first."""
        return [to_dict(stored) for stored in self._calibrations.all()]

    def delete(self, name: str) -> dict[str, Any]:
        """Remove one; answers with what it was."""
        for stored in self._calibrations.all():
            if stored.path.stem == name:
                self._calibrations.delete(stored)
                return to_dict(stored)
        raise HTTPException(404, f"There is no calibration {shown(name)}.")
