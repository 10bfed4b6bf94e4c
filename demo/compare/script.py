"""The script behind the Compare button, which the API can ask for as well (``script_name``: ``Compare``)."""

from __future__ import annotations

import json
import secrets
from collections import OrderedDict
from typing import Any

from demo.compare.controls import PageControls
from demo.compare.drawing import SUMMARY_KEY, compare
from demo.compare.scores import Scores
from modules import scripts

KEPT = 16


class CompareScript(scripts.Script):
    """Draws the dense image, the pruned one and CR-Diff's, and hands the panel to the page that asked."""

    def __init__(self) -> None:
        super().__init__()
        self._scores = Scores()
        self._panels: OrderedDict[str, str] = OrderedDict()
        PageControls(self, self.panel_of)

    def title(self) -> str:
        return SUMMARY_KEY

    def show(self, is_img2img: bool) -> bool:
        return not is_img2img

    def ui(self, is_img2img: bool) -> list[Any]:
        return []

    def run(self, p: Any, *args: Any) -> Any:
        result, comparison = compare(p, self._scores)
        if comparison.columns:
            key = secrets.token_hex(8)
            self._panels[key] = comparison.to_html()
            while len(self._panels) > KEPT:
                self._panels.popitem(last=False)
            result.extra_generation_params[SUMMARY_KEY]["panel"] = key
        return result

    def panel_of(self, generation_info: str) -> str:
        """The panel of a job, by what the host tells the page about it; empty if it was no comparison."""
        try:
            key = json.loads(generation_info)["extra_generation_params"][SUMMARY_KEY]["panel"]
        except (ValueError, KeyError, TypeError):
            return ""
        return self._panels.get(key, "")
