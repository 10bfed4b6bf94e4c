"""The accordion: CR-Diff's controls in one tab."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import gradio as gr

from crdiff import __version__
from crdiff.errors import CRDiffError
from crdiff.method.groups import GROUPS
from crdiff.settings import AUTO, CUSTOM, DEFAULT_K, SPECS, Settings
from crdiff.webui.events import QUIET
from crdiff.webui.extension import Extension
from crdiff.webui.infotext import preset_label
from crdiff.webui.markup import status_html
from crdiff.webui.own_presets import OwnPresets
from crdiff.webui.status import Status, describe
from crdiff.webui.tab_size import read_size
from crdiff.webui.unet_diagram import draw_unet
from modules.ui_components import InputAccordion, ToolButton

_TO_CUSTOM = f"() => {json.dumps(preset_label(CUSTOM))}"
# Answers may come back in another order than they were asked for; the page's script numbers them and asks again then.
# ``%d`` is the number of inputs before the turn: gradio hands over the values of the outputs as well.
_WITH_TURN = "(...values) => [...values.slice(0, %d), window.crdiffTurn?.() ?? 0]"
# Looked-up values go onto the sliders in the page, where it is known whether the user has meanwhile moved one.
# Arguments: what was found (JSON, or empty), the preset, the sliders; gradio adds the outputs.
_ONTO_SLIDERS = """(found, preset, ...values) => {
    const sliders = values.slice(0, %d);
    if (!found || preset === %s) return sliders;
    return JSON.parse(found).map((value, place) => value ?? sliders[place]);
}"""
_RELOAD = "\U0001f504"


class Section(Protocol):
    """A part of the accordion below the settings' own controls, in one tab."""

    def build(self) -> None:
        """Make the controls."""

    def connect(self, controls: dict[str, Any], size: list[Any], choices: Callable[[], list[str]]) -> None:
        """Bind them.

        Args:
            controls: the settings' controls by name.
            size: the tab's width and height, empty if the host does not offer them.
            choices: the names the preset control offers.
        """


