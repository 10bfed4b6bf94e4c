"""Search ratios for this prompt: its controls in the accordion."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import gradio as gr

from crdiff.method.groups import GROUPS
from crdiff.webui.search.answers import QUIET, guarded, message_html
from crdiff.webui.search.keeping import Keeping
from crdiff.webui.search.panel import panel_html
from crdiff.webui.search.plan import RACING, STRATEGIES, SearchPlan, read_lines, read_seeds
from crdiff.webui.search.score_controls import ScoreControls, chosen_score

if TYPE_CHECKING:
    from crdiff.webui.extension import Extension


class SearchControls:
    """The part of the accordion that searches; in a tab whose Generate button can run it."""

    def __init__(self, extension: Extension, tab: str) -> None:
        self._extension = extension
        self._board = extension.board
        self._tab = tab
        self._scores = ScoreControls(extension, tab, self._named)
        self._keeping = Keeping(extension, tab, self._named)

    def _named(self, name: str) -> str:
        return f"{self._tab}_crdiff_search_{name}"

    def build(self) -> None:
        """Make the controls."""
        named = self._named
        self._keeping.build_remembered()
        with gr.Accordion("Search ratios for this prompt", open=False, elem_id=named("accordion")):
            with gr.Row():
                self._scores.build_choice()
            with gr.Row():
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
                hires = {"label": "Hires. fix in trials too", "elem_id": named("hires")}
                self._hires = gr.Checkbox(False, visible=self._tab == "txt2img", **hires)
            with gr.Row():
                self._low = gr.Number(0.1, label="Least ratio", elem_id=named("low"))
                self._high = gr.Number(0.8, label="Largest ratio", elem_id=named("high"))
                self._low_k = gr.Number(1.0, label="Least k", elem_id=named("low_k"))
                self._high_k = gr.Number(2.5, label="Largest k", elem_id=named("high_k"))
            self._build_advanced()
            self._scores.build_files()
            with gr.Row():
                self._start = gr.Button("Search", variant="primary", elem_id=named("start"))
                self._stop = gr.Button("Stop", elem_id=named("stop"))
                self._resume = gr.Button("Resume", elem_id=named("resume"))
                self._keeping.build_apply()
            self._message = gr.HTML("", elem_id=named("message"))
            self._panel = gr.HTML("", elem_id=named("panel"))
            self._keeping.build_save()
            self._prepared = gr.Textbox("", visible=False, elem_id=named("prepared"))
            self._version = gr.Number(-1, visible=False, elem_id=named("version"))
            self._answer = gr.Textbox("", visible=False, elem_id=named("answer"))
            self._poll = gr.Button("Show", elem_id=named("poll"))
            self._answered = gr.Button("Answer", elem_id=named("answered"))
        for component in (*self._asked, self._prepared, self._version, self._answer):
            component.do_not_save_to_config = True

    def _build_advanced(self) -> None:
        named = self._named
        with gr.Accordion("Advanced", open=False, elem_id=named("advanced")):
            with gr.Row():
                # Only looked for: what a search needs is imported when one is asked for.
                offered = [name for name in STRATEGIES if name != "cmaes" or find_spec("cmaes") is not None]
                self._strategy = gr.Dropdown(
                    offered, value=STRATEGIES[0], label="Strategy", elem_id=named("strategy"),
                    info="annealing is the paper's, random tries anything, cmaes needs the package of that name",
                )  # fmt: skip
                self._racing = gr.Radio(
                    list(RACING), value=RACING[0], label="Racing", elem_id=named("racing"),
                    info="exact leaves out pictures that cannot change the outcome, likely also those that hardly will",
                )  # fmt: skip
            with gr.Row():
                self._seed = gr.Number(
                    0, label="Search seed", precision=0, elem_id=named("seed"), info="another one takes another way"
                )
                self._heat = gr.Number(
                    0.1, label="Temperature", elem_id=named("temperature"),
                    info="of the annealing: how much worse a step may be; about the spread of the score, 0.01 for CLIP",
                )  # fmt: skip

    @property
    def _asked(self) -> list[Any]:
        return [
            self._scores.score, self._evaluations, self._minutes, self._prompts, self._seeds, self._vary, self._hires,
            self._low, self._high, self._low_k, self._high_k, self._strategy, self._racing, self._seed, self._heat,
        ]  # fmt: skip

    def connect(self, controls: dict[str, Any], choices: Callable[[], list[str]]) -> None:
        """Bind the buttons.

        Args:
            controls: the settings' controls by name.
            choices: the names the preset control offers.
        """
        tab = self._tab
        start = [self._prepared, self._message]
        pressed = f"(text) => crdiffSearch.start('{tab}', text)"
        press = {"fn": None, "inputs": [self._prepared], "outputs": [], "_js": pressed}
        # Only what is asked for in the page goes on to Generate, which the host queues like any job.
        self._start.click(guarded(self._plan, ""), self._asked, start, **QUIET).then(**press, **QUIET)
        budget = [self._evaluations, self._minutes]
        self._resume.click(guarded(self._last, ""), budget, start, **QUIET).then(**press, **QUIET)
        self._stop.click(self._stopped, [], [self._message], **QUIET)
        newer = {"_js": f"() => [crdiffSearch.version('{tab}')]", **QUIET}
        self._poll.click(self._shown, [self._version], [self._panel], **newer)
        answer = {"_js": f"() => [crdiffSearch.answer('{tab}')]", **QUIET}
        self._answered.click(self._taken, [self._answer], [self._panel], **answer)
        self._scores.connect(self._message)
        self._keeping.connect(controls, choices, self._message)

    def _plan(self, *values: Any) -> list[Any]:
        from crdiff.webui.search.job import check

        score, evaluations, minutes, prompts, seeds, vary, hires, low, high, low_k, high_k, *advanced = values
        strategy, racing, seed, heat = advanced
        plan = SearchPlan.from_dict(
            {
                "score": chosen_score(score),
                **_budget(evaluations, minutes),
                "prompts": read_lines(prompts),
                "seeds": read_seeds(seeds),
                "vary": list(vary or ()),
                "ratios": [low, high],
                "k": [low_k, high_k],
                "hires": bool(hires),
                "strategy": str(strategy),
                "racing": str(racing),
                "seed": int(seed or 0),
                "temperature": heat or None,
            }
        )
        check(plan, self._extension.folder)
        return [json.dumps(plan.to_dict()), ""]

    def _last(self, evaluations: Any, minutes: Any) -> list[Any]:
        from crdiff.errors import SettingsError
        from crdiff.webui.search.job import SEARCHES, check
        from crdiff.webui.search.journals import latest

        kept = latest(self._extension.folder / SEARCHES, from_image=self._tab == "img2img")
        if kept is None:
            raise SettingsError(f"There is no search of {self._tab} to go on with.")
        plan = SearchPlan.from_dict({**kept.plan, **_budget(evaluations, minutes), "journal": kept.path.name})
        check(plan, self._extension.folder)
        return [json.dumps(plan.to_dict()), f"Going on with {kept.describe()}"]

    def _stopped(self) -> str:
        from modules import shared

        if self._board.current.state != "running":
            return message_html("No search is running.")
        self._board.stop_asked = True
        shared.state.interrupt()
        return message_html("Stopping; the best so far is kept.")

    def _shown(self, version: Any) -> Any:
        board = self._board
        if int(version if version is not None else -1) == board.version:
            return gr.update()
        return panel_html(board.current, board.version)

    def _taken(self, answer: str) -> str:
        number, _, choice = (answer or "").partition(":")
        if number.isdigit():
            self._board.answer(int(number), choice)
        return panel_html(self._board.current, self._board.version)


def _budget(evaluations: Any, minutes: Any) -> dict[str, Any]:
    return {
        "evaluations": int(evaluations) if evaluations else None,
        "minutes": float(minutes) if minutes else None,
    }
