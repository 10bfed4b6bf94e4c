"""The right side of a tab: gallery, infotext, messages, and the buttons that send an image on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from common.infotext_paste import ParamBinding, register_paste_params_button
from common.ui_components import ToolButton
from common.ui_generate import update_generation_info
from common.ui_gradio import GRADIO_4


@dataclass
class OutputPanel:
    gallery: Any
    generation_info: Any
    infotext: Any
    html_log: Any

    @property
    def outputs(self) -> list[Any]:
        return [self.gallery, self.generation_info, self.infotext, self.html_log]


def create_output_panel(tab: str, paste_field_names: list[str]) -> OutputPanel:
    with gr.Column(elem_id=f"{tab}_results"), gr.Column(variant="panel", elem_id=f"{tab}_results_panel"):
        with gr.Group(elem_id=f"{tab}_gallery_container"):
            gallery = gr.Gallery(
                label="Output",
                show_label=False,
                elem_id=f"{tab}_gallery",
                columns=4,
                preview=True,
                **({"interactive": False} if GRADIO_4 else {}),
            )
        with gr.Row(elem_id=f"image_buttons_{tab}", elem_classes=["image-buttons"]):
            send = ToolButton("\U0001f5bc\ufe0f", elem_id=f"{tab}_send_to_img2img", tooltip="Send to img2img.")
        with gr.Group():
            infotext = gr.HTML(elem_id=f"html_info_{tab}", elem_classes=["infotext"])
            html_log = gr.HTML(elem_id=f"html_log_{tab}", elem_classes=["html-log"])
            generation_info = gr.Textbox(visible=False, elem_id=f"generation_info_{tab}")
            chosen = gr.Button(visible=False, elem_id=f"{tab}_generation_info_button")
            chosen.click(
                fn=update_generation_info,
                _js="function(x, y, z){ return [x, y, selected_gallery_index()] }",
                inputs=[generation_info, infotext, infotext],
                outputs=[infotext, infotext],
                show_progress=False,
            )
    binding = ParamBinding(
        paste_button=send,
        tabname="img2img",
        source_tabname="txt2img" if tab == "txt2img" else None,
        source_image_component=gallery,
        paste_field_names=paste_field_names,
    )
    register_paste_params_button(binding)
    return OutputPanel(gallery, generation_info, infotext, html_log)
