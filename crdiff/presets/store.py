"""The user's own presets, kept in one JSON file outside the extension's folder."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace as with_changes
from enum import Enum
from pathlib import Path

from crdiff import files
from crdiff.checks import shown
from crdiff.errors import PresetError
from crdiff.presets.document import Value, parse_document
from crdiff.presets.names import RESERVED, check_name, same, told_apart
from crdiff.presets.table import LoadedPresets, Preset, read_family, read_k, read_schedule, read_size

_FORMAT = "cr-diff presets"
_VERSION = 1
# One lock for all stores, since two of them may be given the same file.
_FILE_LOCK = threading.RLock()


class Clash(str, Enum):
    """What an import does with a name that is taken."""

    REFUSE = "refuse"
    NUMBER = "number"


def to_text(presets: Iterable[Preset]) -> str:
    """The JSON document that holds ``presets``, as it is stored and exported."""
    entries: list[dict[str, object]] = []
    for preset in presets:
        entry: dict[str, object] = {
            "name": preset.name,
            "family": preset.family.value,
            "size": str(preset.size),
            "ratios": preset.schedule.to_json(),
        }
        if preset.k is not None:
            entry["k"] = preset.k
        if preset.checkpoints:
            entry["checkpoints"] = sorted(preset.checkpoints)
            entry["limited"] = preset.limited
        if preset.note:
            entry["note"] = preset.note
        entries.append(entry)
    document = {"format": _FORMAT, "version": _VERSION, "presets": entries}
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def from_text(data: bytes | str, file: str = "the import") -> tuple[Preset, ...]:
    """The presets of a stored or exported document.

    Raises:
        PresetError: the document has a fault; one sentence names ``file`` and the key.
    """
    entries = parse_document(data, file).entries(("format", "version", "presets"))
    if entries["format"].content != _FORMAT:
        raise entries["format"].fault(f"must be {_FORMAT!r}")
    version = entries["version"]
    if type(version.content) is not int or version.content != _VERSION:
        raise version.fault(f"must be {_VERSION}")
    presets: dict[str, Preset] = {}
    for value in entries["presets"].items():
        preset = _read_preset(value)
        if preset.name in presets:
            raise value.refusal(f"has the name {preset.name!r}, which another preset has already")
        presets[preset.name] = preset
    return tuple(presets.values())


class PresetStore:
    """The user's presets in the file ``path``, which need not exist yet.

    Every change reads the file again and replaces it as a whole, so that threads do not undo one another's changes
    and a crash leaves the old file or the new one. A file with a fault is renamed to end in ``.bak``, never
    overwritten. The presets are in the order of saving, the latest last.

    Args:
        path: the file, in a folder that outlives an update of the extension.
        reserved: names that own presets cannot take besides ``names.RESERVED``, such as those of the built-in ones.
    """

    def __init__(self, path: Path, reserved: Iterable[str] = ()) -> None:
        self.path = path
        self._reserved = tuple(reserved)
        self._problems: tuple[str, ...] = ()

    def load(self) -> LoadedPresets:
        """The presets, and a sentence about each fault of the file that no earlier call has returned. Never raises."""
        with _FILE_LOCK:
            try:
                presets = self._read()
            except PresetError as error:
                presets = ()
                self._problems = (*self._problems, str(error))
            problems, self._problems = self._problems, ()
        return LoadedPresets(presets, problems)

    def save(self, preset: Preset, overwrite: bool = False) -> None:
        """Add ``preset``, or replace the one of its name if ``overwrite``.

        Raises:
            PresetError: the name is reserved, or taken and not to be overwritten, or the file cannot be written.
        """
        self._refuse_reserved(preset.name)
        own = with_changes(preset, native=False, source="", built_in=False)
        with _FILE_LOCK:
            presets = self._read()
            others = [other for other in presets if not same(other.name, own.name)]
            if len(others) < len(presets) and not overwrite:
                raise PresetError(f"There is a preset named {own.name!r} already.")
            self._write([*others, own])

    def rename(self, name: str, new_name: str) -> None:
        """Give the preset ``name`` another name; it keeps its place.

        Raises:
            PresetError: there is no such preset, it is built in, the new name cannot be used or is taken, or the file
                cannot be written.
        """
        new_name = check_name(new_name)
        self._refuse_reserved(new_name)
        with _FILE_LOCK:
            presets = self._read()
            preset = self._find(presets, name)
            if any(other is not preset and same(other.name, new_name) for other in presets):
                raise PresetError(f"There is a preset named {new_name!r} already.")
            renamed = with_changes(preset, name=new_name)
            self._write([renamed if other is preset else other for other in presets])

    def delete(self, name: str) -> None:
        """Remove the preset ``name``.

        Raises:
            PresetError: there is no such preset, it is built in, or the file cannot be written.
        """
        with _FILE_LOCK:
            presets = self._read()
            preset = self._find(presets, name)
            self._write([other for other in presets if other is not preset])

    def export_text(self, names: Sequence[str] | None = None) -> str:
        """The presets ``names``, or all, as a JSON document for import_text.

        Raises:
            PresetError: there is no preset of a name, or the file cannot be read.
        """
        with _FILE_LOCK:
            presets = self._read()
        return to_text(presets if names is None else [self._find(presets, name) for name in dict.fromkeys(names)])

    def export_file(self, path: Path, names: Sequence[str] | None = None) -> None:
        """Write export_text to ``path``, replacing a file that is there.

        Raises:
            PresetError: as export_text, or the file cannot be written.
        """
        _write_file(path, self.export_text(names))

    def import_text(self, data: bytes | str, clash: Clash = Clash.REFUSE, file: str = "the import") -> tuple[str, ...]:
        """Add all presets of an exported document, or none if it has a fault.

        Args:
            data: the document.
            clash: REFUSE makes a taken name a fault, NUMBER turns it into "name (2)" and so on.
            file: the name that faults are reported under.

        Returns:
            The names the presets have now, in the order of the document.

        Raises:
            PresetError: a fault of the document, a taken name, or the file cannot be written.
        """
        incoming = from_text(data, file)
        with _FILE_LOCK:
            presets = self._read()
            taken = [*RESERVED, *self._reserved, *(preset.name for preset in presets)]
            added = _told_apart(incoming, taken)
            for preset, renamed in zip(incoming, added):
                if clash is Clash.REFUSE and renamed is not preset:
                    raise PresetError(f"{file}: there is a preset named {preset.name!r} already.")
            if added:
                self._write([*presets, *added])
        return tuple(preset.name for preset in added)

    def import_file(self, path: Path, clash: Clash = Clash.REFUSE) -> tuple[str, ...]:
        """import_text of a file.

        Raises:
            PresetError: as import_text, or the file cannot be read.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise PresetError(f"{path.name}: the file cannot be read ({error.strerror or error}).") from None
        return self.import_text(data, clash, path.name)

    def _find(self, presets: Sequence[Preset], name: str) -> Preset:
        for preset in presets:
            if same(preset.name, name):
                return preset
        self._refuse_reserved(name)
        raise PresetError(f"There is no own preset named {shown(name)}.")

    def _refuse_reserved(self, name: str) -> None:
        if any(same(name, other) for other in self._reserved):
            raise PresetError(f"The name {shown(name)} belongs to a built-in preset, which cannot be changed.")
        if any(same(name, word) for word in RESERVED):
            raise PresetError(f"The name {shown(name)} has a meaning of its own; choose another.")

    def _read(self) -> tuple[Preset, ...]:
        """The presets of the file; a file with a fault is moved aside, and none are left.

        Raises:
            PresetError: the file cannot be read, or cannot be moved aside.
        """
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return ()
        except OSError as error:
            reason = error.strerror or error
            raise PresetError(f"{self.path.name}: the file of own presets cannot be read ({reason}).") from None
        try:
            # Names that an earlier version told apart are kept, and so are those that were no words of ours then.
            return tuple(_told_apart(from_text(data, self.path.name), [*RESERVED, *self._reserved]))
        except PresetError as error:
            fault = str(error).removesuffix(".")
        aside = _free_backup(self.path)
        try:
            files.replace(self.path, aside)
        except OSError:
            raise PresetError(f"{fault}; the file could not be moved aside and is left as it is.") from None
        self._problems = (*self._problems, f"{fault}; the file was moved aside to {aside.name}.")
        return ()

    def _write(self, presets: Sequence[Preset]) -> None:
        _write_file(self.path, to_text(presets))


