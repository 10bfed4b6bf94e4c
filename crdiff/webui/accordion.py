"""The accordion: CR-Diff's controls in one tab."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gradio as gr

from crdiff import __version__
from crdiff.errors import CRDiffError
from crdiff.method.groups import GROUPS
from crdiff.presets.size import Size
from crdiff.settings import AUTO, CUSTOM, DEFAULT_K, SPECS, Settings
from crdiff.webui.infotext import preset_label
from crdiff.webui.own_presets import OwnPresets
from crdiff.webui.search.controls import SearchControls
from crdiff.webui.status import Status, describe
from crdiff.webui.unet_picture import draw_unet
from modules.ui_components import InputAccordion, ToolButton

if TYPE_CHECKING:
    from crdiff.webui.extension import Extension

_QUIET = {"show_progress": False, "queue": False}
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


class Accordion:
    """Builds the controls; hosts build them again for the API, so nothing here may depend on being built once."""

    def __init__(self, extension: Extension) -> None:
        self._extension = extension
        self._size: dict[str, Any] = {}

    def keep_size_component(self, side: str) -> Callable[[Any], None]:
        """A callback for the host to hand over the tab's ``width`` or ``height``, which it makes before the scripts."""

        def keep(created: Any) -> None:
            self._size[side] = created.component

        return keep

    def knows_preset(self, name: str) -> bool:
        """Whether the preset control can be set to ``name``."""
        return name in self._preset_choices()

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
            status = gr.HTML(_status_html(None), elem_id=f"{tab}_crdiff_status")
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
                    picture = gr.HTML(draw_unet(None), elem_id=f"{tab}_crdiff_picture")
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
            own = OwnPresets(self._extension, tab)
            own.build()
            search = SearchControls(self._extension, tab)
            search.build()
        ordered = {name: controls[name] for name in SPECS}
        self._connect(ordered, status, picture, refresh, reload, own)
        search.connect(ordered, self._preset_choices)
        return ordered

    def _connect(
        self, controls: dict[str, Any], status: Any, picture: Any, refresh: Any, reload: Any, own: OwnPresets
    ) -> None:
        size = [self._size[side] for side in ("width", "height") if side in self._size]
        # The API builds the controls in a page of its own, in which the tab's components do not exist.
        self._size = {}
        turn = gr.Number(0, visible=False)
        inputs = [*controls.values(), *size, turn]
        asking = {"_js": _WITH_TURN % (len(inputs) - 1), **_QUIET}
        shown = [status, picture]
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
            answered.then(None, [found, controls["preset"], *sliders], sliders, _js=onto, **_QUIET)

        for group in GROUPS:
            # In the page, at once, so that an answer still under way to Auto does not move the slider back.
            controls[group].input(None, [], [controls["preset"]], _js=_TO_CUSTOM, **_QUIET)
        for name in ("enabled", *GROUPS, "k", "start", "end", "hires", "mode", "criterion"):
            controls[name].change(show, inputs, shown, **asking)
        for trigger in (controls["preset"], *size):
            looking(trigger.change, look_up)
        looking(refresh.click, look_up_again)
        reload.click(lambda: gr.update(choices=self._preset_choices()), [], [controls["preset"]], **_QUIET)
        own.connect(controls, size, self._preset_choices)

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
        return describe(settings, self._extension.library, self._extension.checkpoints.selected(), read_size(size))


def read_size(values: tuple[Any, ...]) -> Size | None:
    """The picture size of the tab's (width, height), as the host will round it; None if it is not known."""
    if len(values) != 2:
        return None
    try:
        width, height = (int(float(value)) // 8 * 8 for value in values)
    except (TypeError, ValueError):
        return None
    return Size(height, width) if width > 0 and height > 0 else None


def _shown(status: Status, turn: Any) -> list[Any]:
    return [_status_html(status, int(turn or 0)), draw_unet(status.ratios)]


def _status_html(status: Status | None, turn: int = 0) -> str:
    if status is None:
        return '<p class="crdiff-status">&nbsp;</p>'
    text = html.escape(status.text)
    return f'<p class="crdiff-status crdiff-{status.level}" data-crdiff-turn="{turn}">{text}</p>'


def _help_html(tab: str) -> str:
    """What the tooltips say, by element id, for the page's script."""
    texts = {f"{tab}_crdiff_{name}": spec.help for name, spec in SPECS.items() if name != "enabled"}
    texts[f"{tab}_crdiff"] = SPECS["enabled"].help
    return f'<div hidden data-crdiff-help="{html.escape(json.dumps(texts))}"></div>'
