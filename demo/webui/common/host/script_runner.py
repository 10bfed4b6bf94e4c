"""A tab's scripts: their instances, their controls, and calling their hooks one after the other.

A hook that raises is reported and passed over, and generation goes on with whatever the hook had done by then.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import gradio as gr

import standin_flavour as flavour
from common.host.script_base import AlwaysVisible, OnComponent, Script
from modules import errors, script_callbacks, shared


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
        self.callback_map: dict[str, tuple[int, list]] = {}
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
            script.is_txt2img = not is_img2img
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
        self.callback_map.clear()
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
            control.custom_script_source = os.path.basename(script.filename)
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

    def set_named_arg(self, args: Any, script_name: str, arg_elem_id: str, value: Any, fuzzy: bool = False) -> Any:
        """Sets the argument whose control has an elem_id (or a part of it, when fuzzy)."""
        script = next((x for x in self.scripts if x.name == script_name), None)
        if script is None:
            raise RuntimeError(f"script {script_name} not found")
        for offset, control in enumerate(script.controls):
            if (arg_elem_id in control.elem_id) if fuzzy else (arg_elem_id == control.elem_id):
                index = script.args_from + offset
                changed = [*args[:index], value, *args[index + 1 :]]
                if isinstance(args, tuple):
                    return tuple(changed)
                args[:] = changed
                return args
        raise RuntimeError(f"arg_elem_id {arg_elem_id} not found in script {script_name}")

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

    def list_scripts_for_method(self, method_name: str) -> list[Script]:
        return self.scripts if method_name in ("before_component", "after_component") else self.alwayson_scripts

    def ordered_callbacks(self, method_name: str, *, enable_user_sort: bool = True) -> list:
        """The scripts that override a hook, in load order bent by metadata; remembered until their number changes."""
        candidates = self.list_scripts_for_method(method_name)
        category = f"script_{method_name}"
        count, callbacks = self.callback_map.get(category, (-1, None))
        if callbacks is None or count != len(candidates):
            callbacks = []
            for script in candidates:
                if getattr(script.__class__, method_name, None) != getattr(Script, method_name, None):
                    script_callbacks.add_callback(callbacks, script, category=category,
                                                  name=script.__class__.__name__, filename=script.filename)
            callbacks = script_callbacks.sort_callbacks(category, callbacks, enable_user_sort=enable_user_sort)
            self.callback_map[category] = len(candidates), callbacks
        return callbacks

    def ordered_scripts(self, method_name: str) -> list[Script]:
        return [x.callback for x in self.ordered_callbacks(method_name)]

    def _call(self, hook: str, p: Any, *lead: Any, **kwargs: Any) -> None:
        for script in self.ordered_scripts(hook):
            try:
                args = p.script_args[script.args_from : script.args_to]
                getattr(script, hook)(p, *lead, *args, **kwargs)
            except Exception:
                errors.report(f"Error running {hook}: {script.filename}", exc_info=True)

    def setup_scrips(self, p: Any, *, is_ui: bool = True) -> None:
        for script in self.ordered_scripts("setup"):
            if not is_ui and script.setup_for_ui_only:
                continue
            try:
                script.setup(p, *p.script_args[script.args_from : script.args_to])
            except Exception:
                errors.report(f"Error running setup: {script.filename}", exc_info=True)

    def before_process(self, p: Any) -> None:
        self._call("before_process", p)

    def process(self, p: Any) -> None:
        self._call("process", p)

    def before_process_init_images(self, p: Any, pp: Any, **kwargs: Any) -> None:
        self._call("before_process_init_images", p, pp, **kwargs)

    def process_before_every_sampling(self, p: Any, **kwargs: Any) -> None:
        self._call("process_before_every_sampling", p, **kwargs)

    def before_process_batch(self, p: Any, **kwargs: Any) -> None:
        self._call("before_process_batch", p, **kwargs)

    def after_extra_networks_activate(self, p: Any, **kwargs: Any) -> None:
        self._call("after_extra_networks_activate", p, **kwargs)

    def process_batch(self, p: Any, **kwargs: Any) -> None:
        self._call("process_batch", p, **kwargs)

    def before_hr(self, p: Any) -> None:
        self._call("before_hr", p)

    def post_sample(self, p: Any, ps: Any) -> None:
        self._call("post_sample", p, ps)

    def on_mask_blend(self, p: Any, mba: Any) -> None:
        self._call("on_mask_blend", p, mba)

    def postprocess_batch(self, p: Any, images: Any, **kwargs: Any) -> None:
        self._call("postprocess_batch", p, images=images, **kwargs)

    def postprocess_batch_list(self, p: Any, pp: Any, **kwargs: Any) -> None:
        self._call("postprocess_batch_list", p, pp, **kwargs)

    def postprocess_image(self, p: Any, pp: Any) -> None:
        self._call("postprocess_image", p, pp)

    def postprocess_maskoverlay(self, p: Any, ppmo: Any) -> None:
        self._call("postprocess_maskoverlay", p, ppmo)

    def postprocess_image_after_composite(self, p: Any, pp: Any) -> None:
        self._call("postprocess_image_after_composite", p, pp)

    def postprocess(self, p: Any, processed: Any) -> None:
        self._call("postprocess", p, processed)

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
