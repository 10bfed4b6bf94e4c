"""Calibrate: the controls in the accordion."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr

from crdiff.calibration.hessians import HESSIANS
from crdiff.errors import SettingsError
from crdiff.webui.calibration.context import CalibrationContext
from crdiff.webui.calibration.report import counted, describe, estimate
from crdiff.webui.calibration.request import NEUTRAL, TAB, CalibrationRequest
from crdiff.webui.events import QUIET, guarded
from crdiff.webui.markup import status_html

_LEVELS = {"failed": "problem", "stopped": "estimated"}
_CONFIRM = "() => [confirm('Delete the calibrations of this checkpoint? Drawing the images again brings them back.')]"

_TOOLTIPS: Mapping[str, str] = {
    "accordion": "Gathers what some criteria have to know of the model, from plain images, once for each checkpoint.",
    "images": "How many images are drawn, with this tab's sampler, steps and CFG scale; none is shown or saved.",
    "prompts": "neutral: 64 prompts of CR-Diff, with the LoRAs of this tab's prompt. tab: this tab's prompt.",
    "size": "Height x width. Empty takes the size the model was trained at, whatever the tab says.",
    "hessians": "Gathers what some criteria need as well, which takes gigabytes of memory for SDXL. diagonals: for "
    "obs-saliency and channels. whole: for obs-diff and heads too, kept on disk.",
    "gradients": "Gathers what taylor needs: passes back through the UNet on the images drawn, which take about as "
    "long as the images again, and memory for the gradients of all weights.",
    "start": "Says what will be drawn and how much memory it takes, and draws as Generate would.",
    "stop": "Ends the calibration; what the images drawn so far have shown is kept.",
    "delete": "Deletes the calibrations of the selected checkpoint, after asking.",
}


class CalibrationControls:
    """The part of the accordion that calibrates, in one tab, whose Generate button runs the calibration."""

    def __init__(self, context: CalibrationContext, tab: str) -> None:
        self._context = context
        self._tab = tab

    def _named(self, name: str) -> str:
        return f"{self._tab}_crdiff_calibration_{name}"

    @property
    def tooltips(self) -> Mapping[str, str]:
        """What the tooltips of its controls say, by element id."""
        return {self._named(name): text for name, text in _TOOLTIPS.items()}

    def build(self) -> None:
        """Make the controls."""
        named, defaults = self._named, CalibrationRequest()
        with gr.Accordion("Calibrate", open=False, elem_id=named("accordion")):
            self._known = gr.HTML("", elem_id=named("known"))
            with gr.Row():
                self._images = gr.Number(defaults.images, label="Images", precision=0, elem_id=named("images"))
                self._prompts = gr.Radio([NEUTRAL, TAB], value=NEUTRAL, label="Prompts", elem_id=named("prompts"))
                self._size = gr.Textbox(
                    "", label="Size", max_lines=1, placeholder="empty: native", elem_id=named("size")
                )
                self._hessians = gr.Radio(
                    list(HESSIANS), value=defaults.hessians, label="Hessians", elem_id=named("hessians")
                )
                self._gradients = gr.Checkbox(defaults.gradients, label="Gradients", elem_id=named("gradients"))
            with gr.Row(elem_classes=["crdiff-buttons"]):
                self._start = gr.Button("Calibrate", variant="primary", elem_id=named("start"))
                self._stop = gr.Button("Stop", elem_id=named("stop"))
                self._delete = gr.Button("Delete", elem_id=named("delete"))
            self._message = gr.HTML("", elem_id=named("message"))
            self._prepared = gr.Textbox("", visible=False, elem_id=named("prepared"))
            self._confirmed = gr.Checkbox(False, visible=False, elem_id=named("confirmed"))
            self._version = gr.Number(-1, visible=False, elem_id=named("version"))
            self._poll = gr.Button("Show", elem_id=named("poll"))
        for component in (*self._asked, self._prepared, self._confirmed, self._version):
            component.do_not_save_to_config = True

    @property
    def _asked(self) -> list[Any]:
        return [self._images, self._prompts, self._size, self._hessians, self._gradients]

    def connect(self, controls: dict[str, Any], size: list[Any], choices: Callable[[], list[str]]) -> None:
        """Bind the buttons; the arguments are those of a ``Section`` of the accordion."""
        asked = self._start.click(
            guarded(self._requested, lambda: [""]), self._asked, [self._prepared, self._message], **QUIET
        )
        # The request goes through the page to Generate, which the host queues like any job.
        asked.then(None, [self._prepared], [], _js=f"(text) => crdiffCalibration.start('{self._tab}', text)", **QUIET)
        self._stop.click(self._stopped, [], [self._message], **QUIET)
        shown = [self._known, self._message]
        newer = {"_js": f"() => [crdiffCalibration.version('{self._tab}')]", **QUIET}
        self._poll.click(self._shown, [self._version], shown, **newer)
        self._delete.click(
            guarded(self._deleted, lambda: [self._described()]), [self._confirmed], shown, _js=_CONFIRM, **QUIET
        )

    def _requested(self, images: Any, prompts: Any, size: Any, hessians: Any, gradients: Any) -> list[Any]:
        if images is None:
            raise SettingsError("Say how many images are to be drawn.")
        text = str(size or "").strip() or None
        request = CalibrationRequest(str(prompts), int(images), text, str(hessians), gradients=bool(gradients))
        return [request.to_text(), estimate(request, self._context)]

    def _stopped(self) -> str:
        from modules import shared

        monitor = self._context.monitor
        if monitor.status.state != "running":
            return status_html("No calibration is running.")
        monitor.stop_requested = True
        shared.state.interrupt()
        return status_html("Stopping; what has been gathered is kept.")

    def _shown(self, version: Any) -> list[Any]:
        """What is kept, and how the last calibration stands if that is not what the page shows."""
        monitor = self._context.monitor
        if int(version if version is not None else -1) == monitor.version:
            return [self._described(), gr.update()]
        status = monitor.status
        text = status_html(status.text, _LEVELS.get(status.state, "ok"))
        state = f'data-crdiff-calibration="{status.state}" data-crdiff-version="{monitor.version}"'
        return [self._described(), f"<div {state}>{text}</div>"]

    def _described(self) -> str:
        checkpoint = self._context.checkpoints.selected()
        found = () if checkpoint is None else self._context.calibrations.of_checkpoint(checkpoint.key)
        return status_html(describe(checkpoint, found))

    def _deleted(self, confirmed: Any) -> list[Any]:
        checkpoint = self._context.checkpoints.selected()
        found = () if checkpoint is None else self._context.calibrations.of_checkpoint(checkpoint.key)
        if not confirmed:
            return [self._described(), ""]
        for stored in found:
            self._context.calibrations.delete(stored)
        told = f"Deleted {counted(len(found), 'calibration')}." if found else "There is none to delete."
        return [self._described(), told]
