"""Search ratios for this prompt: its controls in the accordion."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gradio as gr

from crdiff.errors import CRDiffError, PresetError
from crdiff.pruning.ratios import GROUPS, Ratios
from crdiff.settings import CUSTOM
from crdiff.webui.infotext import preset_label
from crdiff.webui.search.panel import applied, panel_html
from crdiff.webui.search.plan import SCORES, SearchPlan, read_lines, read_seeds
from modules.ui_components import ToolButton

if TYPE_CHECKING:
    from crdiff.presets.table import Preset
    from crdiff.webui.extension import Extension

_AUTO_SCORE = "first available"
_QUIET = {"show_progress": False, "queue": False}
_CHECK = "\U0001f50d"


class SearchControls:
    """The part of the accordion that searches; in a tab whose Generate button can run it."""

    def __init__(self, extension: Extension, tab: str) -> None:
        self._extension = extension
        self._board = extension.board
        self._tab = tab

    def build(self) -> None:
        """Make the controls."""

        def named(name: str) -> str:
            return f"{self._tab}_crdiff_search_{name}"

        with gr.Accordion("Search ratios for this prompt", open=False, elem_id=named("accordion")):
            with gr.Row():
                self._score = gr.Dropdown(
                    [_AUTO_SCORE, *SCORES], value=_AUTO_SCORE, label="Score", allow_custom_value=True,
                    elem_id=named("score"),
                )  # fmt: skip
                self._check = ToolButton(_CHECK, elem_id=named("check"), tooltip="Which scores can be used here")
                self._evaluations = gr.Number(40, label="Evaluations", precision=0, elem_id=named("evaluations"))
                self._minutes = gr.Number(0, label="Minutes (0: no limit)", elem_id=named("minutes"))
            self._prompts = gr.Textbox(
                "", label="Prompts to search for", lines=2, placeholder="One a line; empty: the prompt above",
                elem_id=named("prompts"),
            )  # fmt: skip
            with gr.Row():
                self._seeds = gr.Textbox(
                    "", label="Image seeds", placeholder="1, 2; empty: the tab's seed", elem_id=named("seeds")
                )
                self._vary = gr.CheckboxGroup(
                    [*GROUPS, "k"], value=list(GROUPS), label="What to vary", elem_id=named("vary")
                )
                self._hires = gr.Checkbox(False, label="Hires. fix in trials too", elem_id=named("hires"))
            with gr.Row():
                self._low = gr.Number(0.1, label="Least ratio", elem_id=named("low"))
                self._high = gr.Number(0.8, label="Largest ratio", elem_id=named("high"))
                self._low_k = gr.Number(1.0, label="Least k", elem_id=named("low_k"))
                self._high_k = gr.Number(2.5, label="Largest k", elem_id=named("high_k"))
            with gr.Row():
                self._start = gr.Button("Search", variant="primary", elem_id=named("start"))
                self._stop = gr.Button("Stop", elem_id=named("stop"))
                self._resume = gr.Button("Resume", elem_id=named("resume"))
                self._apply = gr.Button("Apply best", elem_id=named("apply"))
            self._message = gr.HTML("", elem_id=named("message"))
            self._panel = gr.HTML("", elem_id=named("panel"))
            with gr.Row():
                self._name = gr.Textbox("", label="Name of the found preset", elem_id=named("name"))
                self._only_this = gr.Checkbox(
                    True, label="Found preset for this checkpoint only", elem_id=named("only")
                )
                self._save = gr.Button("Save as preset", size="sm", elem_id=named("save"))
            self._prepared = gr.Textbox("", visible=False, elem_id=named("prepared"))
            self._version = gr.Number(-1, visible=False, elem_id=named("version"))
            self._poll = gr.Button("Show", elem_id=named("poll"))
            self._chosen = gr.Button("Apply", elem_id=named("chosen"))
        for component in (*self._asked, self._name, self._only_this, self._prepared, self._version):
            component.do_not_save_to_config = True

    @property
    def _asked(self) -> list[Any]:
        return [
            self._score, self._evaluations, self._minutes, self._prompts, self._seeds, self._vary, self._hires,
            self._low, self._high, self._low_k, self._high_k,
        ]  # fmt: skip

    def connect(self, controls: dict[str, Any], choices: Callable[[], list[str]]) -> None:
        """Bind the buttons.

        Args:
            controls: the settings' controls by name.
            choices: the names the preset control offers.
        """
        preset, k = controls["preset"], controls["k"]
        ratios = [controls["enabled"], preset, *(controls[group] for group in GROUPS), k]
        start = [self._prepared, self._message]
        press = {"fn": None, "inputs": [self._prepared], "outputs": [], "_js": "(text) => crdiffSearchStart(text)"}
        # Only what is asked for in the page goes on to Generate, which the host queues like any job.
        self._start.click(self._guarded(self._plan, ""), self._asked, start, **_QUIET).then(**press, **_QUIET)
        budget = [self._evaluations, self._minutes]
        self._resume.click(self._guarded(self._last, ""), budget, start, **_QUIET).then(**press, **_QUIET)
        self._stop.click(self._stopped, [], [self._message], **_QUIET)
        self._check.click(self._guarded(self._offers), [], [self._message], **_QUIET)
        newer = {"_js": "() => [crdiffSearchVersion()]", **_QUIET}
        self._poll.click(self._shown, [self._version], [self._panel], **newer)
        self._chosen.click(None, [k], ratios, _js="(k) => crdiffSearchChosen(k)", **_QUIET)
        kept = [gr.update()] * len(ratios)
        self._apply.click(self._guarded(self._best, *kept), [], [*ratios, self._message], **_QUIET)

        def save(name: str, only_this: bool) -> list[Any]:
            saved = self._found(name.strip(), bool(only_this))
            self._extension.library.store.save(saved, overwrite=True)
            return [gr.update(choices=choices()), f"Saved {saved.name} for {saved.family.label}, {saved.size}."]

        saving = self._guarded(save, gr.update())
        self._save.click(saving, [self._name, self._only_this], [preset, self._message], **_QUIET)

    def _guarded(self, action: Callable[..., list[Any]], *failed: Any) -> Callable[..., Any]:
        """The action's answer, its last part shown as a message; where it fails, ``failed`` and a message why."""

        def run(*values: Any) -> Any:
            try:
                *others, message = action(*values)
            except (CRDiffError, OSError) as problem:
                others, text = list(failed), _message(str(problem), "problem")
            else:
                text = _message(message)
            return [*others, text] if others else text

        return run

    def _plan(self, *values: Any) -> list[Any]:
        from crdiff.webui.search.job import check

        score, evaluations, minutes, prompts, seeds, vary, hires, low, high, low_k, high_k = values
        plan = SearchPlan.from_dict(
            {
                "score": None if not score or score == _AUTO_SCORE else str(score),
                **_budget(evaluations, minutes),
                "prompts": read_lines(prompts),
                "seeds": read_seeds(seeds),
                "vary": list(vary or ()),
                "ratios": [low, high],
                "k": [low_k, high_k],
                "hires": bool(hires),
            }
        )
        check(plan, self._extension.folder)
        return [json.dumps(plan.to_dict()), ""]

    def _last(self, evaluations: Any, minutes: Any) -> list[Any]:
        from crdiff.errors import SettingsError
        from crdiff.webui.search.job import SEARCHES, check
        from crdiff.webui.search.journals import latest

        kept = latest(self._extension.folder / SEARCHES)
        if kept is None:
            raise SettingsError("There is no search to go on with.")
        plan = SearchPlan.from_dict({**kept.plan, **_budget(evaluations, minutes), "journal": kept.path.name})
        check(plan, self._extension.folder)
        return [json.dumps(plan.to_dict()), f"Going on with {kept.describe()}"]

    def _stopped(self) -> str:
        from modules import shared

        if self._board.current.state != "running":
            return _message("No search is running.")
        self._board.stop_asked = True
        shared.state.interrupt()
        return _message("Stopping; the best so far is kept.")

    def _offers(self) -> list[Any]:
        from crdiff.webui.search.judge import offers

        return [" ".join(f"{name}: {problem or 'can be used.'}" for name, problem in offers(self._extension.folder))]

    def _shown(self, version: Any) -> Any:
        board = self._board
        if int(version if version is not None else -1) == board.version:
            return gr.update()
        return panel_html(board.current, board.version)

    def _best(self) -> list[Any]:
        found = self._board.current.found
        if found is None:
            raise PresetError("No search has found anything better than the dense model yet.")
        values = applied(found, self._board.current)
        k = gr.update() if values["k"] is None else values["k"]
        return [True, preset_label(CUSTOM), *(values[group] for group in GROUPS), k, f"Applied {found.point.ratios}."]

    def _found(self, name: str, only_this: bool) -> Preset:
        from crdiff.presets.table import Preset

        standing = self._board.current
        found, checkpoint, size = standing.found, standing.checkpoint, standing.size
        if found is None or size is None:
            raise PresetError("No search has found anything better than the dense model yet.")
        if checkpoint is None or checkpoint.family is None:
            raise PresetError("The family of the model that was searched for is not known.")
        if only_this and checkpoint.sha256 is None:
            raise PresetError("The host has not computed this checkpoint's hash yet; try again in a moment.")
        ratios = Ratios(*(round(found.point[group], 4) for group in GROUPS))
        note = f"found by a search, {standing.score_name} {found.score:.3f}"
        return Preset.own(
            name, checkpoint.family, size, ratios, round(standing.k_of(found), 4), checkpoint.sha256, note,
            limited=only_this,
        )  # fmt: skip


def _budget(evaluations: Any, minutes: Any) -> dict[str, Any]:
    return {
        "evaluations": int(evaluations) if evaluations else None,
        "minutes": float(minutes) if minutes else None,
    }


def _message(text: str, level: str = "ok") -> str:
    return f'<p class="crdiff-status crdiff-{level}">{html.escape(text)}</p>' if text else ""
