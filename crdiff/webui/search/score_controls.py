"""The score's controls: which one, whether it can be used, the button Test score, and its files."""

from __future__ import annotations

import base64
import binascii
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from crdiff.errors import SettingsError
from crdiff.scoring.formula import NAMES
from crdiff.scoring.prompts import plain_text
from crdiff.scoring.sources import IMAGE_REWARD, Source
from crdiff.webui.events import QUIET, guarded
from crdiff.webui.markup import status_html
from crdiff.webui.search.context import SearchContext
from crdiff.webui.search.downloads import SOURCES
from crdiff.webui.search.judge import choose_scorer, model_files, score_problems
from crdiff.webui.search.request import EYE
from crdiff.webui.search.score_table import scores_html
from modules.ui_components import ToolButton

_SHOWN = 60
"""Characters of a prompt that are shown."""
_AUTO = "first available"
_EYE_LABEL = f"{EYE} (you pick)"
_CHECK = "\U0001f50d"


class ScoreControls:
    """The controls in two places of the search's accordion: the choice at the top, the rest under Advanced."""

    def __init__(self, context: SearchContext, tab: str, named: Callable[[str], str]) -> None:
        self._context = context
        self._tab = tab
        self._named = named

    def build_choice(self) -> None:
        """Which score; inside a row."""
        named = self._named
        self.score = gr.Dropdown(
            [_AUTO, *NAMES, _EYE_LABEL], value=_AUTO, label="Score", allow_custom_value=True, elem_id=named("score")
        )
        self._check = ToolButton(_CHECK, elem_id=named("check"))

    def build_test(self) -> None:
        """The button Test score; inside a row."""
        self._test = gr.Button("Test score", size="sm", elem_id=self._named("test"))

    def build_files(self) -> None:
        """The accordion with the download."""
        named = self._named
        first = next(iter(SOURCES))
        with gr.Accordion("Files of the scores", open=False, elem_id=named("files")):
            self._source = gr.Radio(list(SOURCES), value=first, label="Model", elem_id=named("source"))
            self._offer = gr.HTML(self._offered(first), elem_id=named("offer"))
            with gr.Row(elem_classes=["crdiff-buttons"]):
                self._download = gr.Button("Download", size="sm", elem_id=named("download"))
                self._stop = gr.Button("Stop the download", size="sm", elem_id=named("download_stop"))
            self.progress = gr.HTML(self._context.downloads.status.to_html(), elem_id=named("download_progress"))
        for component in (self.score, self._source):
            component.do_not_save_to_config = True

    def connect(self, said: Any, message: Any) -> None:
        """Bind the buttons; ``said`` carries what the page's script says, sentences go to ``message``."""
        downloads, tab = self._context.downloads, self._tab
        self._check.click(self._problems, [], [message], **QUIET)
        image = f"async (score) => [score, await crdiffSearch.tested('{tab}')]"
        self._test.click(guarded(self._test_score), [self.score, said], [message], _js=image, **QUIET)
        self._source.change(self._offered, [self._source], [self._offer], **QUIET)
        watch = f"(source) => {{ crdiffSearch.watch('{tab}'); return [source]; }}"
        self._download.click(self._start, [self._source], [self.progress], _js=watch, **QUIET)
        self._stop.click(lambda: downloads.stop().to_html(), [], [self.progress], **QUIET)

    def _offered(self, name: str) -> str:
        source = _source(name)
        return status_html(source.offer(model_files(self._context.folder).target(source.folder)))

    def _start(self, name: str) -> str:
        return self._context.downloads.start(_source(name), model_files(self._context.folder)).to_html()

    def _problems(self) -> str:
        return scores_html({**score_problems(self._context.folder), EYE: None})

    def _test_score(self, score: Any, said: str) -> list[Any]:
        told = json.loads(said)
        return [score_of_image(chosen_score(score), self._context.folder, told["image"], told["prompt"])]


def _source(name: str) -> Source:
    return SOURCES.get(name, IMAGE_REWARD)


def chosen_score(value: Any) -> str | None:
    """The score's name for the request; None is the first one available."""
    if not value or value == _AUTO:
        return None
    return EYE if value in (EYE, _EYE_LABEL) else str(value)


def score_of_image(name: str | None, folder: Path, image_url: str, prompt: str) -> str:
    """One sentence with the score of an image.

    The score runs on the CPU, so as not to take memory from an image that is being drawn.

    Args:
        name: a score or a weighted sum; None takes the first one available.
        folder: CR-Diff's folder in the host's data path.
        image_url: a data URL; empty if there is no image.
        prompt: the tab's; an image that carries its own infotext is judged by that one's.

    Raises:
        CRDiffError: why there is no score.
    """
    if name == EYE:
        raise SettingsError("Your own eye is asked during the search: it shows two images, and you pick.")
    scorer = choose_scorer(name, folder)
    if scorer.needs_dense:
        raise SettingsError(f"{scorer.name} compares with the dense image of the same seed, which only a search draws.")
    if not image_url:
        raise SettingsError("There is no image in the gallery to test the score on; press Generate first.")
    image = _image(image_url)
    text = plain_text(_own_prompt(image) or prompt)
    started = time.monotonic()
    try:
        scorer.load("cpu")
        (score,) = scorer.score(scorer.prepare(text), [image.convert("RGB")])
    finally:
        scorer.close()
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    took = time.monotonic() - started
    return f"{scorer.name} gives the image {score:.4g} for “{shown}” ({took:.1f} s with loading, on the CPU)."


def _image(url: str) -> Any:
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2], validate=True)))
        image.load()
    except (OSError, ValueError, binascii.Error):
        raise SettingsError("The image in the gallery cannot be read.") from None
    return image


def _own_prompt(image: Any) -> str:
    """The prompt in an image's infotext; empty if it has none."""
    text = image.info.get("parameters")
    if not isinstance(text, str):
        return ""
    lines = []
    for line in text.splitlines():
        if line.startswith(("Negative prompt:", "Steps: ")):
            break
        lines.append(line)
    return "\n".join(lines).strip()
