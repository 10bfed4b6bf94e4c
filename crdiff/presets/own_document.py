"""The JSON document of a user's own presets: what can be read of it, and the rest kept as it stands."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from dataclasses import replace as with_changes

from crdiff import checks
from crdiff.errors import PresetError
from crdiff.models.scope import Scope
from crdiff.presets.document import Value, parse_document
from crdiff.presets.fields import FOUND_FOR, read_criterion, read_family, read_k, read_schedule, read_scope, read_size
from crdiff.presets.names import may_stand_for, same, told_apart
from crdiff.presets.table import Preset
from crdiff.pruning.registry import DEFAULT_CRITERION

_FORMAT = "cr-diff presets"
_VERSION = 1
_TOP_KEYS = ("format", "version", "presets")
_REQUIRED = ("name", "family", "size", "ratios")
_OPTIONAL = ("k", "checkpoints", "limited", "note", *FOUND_FOR)
_SHOWN_KEYS = 3


@dataclass(frozen=True)
class Entry:
    """One preset of a document.

    Attributes:
        content: its JSON, with whatever this version does not know.
        preset: what this version reads in it; None if it cannot be read.
    """

    content: object
    preset: Preset | None

    @classmethod
    def of(cls, preset: Preset) -> Entry:
        """The entry that holds a preset."""
        content: dict[str, object] = {
            "name": preset.name,
            "family": preset.family.value,
            "size": str(preset.size),
            "ratios": preset.schedule.to_json(),
        }
        if preset.k is not None:
            content["k"] = preset.k
        if preset.checkpoints:
            content["checkpoints"] = sorted(preset.checkpoints)
            content["limited"] = preset.limited
        if preset.note:
            content["note"] = preset.note
        if preset.criterion != DEFAULT_CRITERION:
            content["criterion"] = preset.criterion
        content |= {key: value for key, value in asdict(preset.scope).items() if value != getattr(Scope, key)}
        return cls(content, preset)

    @property
    def unknown(self) -> dict[str, object]:
        """What this version does not know."""
        known = (*_REQUIRED, *_OPTIONAL)
        return {key: value for key, value in _object(self.content).items() if key not in known}

    def renamed(self, name: str) -> Entry:
        """The same under another name."""
        preset = None if self.preset is None else with_changes(self.preset, name=name)
        return Entry({**_object(self.content), "name": name}, preset)

    def repeats(self, other: Entry) -> bool:
        """Whether it is another one again, which may have been given a number when it was imported."""
        if self.preset is None or other.preset is None:
            return False
        name = other.preset.name
        alike = with_changes(self.preset, name=name) == other.preset and self.unknown == other.unknown
        return alike and may_stand_for(name, self.preset.name)


@dataclass(frozen=True)
class OwnDocument:
    """A document of own presets.

    Attributes:
        entries: in the order of saving, with those that cannot be read.
        head: the document's other keys; empty for a new document.
        problems: one sentence about each thing that this version cannot use.
    """

    entries: tuple[Entry, ...] = ()
    head: Mapping[str, object] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def presets(self) -> tuple[Preset, ...]:
        """What can be read."""
        return tuple(entry.preset for entry in self.entries if entry.preset is not None)

    @property
    def names(self) -> list[str]:
        """The names of the presets that can be read."""
        return [preset.name for preset in self.presets]

    def find(self, name: str) -> Entry | None:
        """The entry whose preset has this name; None if there is none."""
        return next((entry for entry in self.entries if entry.preset and same(entry.preset.name, name)), None)

    def with_free_names(self, taken: Iterable[str], file: str) -> OwnDocument:
        """The same, each preset whose name is one of ``taken`` or that of an earlier one under a number, which is said.

        Versions that told more names apart have written such files.
        """
        names = iter(told_apart(self.names, taken))
        entries, problems = [], list(self.problems)
        for entry in self.entries:
            if entry.preset is not None and (name := next(names)) != entry.preset.name:
                problems.append(f"{file}: the name {entry.preset.name!r} is taken; that preset is {name!r} here.")
                entry = entry.renamed(name)
            entries.append(entry)
        return with_changes(self, entries=tuple(entries), problems=tuple(problems))

    def to_text(self) -> str:
        """The JSON, in which everything that could not be read stands as it was."""
        head = {"format": _FORMAT, "version": _VERSION, **self.head}
        document = {**head, "presets": [entry.content for entry in self.entries]}
        return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_document(data: bytes | str, file: str) -> OwnDocument:
    """What can be read of a stored or exported document, which may be of a later version.

    Raises:
        PresetError: it is no document of presets; one sentence names ``file`` and the fault.
    """
    document = parse_document(data, file)
    values = document.entries(_TOP_KEYS, others=True)
    if values["format"].content != _FORMAT:
        raise values["format"].fault(f"must be {_FORMAT!r}")
    version = values["version"]
    if type(version.content) is not int or version.content < _VERSION:
        raise version.fault(f"must be {_VERSION}")
    problems = _unknown(document, values, _TOP_KEYS)
    if version.content > _VERSION:
        problems.append(str(version.refusal(f"is {checks.shown(version.content)}, of a later CR-Diff")))
    read = [_read_entry(value) for value in values["presets"].items()]
    problems += [sentence for _, sentences in read for sentence in sentences]
    head = {key: value.content for key, value in values.items() if key != "presets"}
    return OwnDocument(tuple(entry for entry, _ in read), head, tuple(problems))


def to_text(presets: Iterable[Preset]) -> str:
    """The JSON document that holds ``presets``, as it is stored and exported."""
    return OwnDocument(tuple(map(Entry.of, presets))).to_text()


def from_text(data: bytes | str, file: str = "the import") -> tuple[Preset, ...]:
    """The presets of a stored or exported document that this version reads whole.

    Raises:
        PresetError: it does not; one sentence names ``file`` and the key.
    """
    document = read_document(data, file).with_free_names((), file)
    if document.problems:
        raise PresetError(document.problems[0])
    return document.presets


def _object(content: object) -> dict[str, object]:
    return content if isinstance(content, dict) else {}


def _read_entry(value: Value) -> tuple[Entry, list[str]]:
    """An entry, and what is to be said of it."""
    try:
        values = value.entries(_REQUIRED, _OPTIONAL, others=True)
        return Entry(value.content, _read_preset(values)), _unknown(value, values, (*_REQUIRED, *_OPTIONAL))
    except PresetError as error:
        place = f"{value.file}: "
        return Entry(value.content, None), [place + str(error).removeprefix(place)]


def _unknown(value: Value, values: Mapping[str, Value], known: Sequence[str]) -> list[str]:
    """A sentence that names the keys this version does not know; none if it knows them all."""
    names = [checks.shown(name) for name in values if name not in known]
    if not names:
        return []
    named = ", ".join(names[:_SHOWN_KEYS]) + (" and more" if len(names) > _SHOWN_KEYS else "")
    return [str(value.refusal(f"has what this CR-Diff does not know and leaves unused: {named}"))]


def _read_preset(entries: Mapping[str, Value]) -> Preset:
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
        criterion=read_criterion(entries),
        scope=read_scope(entries),
    )
