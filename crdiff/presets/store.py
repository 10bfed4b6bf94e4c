"""The user's own presets, kept in one JSON file outside the extension's folder."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from dataclasses import replace as with_changes
from enum import Enum
from pathlib import Path

from crdiff import files
from crdiff.checks import shown
from crdiff.errors import PresetError
from crdiff.presets.names import RESERVED, check_name, same, told_apart
from crdiff.presets.own_document import Entry, OwnDocument, read_document
from crdiff.presets.table import LoadedPresets, Preset, same_use

# One lock for all stores, since two of them may be given the same file.
_FILE_LOCK = threading.RLock()


class Clash(str, Enum):
    """What becomes of a preset whose name is taken."""

    REFUSE = "refuse"
    NUMBER = "number"


@dataclass(frozen=True)
class Imported:
    """What came of an import.

    Attributes:
        added: the names that the new presets have.
        known: the names of those that were here already.
        problems: one sentence about each thing in the document that cannot be used.
    """

    added: tuple[str, ...]
    known: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


class PresetStore:
    """The user's presets in the file ``path``, which need not exist yet.

    Every change reads the file again and replaces it as a whole, so that threads do not undo one another's changes
    and a crash leaves the old file or the new one. Nothing is lost: what cannot be read of the file stays in it as it
    is, a file that is no document of presets at all is renamed to end in ``.bak`` before another takes its place, and
    deleted presets are kept in a file beside it. The presets are in the order of saving, the latest last.

    Args:
        path: the file, in a folder that outlives an update of the extension.
        reserved: names that own presets cannot take besides ``names.RESERVED``, such as those of the built-in ones.
    """

    def __init__(self, path: Path, reserved: Iterable[str] = ()) -> None:
        self.path = path
        self._deleted = path.with_name(f"{path.stem}.deleted{path.suffix}")
        self._built_in = tuple(reserved)
        self._taken = (*RESERVED, *self._built_in)
        self._moved: tuple[str, ...] = ()

    def load(self) -> LoadedPresets:
        """The presets, and a sentence about each thing in the file that cannot be used.

        Raises:
            PresetError: the file cannot be opened now; it may be in use for a moment.
        """
        with _FILE_LOCK:
            data = _read_file(self.path)
            moved, self._moved = self._moved, ()
        if data is None:
            return LoadedPresets(problems=moved)
        try:
            document = self._document(data)
        except PresetError as error:
            return LoadedPresets(problems=(*moved, str(error)))
        return LoadedPresets(document.presets, (*moved, *document.problems))

    def save(self, preset: Preset, overwrite: bool = False, clash: Clash = Clash.REFUSE) -> str:
        """Add ``preset``.

        Args:
            preset: the preset.
            overwrite: whether it replaces the one of its name, if that is for the same model, size and checkpoints.
            clash: what to do if the name is taken otherwise.

        Returns:
            The name it has now.

        Raises:
            PresetError: the name is reserved, or taken and not to be overwritten, or the file cannot be written.
        """
        self._refuse_reserved(preset.name)
        own = with_changes(preset, native=False, source="", built_in=False)
        with _FILE_LOCK:
            document = self._read()
            taken = document.find(own.name)
            if taken is not None and taken.preset is not None and not (overwrite and same_use(own, taken.preset)):
                if clash is Clash.REFUSE:
                    raise PresetError(
                        f"There is a preset named {taken.preset.name!r} already, for {taken.preset.use}; "
                        "choose another name, or delete that one first."
                    )
                own, taken = with_changes(own, name=self._free(own.name, document.names)), None
            others = [entry for entry in document.entries if entry is not taken]
            self._write(self.path, document, [*others, Entry.of(own)])
        return own.name

    def rename(self, name: str, new_name: str) -> str:
        """Give the preset ``name`` another name; it keeps its place.

        Returns:
            The new name as it is stored.

        Raises:
            PresetError: there is no such preset, it is built in, the new name cannot be used or is taken, or the file
                cannot be written.
        """
        new_name = check_name(new_name)
        self._refuse_reserved(new_name)
        with _FILE_LOCK:
            document = self._read()
            entry = self._find(document, name)
            if document.find(new_name) not in (None, entry):
                raise PresetError(f"There is a preset named {new_name!r} already.")
            renamed = [entry.renamed(new_name) if one is entry else one for one in document.entries]
            self._write(self.path, document, renamed)
        return new_name

    def delete(self, name: str) -> None:
        """Remove the preset ``name``; ``restore`` brings it back.

        Raises:
            PresetError: there is no such preset, it is built in, or the file cannot be written.
        """
        with _FILE_LOCK:
            document, deleted = self._read(), self._read_deleted()
            entry = self._find(document, name)
            self._write(self._deleted, deleted, [*deleted.entries, entry])
            self._write(self.path, document, [other for other in document.entries if other is not entry])

    def restore(self) -> str:
        """Bring back the preset that was deleted last, under a numbered name if its own is taken.

        Returns:
            Its name.

        Raises:
            PresetError: none is left to bring back, or the file cannot be written.
        """
        with _FILE_LOCK:
            document, deleted = self._read(), self._read_deleted()
            if not deleted.presets:
                raise PresetError("There is no deleted preset to bring back.")
            entry = next(one for one in reversed(deleted.entries) if one.preset == deleted.presets[-1])
            free = self._free(deleted.presets[-1].name, document.names)
            self._write(self.path, document, [*document.entries, entry.renamed(free)])
            self._write(self._deleted, deleted, [other for other in deleted.entries if other is not entry])
        return free

    def export_text(self, names: Sequence[str] | None = None) -> str:
        """The presets ``names``, or all that the file holds, as a JSON document for import_text.

        Raises:
            PresetError: there is no preset of a name, or the file cannot be read.
        """
        with _FILE_LOCK:
            data = _read_file(self.path)
        document = OwnDocument() if data is None else self._document(data)
        if names is None:
            return document.to_text()
        chosen = tuple(self._find(document, name) for name in dict.fromkeys(names))
        return with_changes(document, entries=chosen).to_text()

    def export_file(self, path: Path, names: Sequence[str] | None = None) -> None:
        """Write export_text to ``path``, replacing a file that is there.

        Raises:
            PresetError: as export_text, or the file cannot be written.
        """
        _write_file(path, self.export_text(names))

    def import_text(self, data: bytes | str, clash: Clash = Clash.REFUSE, file: str = "the import") -> Imported:
        """Add the presets of an exported document that can be read and are not here yet, all of them or none.

        Args:
            data: the document.
            clash: REFUSE makes the name of another preset a fault, NUMBER turns it into "name (2)" and so on.
            file: the name that faults are reported under.

        Raises:
            PresetError: nothing of the document can be read, a taken name, or the file cannot be written.
        """
        incoming = read_document(data, file)
        if incoming.problems and not incoming.presets:
            raise PresetError(incoming.problems[0])
        with _FILE_LOCK:
            document = self._read()
            known = [_known(entry, document) for entry in incoming.entries]
            new = [entry for entry, name in zip(incoming.entries, known) if entry.preset and name is None]
            names = told_apart(_names(new), [*self._taken, *document.names])
            for name, free in zip(_names(new), names):
                if clash is Clash.REFUSE and free != name:
                    raise PresetError(f"{file}: there is a preset named {name!r} already.")
            if new:
                added = [entry.renamed(name) for entry, name in zip(new, names)]
                self._write(self.path, document, [*document.entries, *added])
        return Imported(tuple(names), tuple(name for name in known if name is not None), incoming.problems)

    def import_file(self, path: Path, clash: Clash = Clash.REFUSE) -> Imported:
        """import_text of a file.

        Raises:
            PresetError: as import_text, or the file cannot be read.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise PresetError(f"{path.name}: the file cannot be read ({error.strerror or error}).") from None
        return self.import_text(data, clash, path.name)

    def _find(self, document: OwnDocument, name: str) -> Entry:
        entry = document.find(name)
        if entry is None:
            self._refuse_reserved(name)
            raise PresetError(f"There is no own preset named {shown(name)}.")
        return entry

    def _refuse_reserved(self, name: str) -> None:
        if any(same(name, word) for word in RESERVED):
            raise PresetError(f"The name {shown(name)} has a meaning of its own; choose another.")
        if any(same(name, other) for other in self._built_in):
            raise PresetError(f"The name {shown(name)} belongs to a built-in preset, which cannot be changed.")

    def _free(self, name: str, taken: Iterable[str]) -> str:
        return told_apart([name], [*self._taken, *taken])[0]

    def _document(self, data: bytes) -> OwnDocument:
        return read_document(data, self.path.name).with_free_names(self._taken, self.path.name)

    def _read(self) -> OwnDocument:
        """The document to be changed; a file that is none is moved aside.

        Raises:
            PresetError: the file cannot be opened, or cannot be moved aside.
        """
        return self._read_or_move(self.path, self._document)

    def _read_deleted(self) -> OwnDocument:
        return self._read_or_move(self._deleted, lambda data: read_document(data, self._deleted.name))

    def _read_or_move(self, path: Path, read: Callable[[bytes], OwnDocument]) -> OwnDocument:
        data = _read_file(path)
        if data is None:
            return OwnDocument()
        try:
            return read(data)
        except PresetError as error:
            fault = str(error).removesuffix(".")
        aside = _free_backup(path)
        try:
            files.replace(path, aside)
        except OSError:
            raise PresetError(f"{fault}; the file could not be moved aside and is left as it is.") from None
        self._moved = (*self._moved, f"{fault}; the file was moved aside to {aside.name}.")
        return OwnDocument()

    def _write(self, path: Path, document: OwnDocument, entries: Iterable[Entry]) -> None:
        _write_file(path, with_changes(document, entries=tuple(entries)).to_text())


def _known(entry: Entry, document: OwnDocument) -> str | None:
    """The name under which a document has an entry already; None if it has not."""
    found = next((other for other in document.entries if entry.repeats(other)), None)
    return None if found is None or found.preset is None else found.preset.name


def _names(entries: Iterable[Entry]) -> list[str]:
    return [entry.preset.name for entry in entries if entry.preset is not None]


def _read_file(path: Path) -> bytes | None:
    """The content; None if there is no such file."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        reason = error.strerror or error
        raise PresetError(f"{path.name}: the file of own presets cannot be read ({reason}).") from None


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
        # A lone surrogate in what could not be read becomes the escape that JSON writes it as.
        files.write_atomically(path, text.encode("utf-8", errors="backslashreplace"))
    except OSError as error:
        raise PresetError(f"{path.name}: the file cannot be written ({error.strerror or error}).") from None
