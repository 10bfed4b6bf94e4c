"""A tab's scripts: their instances, their controls, and calling their hooks one after the other.

A hook that raises is reported and passed over, and generation goes on with whatever the hook had done by then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

import standin_flavour as flavour
from common.host.script_base import AlwaysVisible, OnComponent, Script
from modules import errors, shared


def wrap_call(func: Callable, filename: str, funcname: str, *args: Any, default: Any = None, **kwargs: Any) -> Any:
    try:
        return func(*args, **kwargs)
    except Exception:
        errors.report(f"Error calling: {filename}/{funcname}", exc_info=True)
    return default


class ScriptRunner:
    def __init__(self) -> None:
        self.scripts: list[Script] = []
        self.selectable_scripts: list[Script] = []
        self.alwayson_scripts: list[Script] = []
        self.titles: list[str] = []
        self.title_map: dict[str, Script] = {}
        self.infotext_fields: list = []
        self.paste_field_names: list[str] = []
        self.inputs: list[Any] = [None]
        self.on_before_component_elem_id: dict[str, list] = {}
        self.on_after_component_elem_id: dict[str, list] = {}

    # Instances

    def initialize_scripts(self, is_img2img: bool) -> None:
        from modules import scripts

        for names in (self.scripts, self.alwayson_scripts, self.selectable_scripts):
            names.clear()
        for data in scripts.scripts_data:
            try:
                script = data.script_class()
            except Exception:
                errors.report(f"Error # failed to initialize Script {data.module}: ", exc_info=True)
                continue
            script.filename = data.path
            script.is_img2img = is_img2img
            script.tabname = "img2img" if is_img2img else "txt2img"
            visibility = script.show(script.is_img2img)
            if visibility == AlwaysVisible:
                script.alwayson = True
                self.scripts.append(script)
                self.alwayson_scripts.append(script)
            elif visibility:
                self.scripts.append(script)
                self.selectable_scripts.append(script)
        self.apply_on_before_component_callbacks()

    def apply_on_before_component_callbacks(self) -> None:
        """Takes over what scripts registered in ``__init__``, ``show`` or ``ui``."""
        for script in self.scripts:
            for wanted, known in ((script.on_before_component_elem_id, self.on_before_component_elem_id),
                                  (script.on_after_component_elem_id, self.on_after_component_elem_id)):
                for elem_id, callback in wanted or []:
                    known.setdefault(elem_id, []).append((callback, script))
                if wanted:
                    wanted.clear()

    # Controls

    def create_script_ui(self, script: Script) -> None:
        script.args_from = script.args_to = len(self.inputs)
        try:
            self.create_script_ui_inner(script)
        except Exception:
            errors.report(f"Error creating UI for {script.name}: ", exc_info=True)

    def create_script_ui_inner(self, script: Script) -> None:
        import modules.api.models as api_models

        controls = wrap_call(script.ui, script.filename, "ui", script.is_img2img)
        script.controls = controls
        if controls is None:
            return
        script.name = wrap_call(script.title, script.filename, "title", default=script.filename).lower()
        api_args = []
        for control in controls:
            info = api_models.ScriptArg(label=getattr(control, "label", None) or "")
            for field in ("value", "minimum", "maximum", "step"):
                value = getattr(control, field, None)
                if value is not None:
                    setattr(info, field, value)
            choices = getattr(control, "choices", None)
            if choices is not None:
                info.choices = [x[0] if isinstance(x, tuple) else x for x in choices]
            api_args.append(info)
        script.api_info = api_models.ScriptInfo(name=script.name, is_img2img=script.is_img2img,
                                                is_alwayson=script.alwayson, args=api_args)
        self.infotext_fields += script.infotext_fields or []
        self.paste_field_names += script.paste_field_names or []
        self.inputs += controls
        script.args_to = len(self.inputs)

    def setup_ui_for_section(self, section: str | None, scriptlist: list[Script] | None = None) -> None:
        scripts_here = self.alwayson_scripts if scriptlist is None else scriptlist
        if flavour.SORTS_SCRIPT_UI:
            scripts_here = sorted(scripts_here, key=lambda x: x.sorting_priority)
        for script in scripts_here:
            if script.alwayson and script.section != section:
                continue
            if script.create_group:
                with gr.Group(visible=script.alwayson) as group:
                    self.create_script_ui(script)
                script.group = group
            else:
                self.create_script_ui(script)

    def prepare_ui(self) -> None:
        self.inputs = [None]

    def setup_ui(self) -> list[Any]:
        """The always-on scripts without a section, the Script dropdown, and the hidden groups of its scripts."""
        def title(script: Script) -> str:
            return wrap_call(script.title, script.filename, "title") or f"{script.filename} [error]"

        self.title_map = {title(script).lower(): script for script in self.scripts}
        self.titles = [title(script) for script in self.selectable_scripts]
        self.setup_ui_for_section(None)
        dropdown = gr.Dropdown(label="Script", elem_id="script_list", choices=["None", *self.titles], value="None",
                               type="index")
        self.inputs[0] = dropdown
        self.setup_ui_for_section(None, self.selectable_scripts)

        def select_script(index: int | None) -> list:
            return [gr.update(visible=i == (index or 0) - 1) for i in range(len(self.selectable_scripts))]

        groups = [script.group for script in self.selectable_scripts if script.group is not None]
        if groups:
            dropdown.change(fn=select_script, inputs=[dropdown], outputs=groups)
        self.infotext_fields.append((dropdown, lambda params: gr.update(value=params.get("Script", "None"))))
        self.apply_on_before_component_callbacks()
        return self.inputs

    def script(self, title: str) -> Script | None:
        return self.title_map.get(title.lower())

    # Running

    def run(self, p: Any, *args: Any) -> Any:
        """The chosen script of the dropdown; None when none is chosen."""
        index = args[0]
        if not index:
            return None
        script = self.selectable_scripts[index - 1]
        processed = script.run(p, *args[script.args_from : script.args_to])
        shared.total_tqdm.clear()
        return processed

    def ordered_scripts(self, hook: str) -> list[Script]:
        """The scripts that define a hook, in load order."""
        candidates = self.scripts if hook in ("before_component", "after_component") else self.alwayson_scripts
        return [script for script in candidates if hasattr(script, hook)]

    def _call(self, hook: str, p: Any, *lead: Any, **kwargs: Any) -> None:
        for script in self.ordered_scripts(hook):
            try:
                args = p.script_args[script.args_from : script.args_to]
                getattr(script, hook)(p, *lead, *args, **kwargs)
            except Exception:
                errors.report(f"Error running {hook}: {script.filename}", exc_info=True)

    def setup_scrips(self, p: Any, *, is_ui: bool = True) -> None:
        self._call("setup", p)

    # Components

    def _component(self, hook: str, waiting: dict[str, list], elem_id: Any, component: Any, kwargs: dict) -> None:
        for callback, script in waiting.get(elem_id, []):
            try:
                callback(OnComponent(component=component))
            except Exception:
                errors.report(f"Error running on_{hook}: {script.filename}", exc_info=True)
        for script in self.ordered_scripts(hook):
            try:
                getattr(script, hook)(component, **kwargs)
            except Exception:
                errors.report(f"Error running {hook}: {script.filename}", exc_info=True)

    def before_component(self, component: Any, **kwargs: Any) -> None:
        waiting = self.on_before_component_elem_id
        self._component("before_component", waiting, kwargs.get("elem_id"), component, kwargs)

    def after_component(self, component: Any, **kwargs: Any) -> None:
        elem_id = getattr(component, "elem_id", None)
        self._component("after_component", self.on_after_component_elem_id, elem_id, component, kwargs)


def _hook(name: str) -> Callable:
    def call(self: ScriptRunner, p: Any, *lead: Any, **kwargs: Any) -> None:
        self._call(name, p, *lead, **kwargs)

    return call


for _name in (
    "before_process", "process", "before_process_init_images", "process_before_every_sampling", "before_process_batch",
    "after_extra_networks_activate", "process_batch", "before_hr", "post_sample", "on_mask_blend", "postprocess_batch",
    "postprocess_batch_list", "postprocess_image", "postprocess_maskoverlay", "postprocess_image_after_composite",
    "postprocess",
):
    setattr(ScriptRunner, _name, _hook(_name))