def _told_apart(presets: Sequence[Preset], taken: Sequence[str]) -> list[Preset]:
    """``presets``, numbered where a name is the same as that of one before or as one of ``taken``."""
    names = told_apart([preset.name for preset in presets], taken)
    return [preset if name == preset.name else with_changes(preset, name=name) for preset, name in zip(presets, names)]


def _read_preset(value: Value) -> Preset:
    entries = value.entries(("name", "family", "size", "ratios"), optional=("k", "checkpoints", "limited", "note"))
    known = "checkpoints" in entries
    return Preset(
        name=entries["name"].name(),
        family=read_family(entries["family"], other=True),
        size=read_size(entries["size"]),
        schedule=read_schedule(entries["ratios"]),
        k=read_k(entries["k"]) if "k" in entries else None,
        checkpoints=frozenset(item.sha256() for item in entries["checkpoints"].items(1)) if known else frozenset(),
        limited=entries["limited"].flag() if "limited" in entries else known,
        note=entries["note"].note() if "note" in entries else "",
    )


def _free_backup(path: Path) -> Path:
    number = 1
    while True:
        # An earlier backup is never overwritten.
        backup = path.with_name(f"{path.name}{'' if number == 1 else f'.{number}'}.bak")
        if not os.path.lexists(backup):
            return backup
        number += 1


def _write_file(path: Path, text: str) -> None:
    try:
        files.write_atomically(path, text.encode("utf-8"))
    except OSError as error:
        raise PresetError(f"{path.name}: the file cannot be written ({error.strerror or error}).") from None
