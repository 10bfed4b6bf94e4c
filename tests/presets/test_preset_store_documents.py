"""Own presets in files and imports that are in use, broken, or of another version."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from own_presets import BUILT_IN, names, preset

from crdiff.errors import PresetError
from crdiff.presets.library import PresetLibrary
from crdiff.presets.store import Clash, PresetStore


def test_an_import_takes_what_can_be_read_and_says_what_cannot(store: PresetStore) -> None:
    store.save(preset("cats"))
    document = json.loads(store.export_text())
    good = dict(document["presets"][0], name="dogs")
    bad = dict(good, name="eels", ratios={"down": 0.1, "mid": 1.2, "up": 0.1})
    imported = store.import_text(json.dumps({**document, "presets": [bad, good]}))
    assert imported.added == ("dogs",)
    assert imported.problems == ("the import: presets[0].ratios.mid must be a number in [0, 1), not 1.2.",)
    assert names(store) == ["cats", "dogs"]


def test_an_import_of_nothing_that_can_be_read_or_of_a_taken_name_changes_nothing(store: PresetStore) -> None:
    store.save(preset("cats"))
    before = store.path.read_bytes()
    document = json.loads(store.export_text())
    good = dict(document["presets"][0], name="dogs")
    for change, fault in (
        ({"presets": [dict(good, size="huge")]}, r"^the import: presets\[0\]\.size must be HEIGHTxWIDTH"),
        ({"presets": [good, dict(good, name="cats", k=2)]}, "there is a preset named 'cats' already"),
        ({"version": True}, "version must be 1, not true"),
        ({"version": 0}, "version must be 1, not 0"),
        ({"format": "x"}, "format must be 'cr-diff presets'"),
        ({"presets": {}}, "presets must be a JSON array"),
    ):
        with pytest.raises(PresetError, match=fault):
            store.import_text(json.dumps({**document, **change}))
        assert store.path.read_bytes() == before
    with pytest.raises(PresetError, match=r"^gone\.json: the file cannot be read"):
        store.import_file(store.path.with_name("gone.json"))
    assert names(store) == ["cats"]


def test_what_was_imported_is_not_imported_again(store: PresetStore) -> None:
    """Nor when its name had to be another one; a changed preset of the same name is."""
    store.save(preset("cats", 0.9))
    exported = [{"name": name, "family": "sdxl", "size": "64x64", "ratios": {"down": 0.5, "mid": 0, "up": 0}}
                for name in ("cats", "dogs")]  # fmt: skip
    document = {"format": "cr-diff presets", "version": 1, "presets": exported}
    assert store.import_text(json.dumps(document), Clash.NUMBER).added == ("cats (2)", "dogs")
    again = store.import_text(json.dumps(document), Clash.NUMBER)
    assert (again.added, again.known) == ((), ("cats (2)", "dogs"))
    exported[1]["k"] = 2.0
    assert store.import_text(json.dumps(document), Clash.NUMBER).added == ("dogs (2)",)
    exported[1]["name"] = "dogs 2"  # the same preset under a name that no import has made of it
    assert store.import_text(json.dumps(document), Clash.NUMBER).added == ("dogs 2",)
    assert names(store) == ["cats", "cats (2)", "dogs", "dogs (2)", "dogs 2"]


LATER = {
    "format": "cr-diff presets",
    "version": 2,
    "colour": "blue",
    "presets": [
        {"name": "film", "family": "video", "size": "512x512", "ratios": {"left": 0.1}},
        {
            "name": "cats",
            "family": "sdxl",
            "size": "64x64",
            "ratios": {"down": 0.1, "mid": 0, "up": 0},
            "taste": [1.5],
        },
        "\ud800",
    ],
}


def test_a_later_versions_file_is_used_as_far_as_it_is_understood_and_loses_nothing(store: PresetStore) -> None:
    store.path.parent.mkdir()
    store.path.write_text(json.dumps(LATER), encoding="utf-8")
    loaded = store.load()
    assert [own.name for own in loaded.presets] == ["cats"]
    said = " ".join(loaded.problems)
    for part in (
        "'colour'",
        "version is 2",
        "presets[0].family must be one of",
        "presets[1] has",
        "'taste'",
        "presets[2]",
    ):
        assert part in said
    store.save(preset("dogs"))
    store.rename("cats", "lions")
    store.save(preset("eels"))
    store.delete("eels")
    kept = json.loads(store.path.read_text(encoding="utf-8"))
    film, cats, text = LATER["presets"]
    assert {**kept, "presets": None} == {**LATER, "presets": None}
    assert kept["presets"][:3] == [film, {**cats, "name": "lions"}, text]
    assert [own.name for own in store.load().presets] == ["lions", "dogs"]
    store.delete("lions")
    store.restore()
    assert json.loads(store.path.read_text(encoding="utf-8"))["presets"][-1] == {**cats, "name": "lions"}
    other = PresetStore(store.path.with_name("other.json"))
    assert other.import_text(store.export_text()).added == ("dogs", "lions")
    assert json.loads(other.path.read_text(encoding="utf-8"))["presets"][1]["taste"] == [1.5]


def test_a_file_in_use_hides_no_preset_and_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a virus scanner's lock: nothing about the file is other afterwards."""
    PresetStore(tmp_path / "presets.json").save(preset("cats"))
    read, locked = Path.read_bytes, [True]

    def refused(path: Path) -> bytes:
        if locked[0]:
            raise PermissionError(13, "in use")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refused)
    library = PresetLibrary(tmp_path)
    assert library.own().presets == () and "in use" in library.own().problems[0]
    assert library.names() == []
    locked[0] = False
    assert BUILT_IN[0] in library.names() and library.problems() == ()
    assert [own.name for own in library.own().presets] == ["cats"] and library.own().problems == ()
    library.store.save(preset("dogs"))
    locked[0] = True
    assert [own.name for own in library.own().presets] == ["cats"] and "in use" in library.own().problems[0]
    locked[0] = False
    assert [own.name for own in library.own().presets] == ["cats", "dogs"]


