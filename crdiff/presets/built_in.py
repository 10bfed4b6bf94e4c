"""The presets that come with the extension: a JSON file for each family."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crdiff.errors import PresetError
from crdiff.models.family import Family
from crdiff.presets.document import Value, parse_document
from crdiff.presets.fields import FOUND_FOR, read_criterion, read_family, read_k, read_schedule, read_scope, read_size
from crdiff.presets.names import same
from crdiff.presets.table import LoadedPresets, Preset, same_use

BUILT_IN_FOLDER = Path(__file__).resolve().parents[2] / "presets"
_SCHEMA_FILE = "schema.json"
_OPTIONAL = ("name", "native", "k", "checkpoints", "source", "note", *FOUND_FOR)


def load_file(path: Path) -> tuple[Preset, ...]:
    """The built-in presets of one family file.

    Raises:
        PresetError: the file cannot be read or has a fault; one sentence names the file and the key.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PresetError(f"{path.name}: the file cannot be read ({error.strerror or error}).") from None
    document = parse_document(data, path.name)
    entries = document.entries(("family", "source", "checkpoints", "presets"), optional=("$schema",))
    if "$schema" in entries:
        entries["$schema"].line()
    family = read_family(entries["family"])
    source = entries["source"].line()
    base = _read_base_checkpoints(entries["checkpoints"])
    presets: list[Preset] = []
    for value in entries["presets"].items(at_least=1):
        preset = _read_preset(value, family, source, base)
        for other in presets:
            if clash := _clash(preset, other):
                raise value.refusal(clash)
        presets.append(preset)
    return tuple(presets)


def load_folder(folder: Path) -> LoadedPresets:
    """The built-in presets of every family file in ``folder``.

    A file with a fault is left out and reported; the others are kept. Never raises for what the folder holds.
    """
    presets: list[Preset] = []
    problems: list[str] = []
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".json" and path.name != _SCHEMA_FILE)
    except OSError as error:
        return LoadedPresets(problems=(f"{folder.name}: the folder cannot be read ({error.strerror or error}).",))
    for path in paths:
        try:
            found = load_file(path)
            _refuse_clashes(path.name, found, presets)
        except PresetError as error:
            problems.append(str(error))
        else:
            presets.extend(found)
    return LoadedPresets(tuple(presets), tuple(problems))


def _read_base_checkpoints(value: Value) -> frozenset[str]:
    checkpoints: set[str] = set()
    for item in value.items():
        entries = item.entries(("sha256", "name", "source"))
        entries["name"].line()
        entries["source"].line()
        sha256 = entries["sha256"].sha256()
        if sha256 in checkpoints:
            raise entries["sha256"].refusal("is listed twice")
        checkpoints.add(sha256)
    return frozenset(checkpoints)


def _read_preset(value: Value, family: Family, source: str, base: frozenset[str]) -> Preset:
    entries = value.entries(("size", "ratios"), optional=_OPTIONAL)
    size = read_size(entries["size"])
    limited = "checkpoints" in entries
    if limited and "name" not in entries:
        raise value.refusal("has checkpoints of its own and lacks the key 'name'")
    checkpoints = base
    if limited:
        listed = [item.sha256() for item in entries["checkpoints"].items(at_least=1)]
        checkpoints = frozenset(listed)
        if len(checkpoints) < len(listed):
            raise entries["checkpoints"].refusal("lists a checkpoint twice")
    return Preset(
        name=entries["name"].name() if "name" in entries else f"{family.label} {size}",
        family=family,
        size=size,
        schedule=read_schedule(entries["ratios"]),
        k=read_k(entries["k"]) if "k" in entries else None,
        checkpoints=checkpoints,
        limited=limited,
        native=entries["native"].flag() if "native" in entries else False,
        source=entries["source"].line() if "source" in entries else source,
        note=entries["note"].note() if "note" in entries else "",
        built_in=True,
        criterion=read_criterion(entries),
        scope=read_scope(entries),
    )


def _clash(preset: Preset, other: Preset) -> str | None:
    if same(preset.name, other.name):
        return f"has the name {preset.name!r}, which another preset has already"
    if same_use(preset, other):
        return f"has the size {preset.size}, which another preset for the same checkpoints has already"
    return None


def _refuse_clashes(file: str, found: Sequence[Preset], earlier: Sequence[Preset]) -> None:
    for place, preset in enumerate(found):
        for other in earlier:
            if clash := _clash(preset, other):
                raise PresetError(f"{file}: presets[{place}] {clash}, in a file loaded before.")
