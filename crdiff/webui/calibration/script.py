"""The calibration among the host's scripts: chosen for one job by the Calibrate button, or by the API."""

from __future__ import annotations

from typing import Any

from crdiff.webui.calibration.context import CalibrationContext
from crdiff.webui.calibration.job import run_calibration
from crdiff.webui.calibration.request import SCRIPT_TITLE, CalibrationRequest
from crdiff.webui.jobs.api_jobs import ApiJob
from modules import scripts


def make_calibration_script(context: CalibrationContext) -> type[scripts.Script]:
    """The class of the calibration script."""

    class CRDiffCalibrationScript(scripts.Script):
        def title(self) -> str:
            return SCRIPT_TITLE

        def show(self, is_img2img: bool) -> bool:
            return True

        def ui(self, is_img2img: bool) -> list[Any]:
            import gradio as gr

            tab = "img2img" if is_img2img else "txt2img"
            elem_id = f"{tab}_crdiff_calibration_plan"
            request = gr.Textbox("", label="Settings of the calibration", elem_id=elem_id, visible=False)
            request.do_not_save_to_config = True
            return [request]

        def run(self, p: Any, request: Any = "", *args: Any) -> Any:
            """Calibrate; the request is the page's JSON text, an object of the API, or a job of ``/crdiff/v1``."""
            if isinstance(request, ApiJob):
                request.begin()
                return run_calibration(p, request.request, context, request.monitor)
            read = CalibrationRequest.from_dict if isinstance(request, dict) else CalibrationRequest.from_text
            return run_calibration(p, read(request), context, context.monitor)

    return CRDiffCalibrationScript
