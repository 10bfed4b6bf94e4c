"""The txt2img and img2img tabs."""

from __future__ import annotations

from typing import Any

import gradio as gr

from common import infotext_paste
from common.infotext_paste import ParamBinding, PasteField
from common.ui_components import FormGroup, FormHTML, FormRow, InputAccordion, ToolButton
from common.ui_generate import generation_function
from common.ui_output import create_output_panel
from common.ui_toprow import Toprow
from modules import sd_models, sd_samplers, sd_schedulers, shared
from modules.call_queue import wrap_gradio_gpu_call

CATEGORIES = (
    "sampler", "image", "dimensions", "cfg", "seed", "checkboxes", "accordions", "batch", "override_settings",
)  # fmt: skip


class GenerationTab:
    """Makes a tab in the order hosts have by default; ``values`` are the components by argument name."""

    def __init__(self, tab: str, runner: Any) -> None:
        self.tab = tab
        self.runner = runner
        self.values: dict[str, Any] = {}
        self.fields: list[PasteField] = []
        self.init_image: Any = None

    def build(self) -> None:
        self.toprow = Toprow(self.tab)
        task = gr.Textbox(visible=False)  # the id of the job, put in by the page's script
        with gr.Row(elem_id=f"{self.tab}_columns"):
            with gr.Column(variant="compact", elem_id=f"{self.tab}_settings"):
                custom_inputs = self._settings()
            panel = create_output_panel(self.tab, self.runner.paste_field_names)
        self.values = {
            "prompt": self.toprow.prompt,
            "negative_prompt": self.toprow.negative_prompt,
            "styles": self.toprow.styles,
            **self.values,
        }
        function = generation_function(self.tab, list(self.values))
        submit = {
            "fn": wrap_gradio_gpu_call(function, extra_outputs=[None, "", ""]),
            "_js": "submit" if self.tab == "txt2img" else "submit_img2img",
            "inputs": [task, *self.values.values(), *custom_inputs],
            "outputs": panel.outputs,
            "show_progress": False,
        }
        self.toprow.prompt.submit(**submit)
        self.toprow.submit.click(**submit)
        self._paste_fields()

    def _settings(self) -> list[Any]:
        runner = self.runner
        runner.prepare_ui()
        # Extensions may ask for a section of their own, which comes after the hosts'.
        sections = {x.section for x in runner.scripts if isinstance(x.section, str)}
        for category in (*CATEGORIES, *sorted(sections - set(CATEGORIES))):
            if category == "accordions":
                with gr.Row(elem_id=f"{self.tab}_accordions", elem_classes=["accordions"]):
                    self._hires()
                    runner.setup_ui_for_section(category)
                continue
            part = getattr(self, f"_{category}", None)
            if part is not None:
                part()
            runner.setup_ui_for_section(category)
        with FormGroup(elem_id=f"{self.tab}_script_container"):
            return runner.setup_ui()

    def _slider(self, name: str, elem: str, label: str, low: float, high: float, value: float, step: float) -> Any:
        slider = gr.Slider(
            minimum=low, maximum=high, step=step, label=label, value=value, elem_id=f"{self.tab}_{elem}"
        )
        self.values[name] = slider
        return slider

    def _sampler(self) -> None:
        with FormRow(elem_id=f"sampler_selection_{self.tab}"):
            samplers = sd_samplers.visible_sampler_names()
            self._dropdown("sampler_name", f"{self.tab}_sampling", "Sampling method", samplers)
            schedulers = [x.label for x in sd_schedulers.schedulers]
            self._dropdown("scheduler", f"{self.tab}_scheduler", "Schedule type", schedulers)
            self._slider("steps", "steps", "Sampling steps", 1, 150, 20, 1)

    def _seed(self) -> None:
        with gr.Row(elem_id=f"{self.tab}_seed_row"):
            seed = gr.Number(label="Seed", value=-1, elem_id=f"{self.tab}_seed", min_width=100, precision=0)
            random = ToolButton(
                value="\U0001f3b2\ufe0f", elem_id=f"{self.tab}_random_seed", tooltip="Set seed to -1."
            )
        random.click(fn=lambda: -1, inputs=[], outputs=[seed], show_progress=False)
        self.values["seed"] = seed

    def _image(self) -> None:
        if self.tab != "img2img":
            return
        common = {"show_label": False, "source": "upload", "interactive": True, "type": "pil"}
        mode = gr.Number(value=0, visible=False, precision=0)
        with gr.Tabs(elem_id="mode_img2img"):
            with gr.TabItem("img2img", id="img2img", elem_id="img2img_img2img_tab") as plain:
                self.init_image = gr.Image(label="Image for img2img", elem_id="img2img_image", **common)
            with gr.TabItem("Inpaint upload", id="inpaint_upload", elem_id="img2img_inpaint_upload_tab") as inpaint:
                base = gr.Image(label="Image for img2img", elem_id="img_inpaint_base", **common)
                mask = gr.Image(label="Mask", elem_id="img_inpaint_mask", **common)
        plain.select(fn=lambda: 0, inputs=[], outputs=[mode])
        inpaint.select(fn=lambda: 1, inputs=[], outputs=[mode])
        with FormRow():
            choices = ["Just resize", "Crop and resize", "Resize and fill", "Just resize (latent upscale)"]
            resize = gr.Radio(
                label="Resize mode", elem_id="resize_mode", choices=choices, type="index", value=choices[0]
            )
        self.values |= {"mode": mode, "init_image": self.init_image, "inpaint_image": base, "inpaint_mask": mask}
        self.values["resize_mode"] = resize
        with FormGroup(elem_id="inpaint_controls"):
            self._slider("mask_blur", "mask_blur", "Mask blur", 0, 64, 4, 1)
            full = gr.Radio(
                label="Inpaint area", choices=["Whole picture", "Only masked"], type="index", value="Whole picture",
                elem_id="img2img_inpaint_full_res",
            )  # fmt: skip
            self.values["inpaint_full_res"] = full

    def _dimensions(self) -> None:
        with FormRow():
            with gr.Column(elem_id=f"{self.tab}_column_size", scale=4):
                self._slider("width", "width", "Width", 64, 2048, 512, 8)
                self._slider("height", "height", "Height", 64, 2048, 512, 8)
            with gr.Column(elem_id=f"{self.tab}_dimensions_row", scale=1, elem_classes=["dimensions-tools"]):
                switch = ToolButton(
                    value="\u21c5", elem_id=f"{self.tab}_res_switch_btn", tooltip="Switch width/height"
                )
            with gr.Column(elem_id=f"{self.tab}_column_batch"):
                self._slider("n_iter", "batch_count", "Batch count", 1, 100, 1, 1)
                self._slider("batch_size", "batch_size", "Batch size", 1, 8, 1, 1)
        sides = [self.values["width"], self.values["height"]]
        switch.click(fn=lambda w, h: (h, w), inputs=sides, outputs=sides, show_progress=False)

    def _cfg(self) -> None:
        with gr.Row():
            self._slider("cfg_scale", "cfg_scale", "CFG Scale", 1.0, 30.0, 7.0, 0.5)
        if self.tab == "img2img":
            self._slider("denoising_strength", "denoising_strength", "Denoising strength", 0.0, 1.0, 0.75, 0.01)

    def _hires(self) -> None:
        if self.tab != "txt2img":
            return
        with InputAccordion(False, label="Hires. fix", elem_id="txt2img_hr") as self.values["enable_hr"]:
            with self.values["enable_hr"].extra():
                size = FormHTML(value="", elem_id="txtimg_hr_finalres", label="Upscaled resolution", min_width=0)
            modes = [*shared.latent_upscale_modes, *(x.name for x in shared.sd_upscalers)]
            with FormRow(elem_id="txt2img_hires_fix_row1", variant="compact"):
                self._dropdown("hr_upscaler", "txt2img_hr_upscaler", "Upscaler", modes)
                self._slider("hr_second_pass_steps", "hires_steps", "Hires steps", 0, 150, 0, 1)
                self._slider("denoising_strength", "denoising_strength", "Denoising strength", 0.0, 1.0, 0.7, 0.01)
            with FormRow(elem_id="txt2img_hires_fix_row2", variant="compact"):
                self._slider("hr_scale", "hr_scale", "Upscale by", 1.0, 4.0, 2.0, 0.05)
                self._slider("hr_resize_x", "hr_resize_x", "Resize width to", 0, 2048, 0, 8)
                self._slider("hr_resize_y", "hr_resize_y", "Resize height to", 0, 2048, 0, 8)
            with FormRow(elem_id="txt2img_hires_fix_row3", variant="compact"):
                checkpoints = ["Use same checkpoint", *sd_models.checkpoint_tiles(use_short=True)]
                self._dropdown("hr_checkpoint_name", "hr_checkpoint", "Checkpoint", checkpoints)
                samplers = ["Use same sampler", *sd_samplers.visible_sampler_names()]
                self._dropdown("hr_sampler_name", "hr_sampler", "Hires sampling method", samplers)
                schedulers = ["Use same scheduler", *(x.label for x in sd_schedulers.schedulers)]
                self._dropdown("hr_scheduler", "hr_scheduler", "Hires schedule type", schedulers)
            for name, label in (("hr_prompt", "Hires prompt"), ("hr_negative_prompt", "Hires negative prompt")):
                elem = "hires_prompt" if name == "hr_prompt" else "hires_neg_prompt"
                self.values[name] = gr.Textbox("", label=label, elem_id=elem, show_label=False, placeholder=label)
        names = ("enable_hr", "width", "height", "hr_scale", "hr_resize_x", "hr_resize_y")
        inputs = [self.values[name] for name in names]
        for component in inputs:
            event = component.release if isinstance(component, gr.Slider) else component.change
            event(fn=_resolution_after_hires, inputs=inputs, outputs=[size], show_progress=False)

    def _dropdown(self, name: str, elem_id: str, label: str, choices: list[str]) -> None:
        self.values[name] = gr.Dropdown(label=label, elem_id=elem_id, choices=choices, value=choices[0])

    def _override_settings(self) -> None:
        with FormRow(elem_id=f"{self.tab}_override_settings_row"):
            dropdown = gr.Dropdown(
                [], label="Override settings", visible=False, elem_id=f"{self.tab}_override_settings", multiselect=True
            )
        dropdown.change(fn=lambda x: gr.update(visible=bool(x)), inputs=[dropdown], outputs=[dropdown])
        self.values["override_settings_texts"] = dropdown

    def _paste_fields(self) -> None:
        named = [
            ("prompt", "Prompt"), ("negative_prompt", "Negative prompt"), ("cfg_scale", "CFG scale"),
            ("width", "Size-1"), ("height", "Size-2"), ("batch_size", "Batch size"),
            ("denoising_strength", "Denoising strength"), ("hr_scale", "Hires upscale"),
            ("hr_upscaler", "Hires upscaler"), ("hr_second_pass_steps", "Hires steps"),
            ("hr_resize_x", "Hires resize-1"), ("hr_resize_y", "Hires resize-2"),
            ("hr_checkpoint_name", "Hires checkpoint"), ("hr_sampler_name", "Hires sampler"),
            ("hr_scheduler", "Hires schedule type"), ("hr_prompt", "Hires prompt"),
            ("hr_negative_prompt", "Hires negative prompt"), ("resize_mode", "Resize mode"), ("mask_blur", "Mask blur"),
            ("inpaint_full_res", "Inpaint area"), ("steps", "Steps"), ("seed", "Seed"),
            ("sampler_name", sd_samplers.get_sampler_from_infotext),
            ("scheduler", sd_samplers.get_scheduler_from_infotext),
        ]  # fmt: skip
        self.fields = [PasteField(self.values[n], key, api=n) for n, key in named if n in self.values]
        if "enable_hr" in self.values:
            self.fields.append(PasteField(self.values["enable_hr"], _asks_for_hires, api="enable_hr"))
        self.fields += self.runner.infotext_fields
        overrides = self.values["override_settings_texts"]
        infotext_paste.add_paste_fields(self.tab, self.init_image, self.fields, overrides)
        infotext_paste.register_paste_params_button(
            ParamBinding(
                paste_button=self.toprow.paste, tabname=self.tab, source_text_component=self.toprow.prompt
            )
        )


def _asks_for_hires(params: dict[str, Any]) -> bool:
    sizes = ("Hires upscale", "Hires upscaler", "Hires resize-1")
    return "Denoising strength" in params and any(key in params for key in sizes)


def _resolution_after_hires(enable: bool, width: float, height: float, scale: float, x: float, y: float) -> str:
    if not enable:
        return ""
    width, height = int(width), int(height)
    if not x and not y:
        new = int(width * scale), int(height * scale)
    else:
        new = int(x) or int(y) * width // height, int(y) or int(x) * height // width
    from_to = [f"<span class='resolution'>{w}x{h}</span>" for w, h in ((width, height), new)]
    return "from {} to {}".format(*from_to)
