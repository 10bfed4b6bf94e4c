"""The controls for a search's result: save it, and offer it again when the prompt comes back."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import gradio as gr

from crdiff.errors import PresetError
from crdiff.method.groups import GROUPS
from crdiff.presets.size import Size
from crdiff.presets.table import Preset
from crdiff.search.score_text import score_text
from crdiff.webui.events import QUIET, guarded
from crdiff.webui.search import results
from crdiff.webui.search.context import SearchContext
from crdiff.webui.search.monitor import CARRIED
from crdiff.webui.search.panel import results_html
from crdiff.webui.tab_size import read_size

_PROMPT = "this prompt"
_CHECKPOINT, _FAMILY = "every prompt with this checkpoint at this size", "every prompt with its family at this size"
_APPLIED = ("enabled", "preset", *GROUPS, "k", "stages", "hires_ratios", "start", "end", "mode", *CARRIED)
"""The controls that Apply sets."""
_NOTHING = "No search has found anything better than the dense model yet."


class ResultControls:
    """The controls around a search's result, in two places of the accordion."""

    def __init__(self, context: SearchContext, tab: str, named: Callable[[str], str]) -> None:
        self._context = context
        self._tab = tab
        self._named = named

    def build_found(self) -> None:
        """What was found earlier for the prompt; above the search's own accordion, so that it is seen."""
        self._found = gr.HTML("", elem_id=self._named("remembered"))
        self._lookup = gr.Button("Look up", elem_id=self._named("lookup"))
        # Pressed by the page's script for any of the buttons Apply, which are part of what the page shows.
        self._chosen = gr.Button("Apply", elem_id=self._named("chosen"))

    def build_save(self) -> None:
        """Name, scope and Save."""
        with gr.Column(elem_classes=["crdiff-search-result"]):
            with gr.Row():
                self._name = gr.Textbox("", label="Name of the result", elem_id=self._named("name"))
                self._scope = gr.Radio(
                    [_PROMPT, _CHECKPOINT, _FAMILY], value=_PROMPT, label="Save the result for",
                    elem_id=self._named("scope"),
                )  # fmt: skip
            self._save = gr.Button("Save result", elem_id=self._named("save"))
        for component in (self._name, self._scope):
            component.do_not_save_to_config = True

    def connect(self, controls: dict[str, Any], choices: Callable[[], list[str]], said: Any, message: Any) -> None:
        """Bind the buttons.

        Args:
            controls: the settings' controls by name.
            choices: the names the preset control offers.
            said: carries what the page's script says.
            message: where sentences go.
        """
        preset, tab = controls["preset"], self._tab
        applied = [controls[name] for name in _APPLIED]
        apply = f"(...now) => crdiffSearch.chosen('{tab}', {json.dumps(_APPLIED)}, now)"
        self._chosen.click(None, applied, applied, _js=apply, **QUIET)
        wanted = {"_js": f"() => [crdiffSearch.wanted('{tab}')]", **QUIET}
        self._lookup.click(self._offered, [said], [self._found], **wanted)

        def save(name: str, scope: str) -> list[Any]:
            if scope == _PROMPT:
                return [gr.update(), self._save_for_prompt(name.strip())]
            saved = self._preset(name.strip(), only_this=scope != _FAMILY)
            self._context.library.store.save(saved, overwrite=True)
            return [gr.update(choices=choices()), f"Saved {saved.name} for {saved.use}.{self._scope_note()}"]

        self._save.click(guarded(save, lambda: [gr.update()]), [self._name, self._scope], [preset, message], **QUIET)

    def _offered(self, wanted: str) -> str:
        try:
            asked = json.loads(wanted)
            prompt, size = str(asked["prompt"]), read_size([asked["width"], asked["height"]])
        except (ValueError, KeyError, TypeError):
            return ""
        checkpoint = self._context.checkpoints.selected()
        if checkpoint is None or size is None or not prompt.strip():
            return ""
        return results_html(results.find(self._context.folder, checkpoint, size, prompt))

    def _scope_note(self) -> str:
        """What a preset does that a result for a prompt does not."""
        prompts = len(self._context.monitor.status.prompts)
        basis = "one prompt" if prompts == 1 else f"{prompts} prompts"
        return f" Auto takes it for every prompt from now on; it was found for {basis}."

    def _save_for_prompt(self, name: str) -> str:
        if not name:
            raise PresetError("Give the result a name to save it for a prompt.")
        found = results.results_of(self._context.monitor.status, name)
        if not found:
            raise PresetError(_NOTHING)
        results.save(self._context.folder, found)
        size = Size.parse(found[0].size)
        prompts = "this prompt" if len(found) == 1 else f"these {len(found)} prompts"
        return f"Saved {name} for {prompts} at {size}{size.order}; it is offered when the prompt comes back."

    def _preset(self, name: str, *, only_this: bool) -> Preset:
        status = self._context.monitor.status
        found, checkpoint, size = status.found, status.checkpoint, status.size
        if found is None or size is None:
            raise PresetError(_NOTHING)
        if checkpoint is None or checkpoint.family is None:
            raise PresetError("The family of the model that was searched for is not known.")
        if only_this and checkpoint.sha256 is None:
            raise PresetError("The host has not computed this checkpoint's hash yet; try again in a moment.")
        point, note = (
            found.point.rounded.merged,
            f"found by a search, {status.score_name} {score_text(found.score or 0.0)}",
        )
        return Preset.own(
            name, checkpoint.family, size, point.schedule, point.common_k, checkpoint.sha256, note,
            limited=only_this, criterion=status.settings.criterion, scope=status.settings.scope,
        )  # fmt: skip
