"""The search among the host's scripts: chosen for one job by the Search button, or by the API's ``script_name``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from modules import scripts

if TYPE_CHECKING:
    from crdiff.webui.extension import Extension

TITLE = "CR-Diff search"


def make_search_script(extension: Extension) -> type[scripts.Script]:
    """The class of the search script."""

    class CRDiffSearchScript(scripts.Script):
        def title(self) -> str:
            return TITLE

        def show(self, is_img2img: bool) -> bool:
            return True

        def ui(self, is_img2img: bool) -> list[Any]:
            import gradio as gr

            tab = "img2img" if is_img2img else "txt2img"
            plan = gr.Textbox("", label="Settings of the search", elem_id=f"{tab}_crdiff_search_plan", visible=False)
            plan.do_not_save_to_config = True
            return [plan]

        def run(self, p: Any, plan: Any = "", *args: Any) -> Any:
            from crdiff.webui.search.job import run_search
            from crdiff.webui.search.orders import Order
            from crdiff.webui.search.plan import SearchPlan

            if isinstance(plan, Order):
                plan.begin()
                return run_search(p, plan.plan, extension, plan.board, extension.folder, shown=False)
            _refuse_a_file_of_many()
            wanted = SearchPlan.from_dict(plan) if isinstance(plan, dict) else SearchPlan.from_text(plan)
            return run_search(p, wanted, extension, extension.board, extension.folder)

    return CRDiffSearchScript


def _refuse_a_file_of_many() -> None:
    """Hosts run the script for each file of img2img's Batch tab, and number them in the state."""
    from crdiff.errors import SettingsError
    from modules.shared import state

    if re.fullmatch(r"\d+ out of \d+", str(state.job)):
        raise SettingsError(
            "The Batch tab cannot be searched: put one of its pictures into img2img and search with that."
        )
