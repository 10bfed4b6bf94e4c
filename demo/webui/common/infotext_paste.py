"""Filling a tab's components from the text of an image, and sending from one tab to another."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable
from typing import Any

import gradio as gr
from PIL import Image

from common.infotext_parse import (  # noqa: F401  (the names under which hosts offer them)
    override_settings_from_texts as create_override_settings_dict,
)
from common.infotext_parse import (
    override_settings_of as get_override_settings,
)
from common.infotext_parse import (
    parse_generation_parameters,
)
from modules import errors, script_callbacks, shared
from modules.paths import data_path

UPDATE = type(gr.update())


class PasteField(tuple):
    """A component, and the key its value is stored under or a function that makes its value of all parameters."""

    def __new__(cls, component: Any, target: str | Callable, *, api: str | None = None) -> PasteField:
        return super().__new__(cls, (component, target))

    def __init__(self, component: Any, target: str | Callable, *, api: str | None = None) -> None:
        super().__init__()
        self.api = api
        self.component = component
        self.label = None if callable(target) else target
        self.function = target if callable(target) else None


class ParamBinding:
    """A button, the tab it fills, and where it takes text, image and values from."""

    def __init__(
        self,
        paste_button: Any,
        tabname: str,
        source_text_component: Any = None,
        source_image_component: Any = None,
        source_tabname: str | None = None,
        override_settings_component: Any = None,
        paste_field_names: list[str] | None = None,
    ) -> None:
        self.paste_button = paste_button
        self.tabname = tabname
        self.source_text_component = source_text_component
        self.source_image_component = source_image_component
        self.source_tabname = source_tabname
        self.override_settings_component = override_settings_component
        self.paste_field_names = paste_field_names or []


paste_fields: dict[str, dict[str, Any]] = {}
registered_param_bindings: list[ParamBinding] = []


def reset() -> None:
    paste_fields.clear()
    registered_param_bindings.clear()


def add_paste_fields(tabname: str, init_img: Any, fields: list | None, override_settings_component: Any = None) -> None:
    """Says what a tab has. Pairs become ``PasteField`` in the given list itself, which extensions keep."""
    if fields:
        fields[:] = [x if isinstance(x, PasteField) else PasteField(*x) for x in fields]
    paste_fields[tabname] = {
        "init_img": init_img,
        "fields": fields,
        "override_settings_component": override_settings_component,
    }


def register_paste_params_button(binding: ParamBinding) -> None:
    registered_param_bindings.append(binding)


def create_buttons(tabs_list: list[str]) -> dict[str, Any]:
    return {tab: gr.Button(f"Send to {tab}", elem_id=f"{tab}_tab") for tab in tabs_list}


def image_from_url_text(filedata: Any) -> Image.Image | None:
    """The image a gallery or image component hands over: a file, a data URL, in gradio 4 a pair with a caption."""
    while isinstance(filedata, (list, tuple)):
        filedata = filedata[0] if filedata else None
    if filedata is None or isinstance(filedata, Image.Image):
        return filedata
    if isinstance(filedata, dict):
        filedata = filedata.get("name") or filedata.get("data") or filedata["path"]
    if filedata.startswith("data:"):
        return Image.open(io.BytesIO(base64.b64decode(filedata.split(",", 1)[1])))
    return Image.open(filedata.rsplit("?", 1)[0])


def send_image_and_dimensions(x: Any) -> tuple[Any, Any, Any]:
    image = image_from_url_text(x)
    if shared.opts.send_size and image is not None:
        return image, image.width, image.height
    return image, gr.update(), gr.update()


def paste_values(fields: list, text: str) -> list[Any]:
    """One update per field; a key that is absent, or a value that does not fit, leaves the component as it is."""
    if not text and not shared.cmd_opts.no_prompt_history:
        try:
            with open(os.path.join(data_path, "params.txt"), encoding="utf8") as file:
                text = file.read()
        except OSError:
            pass
    params = parse_generation_parameters(text)
    script_callbacks.infotext_pasted_callback(text, params)
    return [_update(component, target, params) for component, target in fields]


def _update(component: Any, target: str | Callable, params: dict[str, Any]) -> Any:
    if callable(target):
        try:
            value = target(params)
        except Exception:
            errors.report(f"Error executing {target}", exc_info=True)
            value = None
    else:
        value = params.get(target)
    if value is None:
        return gr.update()
    if isinstance(value, UPDATE):
        return value
    kind = type(component.value)
    try:
        if kind is bool and value == "False":
            return gr.update(value=False)
        return gr.update(value=float(value) if kind is int else kind(value))
    except Exception:
        return gr.update()


def connect_paste(button: Any, fields: list, input_comp: Any, override_settings_component: Any, tabname: str) -> None:
    fields = list(fields)
    if override_settings_component is not None:
        handled = {target for _, target in fields if isinstance(target, str)}

        def overrides(params: dict[str, Any]) -> Any:
            texts = [f"{name}: {value}" for name, _, value in get_override_settings(params, skip_fields=handled)]
            return gr.update(value=texts, choices=texts, visible=bool(texts))

        fields.append((override_settings_component, overrides))
    button.click(
        fn=lambda text: paste_values(fields, text),
        inputs=[input_comp],
        outputs=[component for component, _ in fields],
        show_progress=False,
    )
    button.click(fn=None, _js=f"recalculate_prompts_{tabname}", inputs=[], outputs=[], show_progress=False)


def _component(fields: list | None, label: str) -> Any:
    return next((component for component, target in fields or [] if target == label), None)


def _connect_image(binding: ParamBinding, destination: dict[str, Any]) -> None:
    size = [_component(destination["fields"], label) for label in ("Size-1", "Size-2")]
    with_size = None not in size and binding.tabname != "inpaint"
    outputs = [destination["init_img"], *(size if with_size else [])]
    from_gallery = isinstance(binding.source_image_component, gr.Gallery)
    binding.paste_button.click(
        fn=send_image_and_dimensions if with_size else image_from_url_text,
        _js="extract_image_from_gallery" if from_gallery else None,
        inputs=[binding.source_image_component],
        outputs=outputs,
        show_progress=False,
    )


def _connect_tab(binding: ParamBinding, destination: dict[str, Any]) -> None:
    names = ["Prompt", "Negative prompt", "Steps", "Face restoration", *binding.paste_field_names]
    if shared.opts.send_seed:
        names.append("Seed")
    sources, targets = (
        [component for component, target in side["fields"] if target in names]
        for side in (paste_fields[binding.source_tabname], destination)
    )
    binding.paste_button.click(
        fn=lambda *x: x if len(x) > 1 else x[0], inputs=sources, outputs=targets, show_progress=False
    )


def connect_paste_params_buttons() -> None:
    for binding in registered_param_bindings:
        if binding.tabname not in paste_fields:
            continue
        destination = paste_fields[binding.tabname]
        if binding.source_image_component is not None and destination["init_img"] is not None:
            _connect_image(binding, destination)
        if destination["fields"] is not None:
            overrides = binding.override_settings_component or destination["override_settings_component"]
            if binding.source_text_component is not None:
                text, button = binding.source_text_component, binding.paste_button
                connect_paste(button, destination["fields"], text, overrides, binding.tabname)
            if binding.source_tabname is not None:
                _connect_tab(binding, destination)
        binding.paste_button.click(
            fn=None, _js=f"switch_to_{binding.tabname}", inputs=None, outputs=None, show_progress=False
        )
