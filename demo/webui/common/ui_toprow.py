"""Prompts, and the buttons beside them."""

from __future__ import annotations

from typing import Any

import gradio as gr

from common.ui_components import ToolButton
from modules import shared


class Toprow:
    """The first row of a tab."""

    def __init__(self, tab: str) -> None:
        with gr.Row(elem_id=f"{tab}_toprow", variant="compact"):
            with gr.Column(elem_id=f"{tab}_prompt_container", scale=6):
                self.prompt = self._prompt(tab, "prompt", "Prompt")
                self.negative_prompt = self._prompt(tab, "neg_prompt", "Negative prompt")
            with gr.Column(scale=1, elem_id=f"{tab}_actions_column"):
                self._buttons(tab)
                self._tools(tab)
                self.styles = gr.Dropdown(
                    label="Styles", show_label=False, elem_id=f"{tab}_styles", choices=[], value=[], multiselect=True
                )

    @staticmethod
    def _prompt(tab: str, name: str, label: str) -> Any:
        return gr.Textbox(
            value="",  # pasting turns text into the type of this
            label=label,
            elem_id=f"{tab}_{name}",
            show_label=False,
            lines=3,
            placeholder=label,
            elem_classes=["prompt"],
        )

    def _buttons(self, tab: str) -> None:
        with gr.Row(elem_id=f"{tab}_generate_box", elem_classes=["generate-box"]):
            self.interrupt = gr.Button("Interrupt", elem_id=f"{tab}_interrupt", elem_classes=["generate-box-interrupt"])
            self.skip = gr.Button("Skip", elem_id=f"{tab}_skip", elem_classes=["generate-box-skip"])
            self.interrupting = gr.Button(
                "Interrupting...", elem_id=f"{tab}_interrupting", elem_classes=["generate-box-interrupting"]
            )
            self.submit = gr.Button("Generate", elem_id=f"{tab}_generate", variant="primary")
        self.skip.click(fn=lambda: shared.state.skip(), inputs=[], outputs=[])
        show_placeholder = f"function(){{ showSubmitInterruptingPlaceholder('{tab}'); }}"
        self.interrupt.click(fn=lambda: shared.state.interrupt(), _js=show_placeholder, inputs=[], outputs=[])
        self.interrupting.click(fn=lambda: shared.state.interrupt(), inputs=[], outputs=[])

    def _tools(self, tab: str) -> None:
        with gr.Row(elem_id=f"{tab}_tools"):
            # Both tabs have a button of this id in the hosts, too.
            self.paste = ToolButton(
                value="\u2199\ufe0f", elem_id="paste", tooltip="Read generation parameters from the prompt."
            )
            self.clear = ToolButton(value="\U0001f5d1\ufe0f", elem_id=f"{tab}_clear_prompt", tooltip="Clear prompt")
            prompts = [self.prompt, self.negative_prompt]
            self.clear.click(fn=lambda: ("", ""), inputs=[], outputs=prompts, show_progress=False)
