"""What becomes of a search's best: apply it, save it, and offer it again when the prompt comes back."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gradio as gr

from crdiff.errors import PresetError
from crdiff.method.groups import GROUPS, Ratios
from crdiff.presets.size import Size
from crdiff.search.score_text import score_text
from crdiff.settings import CUSTOM
from crdiff.webui.infotext import preset_label
from crdiff.webui.search import remembered
from crdiff.webui.search.answers import QUIET, guarded
from crdiff.webui.search.panel import applied, remembered_html

if TYPE_CHECKING:
    from crdiff.presets.table import Preset
    from crdiff.webui.extension import Extension

_CHECKPOINT, _FAMILY, _PROMPT = "this checkpoint and size", "the family and size", "this prompt"
_NOTHING = "No search has found anything better than the dense model yet."


class Keeping:
    """The controls around a search's result, in three places of the accordion."""

    def __init__(self, extension: Extension, tab: str, named: Callable[[str], str]) -> None:
        self._extension = extension
        self._board = extension.board
        self._tab = tab
        self._named = named

    def build_remembered(self) -> None:
        """What was found earlier for the prompt; above the search's own fold, so that it is seen."""
        self._remembered = gr.HTML("", elem_id=self._named("remembered"))
        self._wanted = gr.Textbox("", visible=False, elem_id=self._named("wanted"))
        self._lookup = gr.Button("Look up", elem_id=self._named("lookup"))

    def build_apply(self) -> None:
        """Apply best; inside a row."""
        self._apply = gr.Button("Apply best", elem_id=self._named("apply"))

    def build_save(self) -> None:
        """Name, scope and Save."""
        with gr.Row():
            self._name = gr.Textbox("", label="Name of the found preset", elem_id=self._named("name"))
            self._scope = gr.Radio(
                [_CHECKPOINT, _FAMILY, _PROMPT], value=_CHECKPOINT, label="Found preset for",
                elem_id=self._named("scope"),
            )  # fmt: skip
            self._save = gr.Button("Save as preset", size="sm", elem_id=self._named("save"))
        self._chosen = gr.Button("Apply", elem_id=self._named("chosen"))
        for component in (self._name, self._scope, self._wanted):
            component.do_not_save_to_config = True

    def connect(self, controls: dict[str, Any], choices: Callable[[], list[str]], message: Any) -> None:
        """Bind the buttons; ``controls`` and ``choices`` as in the accordion, sentences go to ``message``."""
        preset, k, tab = controls["preset"], controls["k"], self._tab
        ratios = [controls["enabled"], preset, *(controls[group] for group in GROUPS), k]
        self._chosen.click(None, [k], ratios, _js=f"(k) => crdiffSearch.chosen('{tab}', k)", **QUIET)
        kept = [gr.update()] * len(ratios)
        self._apply.click(guarded(self._best, *kept), [], [*ratios, message], **QUIET)
        wanted = {"_js": f"() => [crdiffSearch.wanted('{tab}')]", **QUIET}
        self._lookup.click(self._offered, [self._wanted], [self._remembered], **wanted)

        def save(name: str, scope: str) -> list[Any]:
            if scope == _PROMPT:
                return [gr.update(), self._kept_for_prompt(name.strip())]
            saved = self._found(name.strip(), only_this=scope != _FAMILY)
            self._extension.library.store.save(saved, overwrite=True)
            return [gr.update(choices=choices()), f"Saved {saved.name} for {saved.family.label}, {saved.size}."]

        self._save.click(guarded(save, gr.update()), [self._name, self._scope], [preset, message], **QUIET)

    def _best(self) -> list[Any]:
        found = self._board.current.found
        if found is None:
            raise PresetError(_NOTHING)
        values = applied(found, self._board.current)
        k = gr.update() if values["k"] is None else values["k"]
        return [True, preset_label(CUSTOM), *(values[group] for group in GROUPS), k, f"Applied {found.point.ratios}."]

    def _offered(self, wanted: str) -> str:
        try:
            asked = json.loads(wanted)
            prompt, (height, width) = str(asked["prompt"]), (int(float(asked[side])) for side in ("height", "width"))
        except (ValueError, KeyError, TypeError):
            return ""
        checkpoint = self._extension.checkpoints.selected()
        if checkpoint is None or not prompt.strip():
            return ""
        size = Size(height // 8 * 8, width // 8 * 8)
        return remembered_html(remembered.offers(self._extension.folder, checkpoint, size, prompt))

    def _kept_for_prompt(self, name: str) -> str:
        if not name:
            raise PresetError("What is kept for a prompt needs a name.")
        results = remembered.results_of(self._board.current, name)
        if not results:
            raise PresetError(_NOTHING)
        remembered.keep(self._extension.folder, results)
        prompts = "this prompt" if len(results) == 1 else f"these {len(results)} prompts"
        return f"Kept {name} for {prompts} at {results[0].size}; it is offered when the prompt comes back."

    def _found(self, name: str, *, only_this: bool) -> Preset:
        from crdiff.presets.table import Preset

        standing = self._board.current
        found, checkpoint, size = standing.found, standing.checkpoint, standing.size
        if found is None or size is None:
            raise PresetError(_NOTHING)
        if checkpoint is None or checkpoint.family is None:
            raise PresetError("The family of the model that was searched for is not known.")
        if only_this and checkpoint.sha256 is None:
            raise PresetError("The host has not computed this checkpoint's hash yet; try again in a moment.")
        ratios = Ratios(*(round(found.point[group], 4) for group in GROUPS))
        note = f"found by a search, {standing.score_name} {score_text(found.score or 0.0)}"
        return Preset.own(
            name, checkpoint.family, size, ratios, round(standing.k_of(found), 4), checkpoint.sha256, note,
            limited=only_this,
        )  # fmt: skip
