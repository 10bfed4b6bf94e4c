"""The user's own presets in the accordion: save, rename, delete, bring back, export and import."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from crdiff.errors import PresetError
from crdiff.models.family import OTHER
from crdiff.presets.store import Clash, Imported
from crdiff.presets.table import Preset
from crdiff.settings import Settings
from crdiff.specs import AUTO, SPECS
from crdiff.webui.events import QUIET, guarded
from crdiff.webui.extension import Extension
from crdiff.webui.infotext import preset_label
from crdiff.webui.markup import few
from crdiff.webui.tab_size import read_size

_EXPORT_NAME = "cr-diff-presets.json"
_TOOLTIPS = {
    "name": "What to call the preset in the list. Saving again for the same model and size replaces it.",
    "only_this": "Off, every checkpoint of the model's family gets the preset where Auto looks up this size.",
    "save": "Saves the ratios, stages and k that are set above, for the selected checkpoint and this tab's size.",
    "rename": "Gives the own preset that is chosen above the name that stands here.",
    "delete": "Deletes the own preset that is chosen above; built-in presets stay.",
    "restore": "Brings back the own preset that was deleted last.",
    "export": "Makes a file of all own presets, to keep or to pass on.",
    "import": "Adds the presets of such a file; a name that is taken gets a number.",
}


class OwnPresets:
    """The controls below the sliders that keep what the sliders say."""

    def __init__(self, extension: Extension, tab: str) -> None:
        self._extension = extension
        self._tab = tab

    @property
    def tooltips(self) -> dict[str, str]:
        """What the tooltips of the controls say, by element id."""
        return {f"{self._tab}_crdiff_own_{name}": text for name, text in _TOOLTIPS.items()}

    def build(self) -> None:
        """Make the controls."""
        tab = self._tab
        with gr.Accordion("Own presets", open=False, elem_id=f"{tab}_crdiff_own"):
            with gr.Row():
                self._name = _unsaved(gr.Textbox("", label="Preset name", elem_id=f"{tab}_crdiff_own_name"))
                self._only_this = _unsaved(
                    gr.Checkbox(False, label="For this checkpoint only", elem_id=f"{tab}_crdiff_own_only_this")
                )
            with gr.Row(elem_classes=["crdiff-buttons"]):
                self._save = gr.Button("Save", size="sm", elem_id=f"{tab}_crdiff_own_save")
                self._rename = gr.Button("Rename", size="sm", elem_id=f"{tab}_crdiff_own_rename")
                self._delete = gr.Button("Delete", size="sm", elem_id=f"{tab}_crdiff_own_delete")
                self._restore = gr.Button("Undo delete", size="sm", elem_id=f"{tab}_crdiff_own_restore")
            with gr.Row():
                self._export = gr.Button("Export", size="sm", elem_id=f"{tab}_crdiff_own_export")
                self._file = _unsaved(
                    gr.File(label="Exported presets", visible=False, elem_id=f"{tab}_crdiff_own_file")
                )
            self._import = _unsaved(
                gr.File(label="Import", type="binary", file_types=[".json"], elem_id=f"{tab}_crdiff_own_import")
            )
            self._message = gr.HTML("", elem_id=f"{tab}_crdiff_own_message")

    def connect(self, controls: dict[str, Any], size: list[Any], choices: Callable[[], list[str]]) -> None:
        """Bind the buttons; the arguments are those of a ``Section`` of the accordion."""
        preset = controls["preset"]

        def done(message: str, chosen: str | None = None) -> list[Any]:
            update = gr.update(choices=choices()) if chosen is None else gr.update(choices=choices(), value=chosen)
            return [update, message]

        def unchanged() -> list[Any]:
            return [gr.update(choices=choices())]

        def save(name: str, only_this: bool, *values: Any) -> list[Any]:
            saved = self._preset(name.strip(), bool(only_this), values)
            self._extension.library.store.save(saved, overwrite=True)
            return done(f"Saved {saved.name} for {saved.use}.", saved.name)

        def rename(name: str, chosen: str) -> list[Any]:
            renamed = self._extension.library.store.rename(chosen, name.strip())
            return done(f"Renamed {chosen} to {renamed}.", renamed)

        def delete(chosen: str) -> list[Any]:
            self._extension.library.store.delete(chosen)
            return done(f"Deleted {chosen}; Undo delete brings it back.", preset_label(AUTO))

        def restore() -> list[Any]:
            name = self._extension.library.store.restore()
            return done(f"{name} is back.", name)

        def imported(data: Any) -> list[Any]:
            raw = data if isinstance(data, (bytes, str)) else data[0]
            message = _told(self._extension.library.store.import_text(raw, Clash.NUMBER))
            # Emptied, so that the next file can be chosen at once, were it the same again.
            return [gr.update(value=None), *done(message)]

        outputs = [preset, self._message]
        values = [*controls.values(), *size]
        self._save.click(guarded(save, unchanged), [self._name, self._only_this, *values], outputs, **QUIET)
        self._rename.click(guarded(rename, unchanged), [self._name, preset], outputs, **QUIET)
        self._delete.click(guarded(delete, unchanged), [preset], outputs, **QUIET)
        self._restore.click(guarded(restore, unchanged), [], outputs, **QUIET)
        emptied = [self._import, *outputs]
        again = guarded(imported, lambda: [gr.update(value=None), *unchanged()])
        self._import.upload(again, [self._import], emptied, **QUIET)
        self._export.click(guarded(self._exported, lambda: [gr.update()]), [], [self._file, self._message], **QUIET)

    def _preset(self, name: str, only_this: bool, values: tuple[Any, ...]) -> Preset:
        settings = Settings.from_args(values[: len(SPECS)])
        size = read_size(values[len(SPECS) :])
        checkpoint = self._extension.checkpoints.selected()
        if size is None:
            raise PresetError("The size of the tab is not known, so the preset cannot be saved.")
        if checkpoint is None or checkpoint.family is None:
            raise PresetError("CR-Diff does not know how to prune the selected model; select another one.")
        # There is no other checkpoint that a preset could serve where the family is not known.
        only_this = only_this or checkpoint.family is OTHER
        if only_this and checkpoint.sha256 is None:
            raise PresetError(
                "The host has not computed this checkpoint's hash yet; generate one image and save again."
            )
        return Preset.own(
            name,
            checkpoint.family,
            size,
            settings.schedule,
            settings.k,
            checkpoint.sha256,
            limited=only_this,
            criterion=settings.criterion,
            scope=settings.scope,
        )

    def _exported(self) -> list[Any]:
        path = Path(tempfile.mkdtemp(prefix="crdiff-")) / _EXPORT_NAME
        self._extension.library.store.export_file(path)
        return [gr.update(value=str(path), visible=True), "Exported."]


def _told(imported: Imported) -> str:
    """What came of an import, in a few sentences."""
    parts = [f"Imported {len(imported.added)}{': ' if imported.added else ''}{', '.join(imported.added)}."]
    if imported.known:
        parts.append(f"Here already: {', '.join(imported.known)}.")
    return " ".join([*parts, few(imported.problems)]).strip()


def _unsaved(component: Any) -> Any:
    """A control whose value is no default worth keeping in the host's ui-config."""
    component.do_not_save_to_config = True
    return component
