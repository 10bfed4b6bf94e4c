"""The settings tab, and the settings shown above the tabs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr
import standin_flavour as flavour

from common.ui_components import ToolButton
from modules import script_callbacks, sd_models, shared

REFRESH = "\U0001f504"
_BY_TYPE = {str: gr.Textbox, int: gr.Number, float: gr.Number, bool: gr.Checkbox}


def create_setting_component(key: str, is_quicksettings: bool = False) -> Any:
    """The component an option asks for, or one that fits its default; None for an option that shows nothing."""
    info = shared.opts.data_labels[key]
    arguments = info.component_args() if callable(info.component_args) else info.component_args
    kind = info.component or _BY_TYPE.get(type(info.default))
    if kind is None:
        return None
    value = shared.opts.data.get(key, info.default)
    return kind(label=info.label, value=value, elem_id=f"setting_{key}", **(arguments or {}))


def set_option(key: str, value: Any) -> str:
    """Sets, saves, and gives all settings as the page's script wants them."""
    shared.opts.set(key, value)
    shared.opts.save(shared.config_filename)
    return shared.opts.dumpjson()


class Settings:
    """Made in two steps, as the quick settings stand above the tabs and the rest in one."""

    def __init__(self) -> None:
        script_callbacks.ui_settings_callback()
        shared.opts.reorder()
        self.checkpoint: Any = None
        self.components: dict[str, Any] = {}

    def quick_settings(self) -> None:
        self.text = gr.Textbox(
            elem_id="settings_json", value=lambda: shared.opts.dumpjson(), visible=False, show_label=False
        )
        with gr.Row(elem_id="quicksettings", variant="compact"):
            if flavour.NAME == "forge":
                self._forge_checkpoint()
            else:
                self._a1111_checkpoint()
            refresh = ToolButton(value=REFRESH, elem_id="refresh_sd_model_checkpoint", tooltip="Refresh")

        def look_again() -> Any:
            sd_models.list_models()
            return gr.update(choices=sd_models.checkpoint_tiles())

        refresh.click(fn=look_again, inputs=[], outputs=[self.checkpoint], show_progress=False)
        self.checkpoint.change(
            fn=_choose_checkpoint,
            inputs=[self.checkpoint],
            outputs=[self.text],
            show_progress=False,
        )

    def _dropdown(self, label: str, **arguments: Any) -> Any:
        return gr.Dropdown(
            label=label,
            choices=sd_models.checkpoint_tiles(),
            value=_selected_title,
            allow_custom_value=True,
            **arguments,
        )

    def _a1111_checkpoint(self) -> None:
        self.checkpoint = self._dropdown("Stable Diffusion checkpoint", elem_id="setting_sd_model_checkpoint")
        shared.settings_components["sd_model_checkpoint"] = self.checkpoint

    def _forge_checkpoint(self) -> None:
        """Forge's has no id; extensions find it in ``main_entry``, the page's script by its class."""
        from modules_forge import main_entry

        self.checkpoint = main_entry.ui_checkpoint = self._dropdown("Checkpoint", elem_classes=["model_selection"])

    def tab(self) -> gr.Blocks:
        """Every option by section, and one button that sets them all."""
        with gr.Blocks(analytics_enabled=False) as interface:
            apply = gr.Button("Apply settings", variant="primary", elem_id="settings_submit")
            result = gr.HTML(elem_id="settings_result")
            section = None
            with gr.Tabs(elem_id="settings"):
                open_tab: Any = None
                for key, info in shared.opts.data_labels.items():
                    if key == "sd_model_checkpoint" or info.section[0] is None:
                        continue
                    if info.section != section:
                        if open_tab is not None:
                            open_tab.__exit__(None, None, None)
                        section = info.section
                        open_tab = gr.TabItem(section[1], elem_id=f"settings_{section[0]}")
                        open_tab.__enter__()
                    component = create_setting_component(key)
                    if component is not None:
                        self.components[key] = component
                if open_tab is not None:
                    open_tab.__exit__(None, None, None)
        shared.settings_components.update(self.components)
        self._apply, self._result = apply, result
        return interface

    def connect(self) -> None:
        self._apply.click(
            fn=_applying(list(self.components)),
            inputs=list(self.components.values()),
            outputs=[self.text, self._result],
            show_progress=False,
        )


def _choose_checkpoint(name: str) -> str:
    if flavour.NAME != "forge":
        return set_option("sd_model_checkpoint", name)
    # Forge only notes the choice, and loads at the next job.
    from modules_forge import main_entry

    main_entry.checkpoint_change(name)
    return shared.opts.dumpjson()


def _selected_title() -> str | None:
    """The list's entry for what is set, which may be an alias or, before the first choice, nothing."""
    found = sd_models.get_closet_checkpoint_match(shared.opts.sd_model_checkpoint or "")
    if found is None:
        found = next(iter(sd_models.checkpoints_list.values()), None)
    return None if found is None else found.title


def _applying(keys: list[str]) -> Callable[..., tuple[str, str]]:
    def apply(*values: Any) -> tuple[str, str]:
        changed = []
        for key, value in zip(keys, values, strict=True):
            if shared.opts.data.get(key) != value and shared.opts.set(key, value):
                changed.append(key)
        shared.opts.save(shared.config_filename)
        text = f"{len(changed)} settings changed{': ' if changed else ''}{', '.join(changed)}."
        return shared.opts.dumpjson(), text

    return apply
