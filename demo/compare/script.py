"""The script behind the Compare button, which the API can ask for as well (``script_name``: ``Compare``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from crdiff.presets.library import PresetLibrary
from crdiff.webui.checkpoints import CheckpointReader
from crdiff.webui.compare.api import add_compare_routes
from crdiff.webui.compare.context import CompareContext
from crdiff.webui.compare.script import make_compare_script
from demo.compare.controls import PageControls
from modules import paths, script_callbacks

TITLE = "Compare"
_FOLDER = Path(paths.data_path) / "crdiff"

context = CompareContext(_FOLDER, PresetLibrary(_FOLDER), CheckpointReader(), path="demo/compare")
script_callbacks.on_app_started(lambda _, app: add_compare_routes(app, context))


class CompareScript(make_compare_script(context, TITLE)):
    """CR-Diff's own comparison, in its usual ways, with its panel above the gallery."""

    def __init__(self) -> None:
        super().__init__()
        PageControls(self, context.library.presets())

    def show(self, is_img2img: bool) -> bool:
        return not is_img2img

    def ui(self, is_img2img: bool) -> list[Any]:
        return []
