"""The search among the host's scripts."""

from __future__ import annotations

import re
from typing import Any

from crdiff.errors import SettingsError
from crdiff.webui.jobs.api_jobs import ApiJob
from crdiff.webui.jobs.script import make_job_script
from crdiff.webui.search.context import SearchContext
from crdiff.webui.search.job import run_search
from crdiff.webui.search.request import SCRIPT_TITLE, SearchRequest
from modules import scripts


def make_search_script(context: SearchContext) -> type[scripts.Script]:
    """The class of the search script."""

    def run(p: Any, request: Any) -> Any:
        if isinstance(request, ApiJob):
            try:
                return run_search(p, request.request, context, request.monitor, shown=False)
            finally:
                request.monitor.update(dense=None, best=None)  # only the page shows them
        _refuse_a_file_of_many()
        wanted = SearchRequest.from_dict(request) if isinstance(request, dict) else SearchRequest.from_text(request)
        return run_search(p, wanted, context, context.monitor)

    return make_job_script("search", SCRIPT_TITLE, run)


def _refuse_a_file_of_many() -> None:
    """Hosts run the script for each file of img2img's Batch tab, and number them in the state."""
    from modules.shared import state

    if re.fullmatch(r"\d+ out of \d+", str(state.job)):
        raise SettingsError("The Batch tab cannot be searched: search with one of its images in img2img.")
