"""Faults of preset files that a schema cannot see, and folders with a broken file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdiff.errors import PresetError
from crdiff.method.groups import Ratios
from crdiff.models.family import OTHER
from crdiff.models.unet import SDXL
from crdiff.presets.built_in import load_file, load_folder
from crdiff.presets.document import parse_document
from crdiff.presets.size import Size
from crdiff.presets.table import Preset


def family_file(family: str = "sdxl", **preset: Any) -> dict[str, Any]:
    entry = {"size": "512x512", "ratios": {"down": 0.1, "mid": 0.2, "up": 0.3}, **preset}
    return {"family": family, "source": "here", "checkpoints": [], "presets": [entry]}


def write(path: Path, content: Any) -> Path:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    path.write_bytes(data)
    return path


def as_bytes(**preset: str) -> bytes:
    """A family file whose preset has raw JSON text for the given keys."""
    text = json.dumps(family_file(**{key: f"@{key}@" for key in preset}))
    for key, raw in preset.items():
        text = text.replace(f'"@{key}@"', raw)
    return text.encode()


UNREADABLE = {
    "not JSON": (b'{"family": "sdxl",', "line 1 is not valid JSON"),
    "empty": (b"", "line 1 is not valid JSON"),
    "NaN": (as_bytes(ratios='{"down": NaN, "mid": 0, "up": 0}'), "NaN is not a JSON number"),
    "Infinity": (as_bytes(k="Infinity"), "Infinity is not a JSON number"),
    "-Infinity": (as_bytes(k="-Infinity"), "-Infinity is not a JSON number"),
    "overflowing float": (as_bytes(k="1e999"), "1e999 is too large a number"),
    "key given twice": (as_bytes(ratios='{"down": 0.1, "down": 0.2, "mid": 0, "up": 0}'), "'down' is given twice"),
    "Latin-1": (as_bytes(note='"caf\\u00e9"').replace(b"\\u00e9", b"\xe9"), "not UTF-8"),
    "UTF-16": (json.dumps(family_file()).encode("utf-16"), "not UTF-8"),
    "lone surrogate": (as_bytes(note='"\\ud800"'), "presets[0].note must not contain the character '\\ud800'"),
    "deep nesting": (b"[" * 200_000, "too large to read"),
    "list": (b"[]", "the document must be a JSON object, not an array"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_unreadable_file_is_one_sentence(case: str, tmp_path: Path) -> None:
    data, sentence = UNREADABLE[case]
    with pytest.raises(PresetError) as caught:
        load_file(write(tmp_path / "mine.json", data))
    message = str(caught.value)
    assert message.startswith("mine.json: ") and sentence in message and message.endswith(".")
    assert message.isprintable()


def test_integer_of_thousands_of_digits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PresetError, match=r"^mine\.json: "):
        load_file(write(tmp_path / "mine.json", as_bytes(k="1" * 10_000)))


def test_byte_order_mark_of_windows_editors_is_accepted(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.json", b"\xef\xbb\xbf" + json.dumps(family_file()).encode())
    assert [str(preset.size) for preset in load_file(path)] == ["512x512"]


def test_missing_file_and_folder_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(PresetError, match=r"^gone\.json: the file cannot be read \(.+\)\.$"):
        load_file(tmp_path / "gone.json")
    loaded = load_folder(tmp_path / "nowhere")
    assert loaded.presets == ()
    assert len(loaded.problems) == 1 and loaded.problems[0].startswith("nowhere: the folder cannot be read")


@pytest.mark.parametrize(
    ("second", "fault"),
    [
        ({}, "presets[1] has the name 'SDXL 512x512'"),
        ({"name": "other"}, "presets[1] has the size 512x512"),
        ({"name": "sdxl 512X512", "size": "64x64"}, "presets[1] has the name 'sdxl 512X512'"),
        ({"name": "a", "checkpoints": ["a" * 64]}, None),
        ({"size": "512x520"}, None),
    ],
)
def test_duplicates_within_a_file(second: dict[str, Any], fault: str | None, tmp_path: Path) -> None:
    document = family_file()
    document["presets"].append({**document["presets"][0], **second})
    path = write(tmp_path / "mine.json", document)
    if fault is None:
        assert len(load_file(path)) == 2
        return
    with pytest.raises(PresetError) as caught:
        load_file(path)
    assert fault in str(caught.value)


def test_entries_limited_to_overlapping_checkpoints_are_duplicates(tmp_path: Path) -> None:
    document = family_file(name="one", checkpoints=["a" * 64, "b" * 64])
    document["presets"].append({**document["presets"][0], "name": "two", "checkpoints": ["b" * 64, "c" * 64]})
    path = write(tmp_path / "mine.json", document)
    with pytest.raises(PresetError, match="size 512x512, which another preset for the same checkpoints"):
        load_file(path)
    document["presets"][1]["checkpoints"] = ["c" * 64]
    assert len(load_file(write(path, document))) == 2


def test_one_broken_file_costs_only_its_own_presets(tmp_path: Path) -> None:
    write(tmp_path / "a.json", family_file("sd15"))
    write(tmp_path / "b.json", b"\xff\xfe")
    write(tmp_path / "c.json", family_file("sdxl", ratios={"down": 1.2, "mid": 0, "up": 0}))
    write(tmp_path / "d.json", family_file("sdxl"))
    write(tmp_path / "e.json", family_file("sdxl", name="again"))
    write(tmp_path / "schema.json", {"title": "not a preset file"})
    write(tmp_path / "readme.txt", b"not a preset file")
    (tmp_path / "f.json").mkdir()
    loaded = load_folder(tmp_path)
    assert [preset.name for preset in loaded.presets] == ["SD1.x 512x512", "SDXL 512x512"]
    assert [problem.split(":")[0] for problem in loaded.problems] == ["b.json", "c.json", "e.json", "f.json"]
    assert "ratios.down must be a number in [0, 1), not 1.2" in loaded.problems[1]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(["family", "source", "checkpoints", "presets"]), JSON_VALUES)
def test_any_value_in_any_place_loads_or_is_one_sentence(tmp_path_factory: Any, key: str, content: Any) -> None:
    path = tmp_path_factory.mktemp("any") / "any.json"
    write(path, {**family_file(), key: content})
    try:
        presets = load_file(path)
    except PresetError as error:
        assert str(error).startswith("any.json: ") and "\n" not in str(error)
        str(error).encode("utf-8")
    else:
        assert key == "source" or (key, content) in (("checkpoints", []), ("family", "sdxl"))
        assert len(presets) == 1


@given(st.binary(max_size=60))
def test_any_bytes_parse_or_are_one_sentence(data: bytes) -> None:
    try:
        value = parse_document(data, "any.json")
    except PresetError as error:
        assert str(error).startswith("any.json: ") and "\n" not in str(error)
    else:
        assert value.content == json.loads(data.decode("utf-8-sig"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"family": OTHER},
        {"size": Size(63, 512)},
        {"size": Size(512, 100_000)},
        {"k": float("nan")},
        {"k": 3.5},
        {"checkpoint_sha256": "abc"},
        {"note": "\x1b[31m"},
        {"name": ""},
    ],
)
def test_a_preset_cannot_be_made_with(wrong: dict[str, Any]) -> None:
    right: dict[str, Any] = {"name": "n", "family": SDXL, "size": Size(64, 64), "ratios": Ratios(0.1, 0.2, 0.3)}
    assert Preset.own(**right).k is None
    with pytest.raises(PresetError) as caught:
        Preset.own(**{**right, **wrong})
    assert str(caught.value)[0].isupper() and str(caught.value).endswith(".")
