"""The accordion: CR-Diff's controls in one tab."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import gradio as gr

from crdiff import __version__
from crdiff.errors import CRDiffError
from crdiff.method import attention_scale
from crdiff.method.groups import GROUPS
from crdiff.method.schedule import Schedule
from crdiff.models.family import OTHER, Family
from crdiff.settings import Settings
from crdiff.specs import AUTO, CUSTOM, DEFAULT_K, SCHEDULES, SPECS
from crdiff.webui.events import QUIET
from crdiff.webui.extension import Extension
from crdiff.webui.infotext import preset_label
from crdiff.webui.markup import status_html
from crdiff.webui.own_presets import OwnPresets
from crdiff.webui.stages_diagram import draw_stages
from crdiff.webui.status import Status, describe
from crdiff.webui.tab_size import read_size
from crdiff.webui.unet_diagram import draw_unet
from modules.ui_components import InputAccordion, ToolButton

_TO_CUSTOM = f"() => {json.dumps(preset_label(CUSTOM))}"
# Answers may come back in another order than they were asked for; the page's script numbers them and asks again then.
# ``%d`` is the number of inputs before the turn: gradio hands over the values of the outputs as well.
_WITH_TURN = "(...values) => [...values.slice(0, %d), window.crdiffTurn?.() ?? 0]"
# A slider moved by hand means Custom, and belongs to the stage that is chosen, if there are several.
_MOVED = """(stages, ratio) => [%s, window.crdiffWithRatio?.("%s", stages, %d, ratio) ?? stages]"""
# The ratios of the stage that was chosen in the diagram go onto the sliders; gradio adds those as they stand.
_CHOSEN = """(stages, ...sliders) => window.crdiffRatios?.("%s", stages) ?? sliders.slice(0, %d)"""
# Looked-up values go onto the controls in the page, where it is known what the user has meanwhile moved: gradio's own
# values may lag behind. Arguments: the turn and what was found (JSON, or empty), the preset; gradio adds the outputs.
# An update of nothing leaves a control as it is.
_ONTO_CONTROLS = """(found, preset) => {
    const names = %s;
    const [asked, ...values] = found && preset !== %s ? JSON.parse(found) : [0];
    const kept = window.crdiffMovedSince?.("%s", names, asked) ?? names.map(() => false);
    return names.map((_, place) => kept[place] ? {__type__: "update"} : values[place] ?? {__type__: "update"});
}"""
_LOOKED_UP = (*GROUPS, "stages", "k")
"""The controls that show what a preset brings along."""
_PRESET, _STAGES = list(SPECS).index("preset"), list(SPECS).index("stages")
_RELOAD = "\U0001f504"
_WIDE = 300
"""Pixels below which two controls do not stand side by side."""


class Section(Protocol):
    """A part of the accordion below the settings' own controls, in one tab."""

    @property
    def tooltips(self) -> Mapping[str, str]:
        """What the tooltips of its controls say, by element id."""

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
        details: make what stands among the details, below the criterion.
    """

    def __init__(
        self,
        extension: Extension,
        sections: Sequence[Callable[[str], Section]] = (),
        details: Sequence[Callable[[str], Section]] = (),
    ) -> None:
        self._extension = extension
        self._sections = sections
        self._details = details
        self._size: dict[str, Any] = {}

    def keep_size_component(self, side: str) -> Callable[[Any], None]:
        """A callback for the host to hand over the tab's ``width`` or ``height``, which it makes before the scripts."""

        def keep(created: Any) -> None:
            self._size[side] = created.component

        return keep

    def _preset_choices(self) -> list[str]:
        """Auto and Custom, then the presets, those of the selected checkpoint's family first."""
        checkpoint = self._extension.checkpoints.selected()
        family = None if checkpoint is None else checkpoint.family
        return [preset_label(AUTO), preset_label(CUSTOM), *self._extension.library.names(family)]

    def build(self, tab: str) -> dict[str, Any]:
        """The controls by the name of their setting, in the order of the settings."""
        defaults = Settings()
        made: dict[str, Any] = {}
        details = [make(tab) for make in self._details]
        sections: list[Section] = [OwnPresets(self._extension, tab), *(make(tab) for make in self._sections)]

        def number(name: str, **more: Any) -> None:
            spec, value = SPECS[name], getattr(defaults, name)
            value = DEFAULT_K if value is None else value
            more |= {"label": spec.label, "elem_id": f"{tab}_crdiff_{name}"}
            made[name] = gr.Slider(spec.low, spec.high, value, step=spec.step, **more)

        def choice(name: str, kind: Any, **more: Any) -> None:
            spec = SPECS[name]
            more |= {"label": spec.label, "elem_id": f"{tab}_crdiff_{name}"}
            made[name] = kind(list(spec.choices), value=getattr(defaults, name), **more)

        # The version stands beside the label, not in it: hosts key the user's own defaults by the label.
        with InputAccordion(defaults.enabled, label="CR-Diff", elem_id=f"{tab}_crdiff") as made["enabled"]:
            with made["enabled"].extra():
                gr.HTML(_version_html(tab, [*details, *sections]))
            status = gr.HTML(_now_html(tab), elem_id=f"{tab}_crdiff_status")
            with gr.Row():
                made["preset"] = gr.Dropdown(
                    self._preset_choices(),
                    value=preset_label(defaults.preset),
                    label=SPECS["preset"].label,
                    elem_id=f"{tab}_crdiff_preset",
                    allow_custom_value=True,
                )
                reload = ToolButton(_RELOAD, elem_id=f"{tab}_crdiff_reload")
                refresh = gr.Button("Refresh", elem_id=f"{tab}_crdiff_refresh")
            with gr.Row():
                choice("mode", gr.Radio, min_width=_WIDE)
                number("k", min_width=_WIDE)
                stage = gr.Button("Stage", elem_id=f"{tab}_crdiff_stage")
            with gr.Accordion("Details", open=False, elem_id=f"{tab}_crdiff_details"):
                for group in GROUPS:
                    number(group)
                made["stages"] = gr.Textbox(
                    defaults.stages,
                    label=SPECS["stages"].label,
                    placeholder="the same ratios at every step",
                    elem_id=f"{tab}_crdiff_stages",
                )
                with gr.Row():
                    number("start")
                    number("end")
                with gr.Row():
                    choice("hires", gr.Radio)
                    made["hires_ratios"] = gr.Textbox(
                        defaults.hires_ratios,
                        label=SPECS["hires_ratios"].label,
                        placeholder="as in the first pass",
                        elem_id=f"{tab}_crdiff_hires_ratios",
                    )
                choice("criterion", gr.Dropdown, visible=len(SPECS["criterion"].choices) > 1)
                with gr.Row():
                    made["attention_scale"] = gr.Dropdown(
                        [attention_scale.OFF, attention_scale.AUTO],
                        value=defaults.attention_scale,
                        label=SPECS["attention_scale"].label,
                        elem_id=f"{tab}_crdiff_attention_scale",
                        allow_custom_value=True,
                    )
                    choice("size_conditioning", gr.Radio)
                with gr.Row():
                    choice("layers", gr.Radio)
                    choice("threshold", gr.Radio)
                for section in details:
                    section.build()
            for section in sections:
                section.build()
        controls = {name: made[name] for name in SPECS}
        size = [self._size[side] for side in ("width", "height") if side in self._size]
        # The API builds the controls in a page of its own, in which the tab's components do not exist.
        self._size = {}
        self._connect(tab, controls, size, status, refresh, reload)
        ratios = [controls[group] for group in GROUPS]
        stage.click(None, [controls["stages"]], ratios, _js=_CHOSEN % (tab, len(ratios)), **QUIET)
        for section in (*details, *sections):
            section.connect(controls, size, self._preset_choices)
        return controls

    def _connect(
        self, tab: str, controls: dict[str, Any], size: list[Any], status: Any, refresh: Any, reload: Any
    ) -> None:
        # To the server it carries the turn, back from it what was found.
        carrier = gr.Textbox("", visible=False)
        inputs = [*controls.values(), *size, carrier]
        asking = {"_js": _WITH_TURN % (len(inputs) - 1), **QUIET}
        shown_on = [controls[name] for name in _LOOKED_UP]
        onto = _ONTO_CONTROLS % (json.dumps(_LOOKED_UP), json.dumps(preset_label(CUSTOM)), tab)

        def show(*values: Any) -> str:
            return self._now(tab, values)[1]

        def look_up(*values: Any) -> list[Any]:
            if values[_PRESET] != preset_label(CUSTOM):
                # They are about to be replaced, so it does not matter if they cannot be read.
                values = (*values[:_STAGES], "", *values[_STAGES + 1 :])
            status, shown = self._now(tab, values)
            return [json.dumps([int(values[-1] or 0), *_found(status.schedule), self._preset_k(values[:-1])]), shown]

        def look_up_again(*values: Any) -> list[Any]:
            # Nobody asked for it just now, so where nothing has changed it must not undo what the user is moving.
            status, shown = self._now(tab, values)
            shows = dict(zip(SPECS, values))
            found = _found(status.schedule)
            # Of several stages the sliders show the one that is chosen.
            if found[-1] == shows["stages"] and (found[-1] or found[:-1] == [shows[group] for group in GROUPS]):
                return ["", shown]
            return look_up(*values)

        def looking(listen: Callable[..., Any], function: Callable[..., Any]) -> None:
            answered = listen(function, inputs, [carrier, status], **asking)
            answered.then(None, [carrier, controls["preset"]], shown_on, _js=onto, **QUIET)

        # In the page, at once, so that an answer still under way to Auto does not move the slider back.
        for name in SCHEDULES:
            controls[name].input(None, [], [controls["preset"]], _js=_TO_CUSTOM, **QUIET)
        held, custom = controls["stages"], json.dumps(preset_label(CUSTOM))
        for place, group in enumerate(GROUPS):
            slider, moved = controls[group], _MOVED % (custom, tab, place)
            slider.input(None, [held, slider], [controls["preset"], held], _js=moved, **QUIET)
        for name in SPECS:
            if name == "preset":
                continue
            controls[name].change(show, inputs, [status], **asking)
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

    def _now(self, tab: str, values: tuple[Any, ...]) -> tuple[Status, str]:
        """How it stands, and what is shown of it; the last of the values is the turn."""
        checkpoint = self._extension.checkpoints.selected()
        try:
            settings = Settings.from_args(values[: len(SPECS)])
            size = read_size(values[len(SPECS) : -1])
            extension = self._extension
            status = describe(settings, extension.library, checkpoint, size, extension.calibrations)
        except CRDiffError as problem:
            status = Status(str(problem), None, None, "problem")
        family = OTHER if checkpoint is None or checkpoint.family is None else checkpoint.family
        return status, _now_html(tab, status, int(values[-1] or 0), family)


