"""The comparison among the host's scripts, with its controls and the panel of the last one."""

from __future__ import annotations

import json
from typing import Any

from crdiff.errors import SettingsError
from crdiff.scoring.formula import NAMES
from crdiff.webui.compare.context import CompareContext
from crdiff.webui.compare.job import run_compare
from crdiff.webui.compare.panel import panel_html
from crdiff.webui.compare.request import MAX_SEEDS, NO_SCORE, SCRIPT_TITLE, CompareRequest
from crdiff.webui.compare.ways import USUAL, WAYS
from crdiff.webui.events import QUIET
from crdiff.webui.generation import refusal
from modules import scripts

_AUTO = "first available"
_SEEDS = 4


def make_compare_script(context: CompareContext, title: str = SCRIPT_TITLE) -> type[scripts.Script]:
    """The class of a script that compares, one instance of which the host makes for each tab.

    Args:
        context: the surroundings.
        title: by which menu and API choose it, and under which its result tells of the comparison.
    """

    class CRDiffCompareScript(scripts.Script):
        def __init__(self) -> None:
            super().__init__()
            self._panel: dict[str, tuple[Any, Any]] = {}
            for tab in ("txt2img", "img2img"):
                self.on_after_component(self._connect(tab), elem_id=f"generation_info_{tab}")

        def title(self) -> str:
            return title

        def show(self, is_img2img: bool) -> bool:
            return True

        def ui(self, is_img2img: bool) -> list[Any]:
            import gradio as gr

            tab = "img2img" if is_img2img else "txt2img"
            told = "; ".join(f"{name}: {way.help}" for name, way in WAYS.items())
            ways = gr.CheckboxGroup(
                list(WAYS), value=list(USUAL), label="Compare", info=told, elem_id=f"{tab}_crdiff_compare_ways"
            )
            with gr.Row():
                seeds = gr.Slider(
                    1,
                    MAX_SEEDS,
                    _SEEDS,
                    step=1,
                    label="Seeds, from the tab's on",
                    elem_id=f"{tab}_crdiff_compare_seeds",
                )
                score = gr.Dropdown(
                    [_AUTO, NO_SCORE, *NAMES], value=_AUTO, label="Score", allow_custom_value=True,
                    elem_id=f"{tab}_crdiff_compare_score",
                )  # fmt: skip
            self.make_panel(tab, f"{tab}_crdiff_compare")
            return [ways, seeds, score]

        def make_panel(self, tab: str, named: str) -> None:
            """Make a tab's panel, and the button that the page's script presses when a job is over.

            Args:
                tab: the host's name of the tab.
                named: what their ids begin with: the tab, and ending in ``crdiff_compare``.
            """
            import gradio as gr

            panel = gr.HTML("", elem_id=f"{named}_panel")
            self._panel[tab] = panel, gr.Button("Show", elem_id=f"{named}_show")

        def _connect(self, tab: str) -> Any:
            def connect(created: Any) -> None:
                # Hosts make the controls again for the API, in a page of its own.
                if tab in self._panel:
                    panel, show = self._panel.pop(tab)
                    show.click(self.panel_of, [created.component], [panel], **QUIET)

            return connect

        def panel_of(self, generation_info: str) -> str:
            """The panel of a job, by what the host tells the page about it; empty if it was no comparison."""
            try:
                key = json.loads(generation_info)["extra_generation_params"][title]["panel"]
            except (ValueError, KeyError, TypeError):
                return ""
            comparison = context.kept.get(key)
            return "" if comparison is None else panel_html(comparison, context.path, key)

        def run(self, p: Any, *args: Any) -> Any:
            given = [None if value == _AUTO else value for value in args]
            try:
                return run_compare(p, CompareRequest.from_args(given), context, title)
            except SettingsError as error:
                raise refusal(p, error) from None

    return CRDiffCompareScript
