"""The file that records every score: JSON lines, each on disk before the search goes on.

The first line says which search the journal belongs to. A line that a crash left unfinished at the end is dropped; all
others must be readable. Resuming runs the search again from its start and takes every score that is found here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crdiff.search.errors import JournalError

FORMAT = 1
SEARCH = "search"
Entry = Mapping[str, Any]
_SHOWN = 60


class MemoryJournal:
    """A journal that ends with the program."""

    def __init__(self) -> None:
        self._entries: list[dict[str, Any]] = []

    def open(self, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
        return list(self._entries)

    def append(self, entry: Mapping[str, Any]) -> None:
        self._entries.append(dict(entry))


class Journal:
    """A journal file, bound to one search.

    Args:
        path: the file; it and its folder are made with the first line.
        identity: what the scores depend on besides the search's own settings, as plain JSON: the checkpoint, the size,
            sampler, steps and the like.
        kind: what the journal is of, if not of a search.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any], kind: str = SEARCH) -> None:
        self.path, self._kind = path, kind
        self.identity = plain(identity)
        self._size = 0
        self._dirty_end = False
        self._unwritten: list[bytes] = []

    def open(self, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The lines of an existing journal after its first, or none for a new one.

        Raises:
            JournalError: the file cannot be read, is no journal, or belongs to another search; it is left as it is.
        """
        header = {f"crdiff_{self._kind}": FORMAT, **self.identity, **plain(settings)}
        entries, whole, length = read_lines(self.path, self._kind)
        self._size, self._dirty_end = whole, whole < length
        if not entries and not (self._unwritten and self._unwritten[0].startswith(_magic(self._kind))):
            self._unwritten.insert(0, _line(header))
        entries += [json.loads(line) for line in self._unwritten]
        check_header(self.path, entries[0], header, self._kind)
        return entries[1:]

    def append(self, entry: Mapping[str, Any]) -> None:
        """Write one line and wait until it is on disk.

        After a failure the next call writes what is still missing as well.

        Raises:
            JournalError: it cannot be written, or another process writes to it.
        """
        self._unwritten.append(_line(entry))
        data = b"".join(self._unwritten)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "r+b" if self.path.exists() else "xb") as stream:
                if stream.seek(0, os.SEEK_END) != self._size and not self._dirty_end:
                    raise _fault(self.path, f"another {self._kind} writes to this journal; let one of them end")
                self._dirty_end = True
                stream.seek(self._size)
                stream.truncate()
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise _fault(self.path, f"the journal cannot be written ({error.strerror or error})") from None
        self._size += len(data)
        self._dirty_end = False
        self._unwritten = []


def read(path: Path) -> tuple[Entry, list[Entry]]:
    """The first line of any search's journal, and the evaluations in it.

    Raises:
        JournalError: there is none, or it cannot be read.
    """
    entries, _, _ = read_lines(path)
    if not entries:
        raise _fault(path, "there is no journal")
    try:
        return entries[0], valid_entries(entries[1:])[1]
    except (KeyError, TypeError, ValueError) as error:
        raise _fault(path, f"a line of the journal cannot be used ({error})") from None


def read_lines(path: Path, kind: str = SEARCH) -> tuple[list[dict[str, Any]], int, int]:
    """The lines of a journal, the bytes they take, and the bytes there are; none of a file that does not exist.

    Raises:
        JournalError: it cannot be read, or is no journal of this kind.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return [], 0, 0
    except OSError as error:
        raise _fault(path, f"the journal cannot be read ({error.strerror or error})") from None
    whole = data.rfind(b"\n") + 1
    magic = _magic(kind)
    if data[: len(magic)] != magic[: len(data)]:
        article = "an" if kind[0] in "aeiou" else "a"
        raise _fault(path, f"this is not the journal of {article} {kind}; give the {kind} another file")
    lines = [_entry(line) for line in data[:whole].split(b"\n")[:-1]]
    if lines and lines[-1] is None:  # its length reached the disk before its content
        lines.pop()
        whole = data.rfind(b"\n", 0, whole - 1) + 1
    entries: list[dict[str, Any]] = []
    for place, entry in enumerate(lines, start=1):
        if entry is None:
            raise _fault(path, f"line {place} is damaged; move the file away to start afresh")
        entries.append(entry)
    return entries, whole, len(data)


def check_header(path: Path, was: Mapping[str, Any], now: Mapping[str, Any], kind: str = SEARCH) -> None:
    """Raises JournalError if a journal's first line ``was`` differs from the one it would get ``now``."""
    if difference := differing(was, now, kind):
        own = "journal" if kind == SEARCH else "folder"
        raise _fault(path, f"this journal was written with {difference}; give it a {own} of its own")


def _magic(kind: str) -> bytes:
    return f'{{"crdiff_{kind}":'.encode("ascii")


def _fault(path: Path, phrase: str) -> JournalError:
    return JournalError(f"{path.name}: {phrase}.")


def valid_entries(entries: Sequence[Entry]) -> tuple[list[Entry], list[Entry]]:
    """The scores of images and the evaluations that count.

    Failures in a row that ended a search say nothing about the configurations, so that they are taken back.

    Raises:
        KeyError, TypeError, ValueError: a line has another form.
    """
    scores: list[Entry] = []
    evaluations: list[Entry] = []
    for entry in entries:
        if entry["kind"] == "score":
            scores.append(entry)
        elif entry["kind"] == "evaluation":
            if entry["number"] == len(evaluations) + 1:  # two searches on one journal write the same twice
                evaluations.append(entry)
        elif entry["kind"] == "retry":
            del scores[len(scores) - int(entry["pictures"]) :]
            del evaluations[int(entry["evaluations"]) :]
    return scores, evaluations


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as they come back from JSON."""
    back: dict[str, Any] = json.loads(json.dumps(dict(values), allow_nan=False))
    return back


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None


def _line(entry: Mapping[str, Any]) -> bytes:
    return json.dumps(dict(entry), allow_nan=False, separators=(",", ":")).encode("ascii") + b"\n"


def differing(was: Mapping[str, Any], now: Mapping[str, Any], kind: str = SEARCH) -> str | None:
    """The first thing in which the settings of two searches differ, as a phrase; None if there is none."""
    old, new = _flat(was), _flat(now)
    for key in [*new, *old]:
        if key not in old or key not in new or old[key] != new[key]:
            return f"{key} {_shown(old, key)}, and this {kind} has {_shown(new, key)}"
    return None


def _flat(values: Mapping[str, Any], stem: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{stem}{key}.")
        else:
            flat[f"{stem}{key}"] = value
    return flat


def _shown(values: Mapping[str, Any], key: str) -> str:
    if key not in values:
        return "none"
    text = json.dumps(values[key], ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