def _now_html(tab: str, status: Status | None = None, turn: int = 0, family: Family = OTHER) -> str:
    """The status line, and a diagram of the ratios in force.

    Args:
        tab: the host's name of the tab.
        status: None if it is not known yet.
        turn: a number by which the page's script tells answers apart that arrive out of order.
        family: of the selected checkpoint, upon a change of which the script has the presets put in order again.
    """
    status = Status("\u00a0", None, None, "ok") if status is None else status
    key = "" if family == OTHER else family.value
    return (
        f'<div class="crdiff-now" data-crdiff-turn="{turn}" data-crdiff-family="{html.escape(key)}">'
        f'{status_html(status.text, status.level)}<div id="{tab}_crdiff_picture">{_diagram(status, family)}</div></div>'
    )


def _diagram(status: Status, family: Family) -> str:
    schedule = status.schedule
    if schedule is None or schedule.is_constant:
        return draw_unet(None if schedule is None else schedule.first, transformer=family.transformer)
    return draw_stages(schedule, DEFAULT_K if status.k is None else status.k)


def _found(schedule: Schedule | None) -> list[Any]:
    """What a schedule puts onto the controls that are looked up, but for k."""
    if schedule is None:
        return [None] * (len(GROUPS) + 1)
    return [*schedule.first, "" if schedule.is_constant else str(schedule)]


def _version_html(tab: str, sections: Sequence[Section]) -> str:
    """The version, and for the page's script what the tooltips say, by element id."""
    texts = {f"{tab}_crdiff_{name}": spec.help for name, spec in SPECS.items() if name != "enabled"}
    texts |= {f"{tab}_crdiff": SPECS["enabled"].help, f"{tab}_crdiff_reload": "Reads the list of presets again."}
    for section in sections:
        texts |= section.tooltips
    return f'<span class="crdiff-version" data-crdiff-help="{html.escape(json.dumps(texts))}">{__version__}</span>'
