"""The search among the host's scripts: chosen for one job by the Search button, or by the API."""

from __future__ import annotations

import re
from typing import Any

from crdiff.errors import SettingsError
from crdiff.webui.jobs.api_jobs import ApiJob
from crdiff.webui.search.context import SearchContext
from crdiff.webui.search.job import run_search
from crdiff.webui.search.request import SCRIPT_TITLE, SearchRequest
from modules import scripts


def make_search_script(context: SearchContext) -> type[scripts.Script]:
    """The class of the search script."""

    class CRDiffSearchScript(scripts.Script):
        def title(self) -> str:
            return SCRIPT_TITLE

        def show(self, is_img2img: bool) -> bool:
            return True

        def ui(self, is_img2img: bool) -> list[Any]:
            import gradio as gr

            tab = "img2img" if is_img2img else "txt2img"
            request = gr.Textbox("", label="Settings of the search", elem_id=f"{tab}_crdiff_search_plan", visible=False)
            request.do_not_save_to_config = True
            return [request]

        def run(self, p: Any, request: Any = "", *args: Any) -> Any:
            """Search; the request is the page's JSON text, an object of the API, or a search of ``/crdiff/v1``."""
            if isinstance(request, ApiJob):
                request.begin()
                try:
                    return run_search(p, request.request, context, request.monitor, shown=False)
                finally:
                    request.monitor.update(dense=None, best=None)  # only the page shows them
            _refuse_a_file_of_many()
            wanted = SearchRequest.from_dict(request) if isinstance(request, dict) else SearchRequest.from_text(request)
            return run_search(p, wanted, context, context.monitor)

    return CRDiffSearchScript


def _refuse_a_file_of_many() -> None:
    """Hosts run the script for each file of img2img's Batch tab, and number them in the state."""
    from modules.shared import state

    if re.fullmatch(r"\d+ out of \d+", str(state.job)):
        raise SettingsError("The Batch tab cannot be searched: search with one of its images in img2img.")
