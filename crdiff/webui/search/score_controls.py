"""The score's controls: which one, whether it can be used, what it gives a picture, and its files."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gradio as gr

from crdiff.webui.search.answers import QUIET, guarded
from crdiff.webui.search.fetching import SOURCES
from crdiff.webui.search.plan import EYE, SCORES
from crdiff.webui.search.testing import score_picture
from modules.ui_components import ToolButton

if TYPE_CHECKING:
    from crdiff.webui.extension import Extension

_AUTO = "first available"
_EYE_LABEL = f"{EYE} (you pick)"
_CHECK = "\U0001f50d"


class ScoreControls:
    """Builds them in two places: the choice at the top of the fold, the files further down."""

    def __init__(self, extension: Extension, tab: str, named: Callable[[str], str]) -> None:
        self._extension = extension
        self._tab = tab
        self._named = named

    def build_choice(self) -> None:
        """Which score, and two buttons; inside a row."""
        named = self._named
        self.score = gr.Dropdown(
            [_AUTO, *SCORES, _EYE_LABEL], value=_AUTO, label="Score", allow_custom_value=True, elem_id=named("score")
        )
        self._check = ToolButton(_CHECK, elem_id=named("check"), tooltip="Which scores can be used here")
        self._test = gr.Button("Test score", size="sm", min_width=80, elem_id=named("test"))

    def build_files(self) -> None:
        """The fold with the download."""
        named = self._named
        first = next(iter(SOURCES))
        with gr.Accordion("Files of the scores", open=False, elem_id=named("files")):
            self._source = gr.Radio(list(SOURCES), value=first, label="Model", elem_id=named("source"))
            self._offer = gr.HTML(self._offered(first), elem_id=named("offer"))
            with gr.Row():
                self._download = gr.Button("Download", size="sm", elem_id=named("download"))
                self._stop = gr.Button("Stop the download", size="sm", elem_id=named("download_stop"))
            self._progress = gr.HTML(self._extension.fetching.current.to_html(), elem_id=named("download_progress"))
            self._picture = gr.Textbox("", visible=False, elem_id=named("test_picture"))
            self._prompt = gr.Textbox("", visible=False, elem_id=named("test_prompt"))
            self._poll = gr.Button("Show", elem_id=named("download_poll"))
        for component in (self.score, self._source, self._picture, self._prompt):
            component.do_not_save_to_config = True

    def connect(self, message: Any) -> None:
        """Bind the buttons; sentences go to ``message``."""
        fetching, tab = self._extension.fetching, self._tab
        self._check.click(guarded(self._offers), [], [message], **QUIET)
        picture = f"async (score) => [score, ...await crdiffSearch.tested('{tab}')]"
        inputs = [self.score, self._picture, self._prompt]
        self._test.click(guarded(self._tested), inputs, [message], _js=picture, **QUIET)
        self._source.change(self._offered, [self._source], [self._offer], **QUIET)
        watch = f"() => crdiffSearch.watchDownload('{tab}')"
        started = self._download.click(self._start, [self._source], [self._progress], **QUIET)
        started.then(None, [], [], _js=watch, **QUIET)
        self._stop.click(lambda: fetching.stop().to_html(), [], [self._progress], **QUIET)
        self._poll.click(lambda: fetching.current.to_html(), [], [self._progress], **QUIET)

    def _places(self) -> Any:
        from crdiff.webui.search.judge import score_places

        return score_places(self._extension.folder)

    def _offered(self, name: str) -> str:
        source = SOURCES[name if name in SOURCES else next(iter(SOURCES))]
        return f'<p class="crdiff-status">{source.offer(self._places().target(source.folder))}</p>'

    def _start(self, name: str) -> str:
        source = SOURCES[name if name in SOURCES else next(iter(SOURCES))]
        return self._extension.fetching.start(source, self._places()).to_html()

    def _offers(self) -> list[Any]:
        from crdiff.webui.search.judge import offers

        return [" ".join(f"{name}: {problem or 'can be used.'}" for name, problem in offers(self._extension.folder))]

    def _tested(self, score: Any, picture: str, prompt: str) -> list[Any]:
        return [score_picture(chosen_score(score), self._extension.folder, picture or "", prompt or "")]


def chosen_score(value: Any) -> str | None:
    """The score's name for the plan; None is the first one available."""
    if not value or value == _AUTO:
        return None
    return EYE if value in (EYE, _EYE_LABEL) else str(value)
