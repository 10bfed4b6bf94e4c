"""The components of the two tabs that scripts look for, without a page around them."""

from __future__ import annotations

from typing import Any

import gradio as gr

from modules import infotext_utils, script_callbacks, scripts, sd_samplers, sd_schedulers, shared


def _tab(tab: str, runner: Any) -> None:
    """In the real page's order: prompt, sampler, size, batch, guidance, seed, then the scripts."""
    samplers = sd_samplers.visible_sampler_names()
    schedulers = [x.label for x in sd_schedulers.schedulers]

    def slider(label: str, name: str, low: float, high: float, value: float, step: float = 1) -> Any:
        return gr.Slider(minimum=low, maximum=high, step=step, label=label, value=value, elem_id=f"{tab}_{name}")

    fields = [
        _field(gr.Textbox(label="Prompt", value="", elem_id=f"{tab}_prompt"), "Prompt", "prompt"),
        _field(gr.Textbox(label="Negative prompt", value="", elem_id=f"{tab}_neg_prompt"), "Negative prompt",
               "negative_prompt"),
        _field(gr.Dropdown(label="Sampling method", choices=samplers, value=samplers[0], elem_id=f"{tab}_sampling"),
               sd_samplers.get_sampler_from_infotext, "sampler_name"),
        _field(gr.Dropdown(label="Schedule type", choices=schedulers, value=schedulers[0],
                           elem_id=f"{tab}_scheduler"), sd_samplers.get_scheduler_from_infotext, "scheduler"),
        _field(slider("Sampling steps", "steps", 1, 150, 20), "Steps", "steps"),
        _field(slider("Width", "width", 64, 2048, 512, 8), "Size-1", "width"),
        _field(slider("Height", "height", 64, 2048, 512, 8), "Size-2", "height"),
        _field(slider("Batch count", "batch_count", 1, 100, 1), "Batch count", "n_iter"),
        _field(slider("Batch size", "batch_size", 1, 8, 1), "Batch size", "batch_size"),
        _field(slider("CFG Scale", "cfg_scale", 1.0, 30.0, 7.0, 0.5), "CFG scale", "cfg_scale"),
        _field(slider("Denoising strength", "denoising_strength", 0.0, 1.0, 0.75, 0.01), "Denoising strength",
               "denoising_strength"),
        _field(gr.Number(label="Seed", value=-1, elem_id=f"{tab}_seed", precision=0), "Seed", "seed"),
    ]
    gr.Button("Generate", elem_id=f"{tab}_generate")
    for section in ("sampler", "checkboxes", "accordions", "batch", "cfg", "dimensions", "seed"):
        runner.setup_ui_for_section(section)
    with gr.Group(elem_id=f"{tab}_script_container"):
        runner.setup_ui()
    infotext_utils.add_paste_fields(tab, None, [*fields, *runner.infotext_fields])


def _field(component: Any, source: Any, name: str) -> Any:
    return infotext_utils.PasteField(component, source, api=name)


def create_ui() -> gr.Blocks:
    shared.tab_names = []
    infotext_utils.reset()
    script_callbacks.ui_settings_callback()
    shared.opts.reorder()
    with gr.Blocks(analytics_enabled=False, title="Stable Diffusion") as demo:
        for tab in ("txt2img", "img2img"):
            runner = getattr(scripts, f"scripts_{tab}")
            scripts.scripts_current = runner
            runner.initialize_scripts(is_img2img=tab == "img2img")
            runner.prepare_ui()
            _tab(tab, runner)
        scripts.scripts_current = None
        for interface, label, ifid in script_callbacks.ui_tabs_callback():
            shared.tab_names.append(label)
            with gr.Tab(label, elem_id=f"tab_{ifid}"):
                interface.render()
    return demo