def test_a_folder_in_the_files_place_does_not_count_once_it_is_gone(tmp_path: Path) -> None:
    (tmp_path / "presets.json").mkdir()
    library = PresetLibrary(tmp_path)
    assert "cannot be read" in library.problems()[0]
    (tmp_path / "presets.json").rmdir()
    assert library.problems() == ()


BROKEN = [b"", b"{", b"\xff", b"[]", b'{"format": "cr-diff presets", "version": 1, "presets": 3}']


@pytest.mark.parametrize("content", BROKEN)
def test_a_broken_file_is_reported_and_moved_aside_only_to_save_another(store: PresetStore, content: bytes) -> None:
    store.path.parent.mkdir()
    store.path.write_bytes(content)
    loaded = store.load()
    assert loaded.presets == ()
    (problem,) = loaded.problems
    assert problem.startswith("presets.json: ")
    assert store.path.read_bytes() == content and store.load() == loaded
    store.save(preset())
    (problem,) = store.load().problems
    assert problem.endswith("; the file was moved aside to presets.json.bak.")
    assert store.path.with_name("presets.json.bak").read_bytes() == content
    assert names(store) == ["cats"]


def test_saving_over_a_broken_file_keeps_it_and_reports_it(store: PresetStore) -> None:
    store.path.parent.mkdir()
    for content, backup in ((b"first", "presets.json.bak"), (b"second", "presets.json.2.bak")):
        store.path.write_bytes(content)
        store.save(preset("cats"))
        loaded = store.load()
        assert [own.name for own in loaded.presets] == ["cats"]
        assert len(loaded.problems) == 1 and loaded.problems[0].endswith(f"moved aside to {backup}.")
        assert store.path.with_name(backup).read_bytes() == content
    assert store.path.with_name("presets.json.bak").read_bytes() == b"first"


def test_a_broken_file_that_cannot_be_moved_is_not_overwritten(
    store: PresetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "in use")

    store.path.parent.mkdir()
    store.path.write_bytes(b"broken")
    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with pytest.raises(PresetError, match="could not be moved aside and is left as it is"):
        store.save(preset())
    assert store.path.read_bytes() == b"broken"


def test_a_file_that_cannot_be_read_is_left_alone(store: PresetStore) -> None:
    store.path.mkdir(parents=True)
    with pytest.raises(PresetError, match="cannot be read"):
        store.load()
    with pytest.raises(PresetError, match="cannot be read"):
        store.save(preset())
    assert store.path.is_dir()
