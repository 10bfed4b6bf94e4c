"""A job of CR-Diff among the host's scripts: chosen for one job by a button of the page, or by the API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from crdiff.webui.jobs.api_jobs import ApiJob
from modules import scripts

RunJob = Callable[[Any, Any], Any]
"""Takes the host's processing object and what is asked for: the page's JSON text, an object of the API, or a job of
``/crdiff/v1`` that has begun. Gives the host's result."""


def make_job_script(name: str, title: str, run_job: RunJob) -> type[scripts.Script]:
    """The class of a script that runs one kind of job.

    Args:
        name: of the kind, as in the ids of its elements.
        title: of the script, by which button and API choose it.
        run_job: runs a job.
    """

    class CRDiffJobScript(scripts.Script):
        def title(self) -> str:
            return title

        def show(self, is_img2img: bool) -> bool:
            return True

        def ui(self, is_img2img: bool) -> list[Any]:
            import gradio as gr

            tab = "img2img" if is_img2img else "txt2img"
            request = gr.Textbox(
                "", label=f"Settings of the {name}", elem_id=f"{tab}_crdiff_{name}_plan", visible=False
            )
            request.do_not_save_to_config = True
            return [request]

        def run(self, p: Any, request: Any = "", *args: Any) -> Any:
            if isinstance(request, ApiJob):
                request.begin()
            return run_job(p, request)

    return CRDiffJobScript
