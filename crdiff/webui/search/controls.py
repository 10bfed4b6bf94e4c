"""Search ratios for this prompt: the controls in the accordion."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import gradio as gr

from crdiff.errors import SettingsError
from crdiff.search.objective import RACING
from crdiff.search.strategies import registry as strategies
from crdiff.search.strategies.point import AXES, MAX_STAGES, PAPER_K
from crdiff.webui.events import QUIET, guarded
from crdiff.webui.jobs.api import WAITING
from crdiff.webui.jobs.host import has_jobs
from crdiff.webui.markup import status_html
from crdiff.webui.search.context import SearchContext
from crdiff.webui.search.journals import latest
from crdiff.webui.search.judge import choose_scorer
from crdiff.webui.search.monitor import SearchStatus
from crdiff.webui.search.panel import panel_html
from crdiff.webui.search.request import EYE, SearchRequest, read_lines, read_seeds
from crdiff.webui.search.saving import ResultControls
from crdiff.webui.search.score_controls import ScoreControls, chosen_score
from crdiff.webui.search.tooltips import TOOLTIPS

FRESH_SEEDS = 8
"""Of the page, where a search is for one prompt: half choose among the best few, half tell what the choice gains."""
NOT_BEGUN = -2
"""The version of a panel that says no more than that its search waits."""


class SearchControls:
    """The part of the accordion that searches, in one tab, whose Generate button runs the search."""

    def __init__(self, context: SearchContext, tab: str) -> None:
        self._context = context
        self._tab = tab
        self._scores = ScoreControls(context, tab, self._named)
        self._results = ResultControls(context, tab, self._named)

    def _named(self, name: str) -> str:
        return f"{self._tab}_crdiff_search_{name}"

    @property
    def tooltips(self) -> dict[str, str]:
        """What the tooltips of the controls say, by element id."""
        return {self._named(name): text for name, text in TOOLTIPS.items()}

    def build(self) -> None:
        """Make the controls; which of them the state of a search hides is up to ``style.css``."""
        named, defaults = self._named, SearchRequest()
        self._results.build_found()
        with gr.Accordion("Search ratios for this prompt", open=False, elem_id=named("accordion")):
            with gr.Column(elem_classes=["crdiff-search-settings"]):
                with gr.Row():
                    self._scores.build_choice()
                    self._evaluations = gr.Number(
                        defaults.evaluations, label="Evaluations", precision=0, elem_id=named("evaluations")
                    )
                self._start = gr.Button("Search", variant="primary", elem_id=named("start"))
                with gr.Accordion("Advanced", open=False, elem_id=named("advanced")):
                    self._build_advanced()
            self._stop = gr.Button("Stop", elem_id=named("stop"))
            self._message = gr.HTML("", elem_id=named("message"))
            self._panel = gr.HTML("", elem_id=named("panel"))
            self._results.build_save()
            # What the page's script says, and what is said to it.
            self._said = gr.Textbox("", visible=False, elem_id=named("said"))
            self._prepared = gr.Textbox("", visible=False, elem_id=named("prepared"))
            self._poll = gr.Button("Show", elem_id=named("poll"))
        for component in (*self._asked, self._said, self._prepared):
            component.do_not_save_to_config = True

    def _build_advanced(self) -> None:
        named, defaults = self._named, SearchRequest()
        (low, high), (low_k, high_k) = defaults.ratios, defaults.k
        self._prompts = gr.Textbox(
            "", label="Prompts to search for", lines=2, placeholder="One per line; empty: the prompt above",
            elem_id=named("prompts"),
        )  # fmt: skip
        with gr.Row():
            self._seeds = gr.Textbox(
                "", label="Image seeds", placeholder="1, 2; empty: the tab's", elem_id=named("seeds")
            )
            self._minutes = gr.Number(0, label="Minutes (0: no limit)", elem_id=named("minutes"))
            self._fresh = gr.Number(
                FRESH_SEEDS, label="Fresh seeds at the end", precision=0, elem_id=named("fresh_seeds")
            )
        self._vary = gr.CheckboxGroup(
            list(AXES), value=list(defaults.vary), label="What to vary", elem_id=named("vary")
        )
        with gr.Row():
            self._low = gr.Number(low, label="Minimum ratio", elem_id=named("low"))
            self._high = gr.Number(high, label="Maximum ratio", elem_id=named("high"))
        with gr.Row(elem_classes=["crdiff-search-k"]):
            self._low_k = gr.Number(low_k, label="Minimum k", elem_id=named("low_k"))
            self._high_k = gr.Number(high_k, label="Maximum k", elem_id=named("high_k"))
            self._k_by_stage = gr.Checkbox(
                defaults.k_by_stage, label="k of its own in each stage", elem_id=named("k_by_stage")
            )
        self._stages = gr.Slider(
            1, MAX_STAGES, value=defaults.stages, step=1, label="Stages to search", elem_id=named("stages")
        )
        self._paper_k = gr.Checkbox(False, label="Trials with k = 1, as in the paper", elem_id=named("paper_k"))
        hires = {"label": "Hires. fix in trials too", "elem_id": named("hires")}
        self._hires = gr.Checkbox(False, visible=self._tab == "txt2img", **hires)
        with gr.Row():
            self._strategy = gr.Dropdown(
                list(strategies.available()), value=defaults.strategy, label="Strategy", elem_id=named("strategy")
            )
            self._racing = gr.Radio(list(RACING), value=defaults.racing, label="Racing", elem_id=named("racing"))
        with gr.Row():
            self._seed = gr.Number(defaults.seed, label="Search seed", precision=0, elem_id=named("seed"))
            self._temperature = gr.Number(
                defaults.temperature, label="Temperature (0: from the scores)", elem_id=named("temperature")
            )
        with gr.Row(elem_classes=["crdiff-buttons"]):
            self._scores.build_test()
            self._resume = gr.Button("Resume", size="sm", elem_id=named("resume"))
        self._scores.build_files()

    @property
    def _asked(self) -> list[Any]:
        return [
            self._scores.score, self._evaluations, self._minutes, self._prompts, self._seeds, self._vary,
            self._paper_k, self._fresh, self._hires,
            self._low, self._high, self._low_k, self._high_k, self._k_by_stage, self._stages,
            self._strategy, self._racing, self._seed,
            self._temperature,
        ]  # fmt: skip

    def connect(self, controls: dict[str, Any], size: list[Any], choices: Callable[[], list[str]]) -> None:
        """Bind the buttons; the arguments are those of a ``Section`` of the accordion."""
        tab = self._tab
        start = [self._prepared, self._message]
        pressed = f"(text) => crdiffSearch.start('{tab}', text)"
        press = {"fn": None, "inputs": [self._prepared], "outputs": [], "_js": pressed}
        # The request goes through the page to Generate, which the host queues like any job.
        self._start.click(guarded(self._requested, lambda: [""]), self._asked, start, **QUIET).then(**press, **QUIET)
        budget = [self._evaluations, self._minutes]
        self._resume.click(guarded(self._resumed, lambda: [""]), budget, start, **QUIET).then(**press, **QUIET)
        self._stop.click(self._stopped, [], [self._message, self._panel], **QUIET)
        report = {"_js": f"() => [crdiffSearch.report('{tab}')]", **QUIET}
        self._poll.click(self._reported, [self._said], [self._panel, self._scores.progress], **report)
        self._scores.connect(self._said, self._message)
        self._results.connect(controls, choices, self._said, self._message)

    def _requested(self, *values: Any) -> list[Any]:
        score, evaluations, minutes, prompts, seeds, vary, paper_k, fresh, hires, *bounds_and_more = values
        low, high, low_k, high_k, k_by_stage, stages, *advanced = bounds_and_more
        strategy, racing, seed, temperature = advanced
        request = SearchRequest.from_dict(
            {
                "score": chosen_score(score),
                **_budget(evaluations, minutes),
                "prompts": read_lines(prompts),
                "seeds": read_seeds(seeds),
                "vary": list(vary or ()),
                "ratios": [low, high],
                "k": [low_k, high_k],
                "stages": int(stages),
                "k_by_stage": bool(k_by_stage),
                "trial_k": PAPER_K if paper_k else None,
                "fresh_seeds": int(fresh or 0),
                "hires": bool(hires),
                "strategy": str(strategy),
                "racing": str(racing),
                "seed": int(seed or 0),
                "temperature": float(temperature or 0),
            }
        )
        return [self._text(request), ""]

    def _resumed(self, evaluations: Any, minutes: Any) -> list[Any]:
        saved = latest(self._context.journals, from_image=self._tab == "img2img")
        if saved is None:
            raise SettingsError(f"There is no search of {self._tab} to resume.")
        request = SearchRequest.from_dict({**saved.course, **_budget(evaluations, minutes), "journal": saved.path.name})
        return [self._text(request), f"Resuming {saved.describe()}"]

    def _text(self, request: SearchRequest) -> str:
        """The request as the search script takes it; refused here if its score cannot be used."""
        if request.score != EYE:
            choose_scorer(request.score, self._context.folder)
        return json.dumps(request.to_dict())

    def _stopped(self) -> list[Any]:
        """What there is to say is said by the panel, which says the end as well."""
        from modules import shared

        monitor = self._context.monitor
        if monitor.status.state != "running":
            return [status_html("No search is running."), gr.update()]
        monitor.stop_requested = True
        status = monitor.update(message="Stopping after this image.")
        shared.state.interrupt()
        return ["", panel_html(status, monitor.version)]

    def _reported(self, said: str) -> list[Any]:
        """Take the answer to a question; the panel where it has changed, and how far a download is.

        Args:
            said: JSON of the page's script: the ``version`` of the panel it shows, the ``answer``, and ``asked``, the
                version at which a search was asked for that has not been seen to begin.
        """
        monitor = self._context.monitor
        try:
            told = json.loads(said)
            version, answer, asked = int(told["version"]), str(told["answer"]), told.get("asked")
        except (ValueError, TypeError, KeyError):
            version, answer, asked = -1, "", None
        number, _, choice = answer.partition(":")
        if number.isdigit():
            monitor.answer(int(number), choice)
        panel = gr.update() if version == monitor.version else panel_html(monitor.status, monitor.version)
        if asked == monitor.version and monitor.status.state != "running" and has_jobs():
            panel = panel_html(SearchStatus("waiting", WAITING), NOT_BEGUN)
        return [panel, self._context.downloads.status.to_html()]


def _budget(evaluations: Any, minutes: Any) -> dict[str, Any]:
    return {
        "evaluations": int(evaluations) if evaluations else None,
        "minutes": float(minutes) if minutes else None,
    }
