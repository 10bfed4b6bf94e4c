"""What the demo puts into the txt2img tab, found by the hosts' element ids: what to do, examples, sizes, Compare."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from crdiff.presets.table import Preset
from demo.prepare import CRITERION
from demo.scenes.scene import NATIVE, OTHER_SIZES, judging_scenes
from modules import sd_models

MODEL = "crdiff-demo"
"""Name of the demo's checkpoint, without the file's ending."""

SIZES = (*OTHER_SIZES, (192, 192))
"""Height and width of the sizes the model was not trained at."""

EXAMPLES = [scene.caption() for scene in judging_scenes(6)]

START = OTHER_SIZES[0]
"""Height and width that the page starts with: where CR-Diff helps most."""

DEFAULTS = {
    "prompt": EXAMPLES[0], "width": START[1], "height": START[0], "steps": 12, "cfg_scale": 3.0,
    "sampling": "DPM++ 2M", "scheduler": "Uniform", "seed": 1, "batch_size": 8,
}  # fmt: skip
"""What the tab's components start with, by the last part of their id: as in the demo's measurements."""

_IN_PAGE = {"queue": False, "show_progress": False}


class PageControls:
    """Adds the demo's controls while the host builds its page.

    Args:
        script: the comparison, which the host tells about its components.
        presets: those at hand; a data folder from earlier times may hold none for the demo's criterion.
    """

    def __init__(self, script: Any, presets: Sequence[Preset]) -> None:
        self._made: dict[str, Any] = {}
        start = dict(DEFAULTS)
        if any(preset.criterion == CRITERION for preset in presets):
            start["crdiff_criterion"] = CRITERION
        for name, value in start.items():
            script.on_after_component(self._start_with(name, value), elem_id=f"txt2img_{name}")
        script.on_before_component(self._introduce, elem_id="txt2img_toprow")
        script.on_after_component(self._examples, elem_id="txt2img_neg_prompt")
        script.on_after_component(self._sizes, elem_id="txt2img_height")
        script.on_after_component(self._compare, elem_id="txt2img_generate")
        script.on_before_component(
            lambda _: script.make_panel("txt2img", "txt2img_demo_crdiff_compare"), elem_id="txt2img_gallery_container"
        )

    def _start_with(self, name: str, value: object) -> Callable[[Any], None]:
        def start(created: Any) -> None:
            self._made[name] = created.component
            created.component.value = value

        return start

    def _introduce(self, _: Any) -> None:
        text = (
            f"This model has only ever seen images of {NATIVE}x{NATIVE} pixels, and fails at others. Press "
            "<b>Compare</b>: the model alone (dense) and with CR-Diff, each from the same noises, judged by a "
            "classifier. Then try another caption or size."
        )
        if not any(info.name_for_extra == MODEL for info in sd_models.checkpoints_list.values()):
            text += f" <b>{html.escape(MODEL)}.safetensors is missing, so the images come from random weights.</b>"
        gr.HTML(f'<p class="demo-intro">{text}</p>')

    def _examples(self, _: Any) -> None:
        with gr.Row(elem_id="demo_examples", elem_classes=["demo-buttons"]):
            for number, caption in enumerate(EXAMPLES):
                button = gr.Button(caption, size="sm", elem_id=f"demo_example_{number}")
                button.click(None, [], [self._made["prompt"]], _js=f"() => {json.dumps(caption)}", **_IN_PAGE)

    def _sizes(self, _: Any) -> None:
        gr.HTML('<p class="demo-label">Size, height x width</p>')
        with gr.Row(elem_id="demo_sizes", elem_classes=["demo-buttons"]):
            for height, width in ((NATIVE, NATIVE), *SIZES):
                label = f"{height}x{width}"
                native = (height, width) == (NATIVE, NATIVE)
                button = gr.Button(f"{label} (native)" if native else label, size="sm", elem_id=f"demo_size_{label}")
                sides = [self._made["height"], self._made["width"]]
                button.click(None, [], sides, _js=f"() => [{height}, {width}]", **_IN_PAGE)

    def _compare(self, _: Any) -> None:
        button = gr.Button("Compare", elem_id="demo_compare")
        button.click(None, [], [], _js="demoCompare", **_IN_PAGE)
