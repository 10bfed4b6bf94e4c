"""The page: quick settings, the two generation tabs, PNG info, the extensions' own tabs, and settings."""

from __future__ import annotations

import asyncio
from typing import Any

import gradio as gr

from common import infotext_paste, ui_head
from common.infotext_paste import ParamBinding
from common.ui_generate import plaintext_to_html
from common.ui_gradio import GRADIO_4
from common.ui_settings import Settings, create_setting_component  # noqa: F401
from common.ui_tab import GenerationTab
from modules import script_callbacks, scripts, shared


def create_ui() -> gr.Blocks:
    """Makes the page anew, with the scripts loaded last."""
    ui_head.reload_javascript()
    infotext_paste.reset()
    settings = Settings()
    interfaces = [_generation(tab) for tab in ("txt2img", "img2img")]
    scripts.scripts_current = None
    interfaces.append((_png_info(), "PNG Info", "pnginfo"))
    interfaces += script_callbacks.ui_tabs_callback()
    interfaces.append((settings.tab(), "Settings", "settings"))
    shared.tab_names = [label for _, label, _ in interfaces]

    with gr.Blocks(analytics_enabled=False, title="Stable Diffusion") as demo:
        settings.quick_settings()
        infotext_paste.connect_paste_params_buttons()
        with gr.Tabs(elem_id="tabs"):
            for interface, label, ifid in interfaces:
                with gr.TabItem(label, id=ifid, elem_id=f"tab_{ifid}"):
                    interface.render()
        settings.connect()
    return demo


def _generation(tab: str) -> tuple[gr.Blocks, str, str]:
    runner = scripts.scripts_txt2img if tab == "txt2img" else scripts.scripts_img2img
    scripts.scripts_current = runner
    runner.initialize_scripts(is_img2img=tab == "img2img")
    made = GenerationTab(tab, runner)
    with gr.Blocks(analytics_enabled=False) as interface:
        made.build()
    globals()[f"{tab}_paste_fields"] = made.fields
    return interface, tab, tab


def _png_info() -> gr.Blocks:
    with gr.Blocks(analytics_enabled=False) as interface, gr.Row(equal_height=False):
        with gr.Column(variant="panel"):
            image = gr.Image(elem_id="pnginfo_image", label="Source", source="upload", interactive=True, type="pil")
        with gr.Column(variant="panel"):
            shown = gr.HTML(elem_id="pnginfo_html_info")
            text = gr.Textbox(visible=False, elem_id="pnginfo_generation_info")
            with gr.Row():
                buttons = infotext_paste.create_buttons(["txt2img", "img2img"])
        for tab, button in buttons.items():
            binding = ParamBinding(button, tab, source_text_component=text, source_image_component=image)
            infotext_paste.register_paste_params_button(binding)
        image.change(fn=_read_png_info, inputs=[image], outputs=[shown, text], show_progress=False)
    return interface


def _read_png_info(image: Any) -> tuple[str, str]:
    if image is None:
        return "", ""
    text = str(image.info.get("parameters", ""))
    return plaintext_to_html(text or "Nothing found in the image."), text


def mount(app: Any, demo: gr.Blocks) -> Any:
    """Puts the page under the API's app, so that both share one port."""
    allowed = ui_head.allowed_paths()
    try:
        asyncio.get_event_loop()
    except RuntimeError:  # gradio's queue makes its locks only where a loop is, and this may be any thread
        asyncio.set_event_loop(asyncio.new_event_loop())
    if GRADIO_4:
        demo.queue(default_concurrency_limit=64)
        return gr.mount_gradio_app(app, demo, path="/", allowed_paths=allowed)
    demo.queue(64)
    demo.allowed_paths = allowed
    return gr.mount_gradio_app(app, demo, path="/")