class Accordion:
    """Builds the controls; hosts build them again for the API, so nothing here may depend on being built once.

    Args:
        extension: what the parts of CR-Diff share.
        sections: make the further sections of the accordion for a tab.
    """

    def __init__(self, extension: Extension, sections: Sequence[Callable[[str], Section]] = ()) -> None:
        self._extension = extension
        self._sections = sections
        self._size: dict[str, Any] = {}

    def keep_size_component(self, side: str) -> Callable[[Any], None]:
        """A callback for the host to hand over the tab's ``width`` or ``height``, which it makes before the scripts."""

        def keep(created: Any) -> None:
            self._size[side] = created.component

        return keep

    def _preset_choices(self) -> list[str]:
        return [preset_label(AUTO), preset_label(CUSTOM), *self._extension.library.names()]

    def build(self, tab: str) -> dict[str, Any]:
        """The controls by the name of their setting, in the order of the settings."""
        defaults = Settings()

        def number(name: str, value: float) -> Any:
            spec = SPECS[name]
            return gr.Slider(
                spec.low, spec.high, value, step=spec.step, label=spec.label, elem_id=f"{tab}_crdiff_{name}"
            )

        controls: dict[str, Any] = {}
        # The version stands beside the label, not in it: hosts key the user's own defaults by the label.
        with InputAccordion(defaults.enabled, label="CR-Diff", elem_id=f"{tab}_crdiff") as controls["enabled"]:
            with controls["enabled"].extra():
                gr.HTML(f'<span class="crdiff-version">{__version__}</span>')
            status = gr.HTML(status_html("\u00a0"), elem_id=f"{tab}_crdiff_status")
            gr.HTML(_help_html(tab), visible=True, elem_id=f"{tab}_crdiff_help")
            with gr.Row():
                controls["preset"] = gr.Dropdown(
                    self._preset_choices(),
                    value=preset_label(defaults.preset),
                    label=SPECS["preset"].label,
                    elem_id=f"{tab}_crdiff_preset",
                    allow_custom_value=True,
                )
                reload = ToolButton(_RELOAD, elem_id=f"{tab}_crdiff_reload", tooltip="Read the list of presets again")
                refresh = gr.Button("Refresh", elem_id=f"{tab}_crdiff_refresh")
            with gr.Row():
                with gr.Column(scale=3):
                    for group in GROUPS:
                        controls[group] = number(group, getattr(defaults, group))
                with gr.Column(scale=1, min_width=170):
                    drawing = gr.HTML(draw_unet(None), elem_id=f"{tab}_crdiff_picture")
            controls["k"] = number("k", DEFAULT_K)
            with gr.Row():
                controls["start"] = number("start", defaults.start)
                controls["end"] = number("end", defaults.end)
            with gr.Row():
                for name in ("hires", "mode", "criterion"):
                    controls[name] = gr.Radio(
                        list(SPECS[name].choices),
                        visible=len(SPECS[name].choices) > 1,
                        value=getattr(defaults, name),
                        label=SPECS[name].label,
                        elem_id=f"{tab}_crdiff_{name}",
                    )
                controls["hires_ratios"] = gr.Textbox(
                    defaults.hires_ratios,
                    label=SPECS["hires_ratios"].label,
                    placeholder="as in the first pass",
                    elem_id=f"{tab}_crdiff_hires_ratios",
                )
            sections: list[Section] = [OwnPresets(self._extension, tab), *(make(tab) for make in self._sections)]
            for section in sections:
                section.build()
        ordered = {name: controls[name] for name in SPECS}
        size = [self._size[side] for side in ("width", "height") if side in self._size]
        # The API builds the controls in a page of its own, in which the tab's components do not exist.
        self._size = {}
        self._connect(ordered, size, [status, drawing], refresh, reload)
        for section in sections:
            section.connect(ordered, size, self._preset_choices)
        return ordered

    def _connect(self, controls: dict[str, Any], size: list[Any], shown: list[Any], refresh: Any, reload: Any) -> None:
        turn = gr.Number(0, visible=False)
        inputs = [*controls.values(), *size, turn]
        asking = {"_js": _WITH_TURN % (len(inputs) - 1), **QUIET}
        sliders = [controls[name] for name in (*GROUPS, "k")]
        found = gr.Textbox("", visible=False)

        def show(*values: Any) -> list[Any]:
            return _shown(self._status(values[:-1]), values[-1])

        def look_up(*values: Any) -> list[Any]:
            status = self._status(values[:-1])
            ratios = [None] * len(GROUPS) if status.ratios is None else list(status.ratios)
            return [json.dumps([*ratios, self._preset_k(values[:-1])]), *_shown(status, values[-1])]

        def look_up_again(*values: Any) -> list[Any]:
            # Nobody asked for it just now, so where nothing has changed it must not undo what the user is moving.
            status = self._status(values[:-1])
            if status.ratios is not None and list(status.ratios) == list(values[2:5]):
                return ["", *_shown(status, values[-1])]
            return look_up(*values)

        def looking(listen: Callable[..., Any], function: Callable[..., Any]) -> None:
            answered = listen(function, inputs, [found, *shown], **asking)
            onto = _ONTO_SLIDERS % (len(sliders), json.dumps(preset_label(CUSTOM)))
            answered.then(None, [found, controls["preset"], *sliders], sliders, _js=onto, **QUIET)

        for name in (*GROUPS, "hires_ratios"):
            # In the page, at once, so that an answer still under way to Auto does not move the slider back.
            controls[name].input(None, [], [controls["preset"]], _js=_TO_CUSTOM, **QUIET)
        for name in ("enabled", *GROUPS, "k", "start", "end", "hires", "mode", "criterion", "hires_ratios"):
            controls[name].change(show, inputs, shown, **asking)
        for trigger in (controls["preset"], *size):
            looking(trigger.change, look_up)
        looking(refresh.click, look_up_again)
        reload.click(lambda: gr.update(choices=self._preset_choices()), [], [controls["preset"]], **QUIET)

    def _preset_k(self, values: tuple[Any, ...]) -> float | None:
        """The k that a preset brings along; None if it has none of its own."""
        checkpoint, size = self._extension.checkpoints.selected(), read_size(values[len(SPECS) :])
        if checkpoint is None or checkpoint.family is None or size is None:
            return None
        try:
            settings = Settings.from_args(values[: len(SPECS)])
            return self._extension.library.own_k(settings, checkpoint.family, checkpoint.sha256, size)
        except CRDiffError:
            return None

    def _status(self, values: tuple[Any, ...]) -> Status:
        try:
            settings = Settings.from_args(values[: len(SPECS)])
        except CRDiffError as problem:
            return Status(str(problem), None, None, "problem")
        return self._describe(settings, values[len(SPECS) :])

    def _describe(self, settings: Settings, size: tuple[Any, ...]) -> Status:
        extension = self._extension
        checkpoint, calibrations = extension.checkpoints.selected(), extension.store.calibrations
        return describe(settings, extension.library, checkpoint, read_size(size), calibrations)


def _shown(status: Status, turn: Any) -> list[Any]:
    return [status_html(status.text, status.level, turn=int(turn or 0)), draw_unet(status.ratios)]


def _help_html(tab: str) -> str:
    """What the tooltips say, by element id, for the page's script."""
    texts = {f"{tab}_crdiff_{name}": spec.help for name, spec in SPECS.items() if name != "enabled"}
    texts[f"{tab}_crdiff"] = SPECS["enabled"].help
    return f'<div hidden data-crdiff-help="{html.escape(json.dumps(texts))}"></div>'
