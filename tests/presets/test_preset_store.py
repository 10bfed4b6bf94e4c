"""The user's own presets: saving, renaming, deleting, exchange, and hostile names and files."""

from __future__ import annotations

import json
import os
import re
import threading
import time
import unicodedata
from collections.abc import Callable
from dataclasses import replace as with_changes
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from crdiff.errors import PresetError
from crdiff.method.groups import Ratios
from crdiff.method.schedule import Schedule
from crdiff.models.family import OTHER
from crdiff.models.unet import SD15, SD21, SDXL
from crdiff.presets.library import PresetLibrary
from crdiff.presets.lookup import How, look_up
from crdiff.presets.size import Size
from crdiff.presets.store import Clash, PresetStore
from crdiff.presets.table import Preset, load_folder

SHIPPED = load_folder(Path(__file__).resolve().parents[2] / "presets").presets
BUILT_IN = [preset.name for preset in SHIPPED]
RATIO = st.floats(0.0, 0.9999999999999999)
NOTES = st.text(max_size=500).filter(
    lambda text: not any(unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t" for c in text)
)
NO_FAMILY = st.builds(
    Preset.own,
    name=st.just("no family"),
    family=st.just(OTHER),
    size=st.just(Size(96, 128)),
    ratios=st.builds(Ratios, RATIO, RATIO, RATIO),
    checkpoint_sha256=st.text("0123456789abcdef", min_size=64, max_size=64),
)
PRESETS = NO_FAMILY | st.builds(
    Preset.own,
    name=st.sampled_from(["cats", "dogs", "Straße", "\N{OK HAND SIGN}", "a\\b", "a'b/..", "日本語"]),
    family=st.sampled_from([SD15, SD21, SDXL]),
    size=st.builds(Size, st.integers(64, 99999), st.integers(64, 99999)),
    ratios=st.builds(Ratios, RATIO, RATIO, RATIO),
    k=st.none() | st.floats(-2.0, 3.0) | st.integers(-2, 3),
    checkpoint_sha256=st.none() | st.text("0123456789abcdef", min_size=64, max_size=64),
    note=NOTES,
)


def preset(name: str = "cats", down: float = 0.1, **more: Any) -> Preset:
    return Preset.own(name, SDXL, Size(640, 896), Ratios(down, 0.2, 0.3), **more)


def names(store: PresetStore) -> list[str]:
    loaded = store.load()
    assert loaded.problems == ()
    return [own.name for own in loaded.presets]


@pytest.fixture
def store(tmp_path: Path) -> PresetStore:
    return PresetStore(tmp_path / "data" / "presets.json", reserved=BUILT_IN)


def test_a_store_without_a_file_is_empty_and_makes_none(store: PresetStore) -> None:
    assert names(store) == []
    assert not store.path.exists()


@given(PRESETS)
def test_every_preset_survives_saving_and_exchange(tmp_path_factory: Any, own: Preset) -> None:
    folder = tmp_path_factory.mktemp("trip")
    PresetStore(folder / "a.json").save(own)
    first = PresetStore(folder / "a.json")
    assert first.load().presets == (own,)
    first.export_file(folder / "export.json")
    second = PresetStore(folder / "b.json")
    assert second.import_file(folder / "export.json").added == (own.name,)
    assert second.load().presets == (own,)


def test_saving_a_taken_name_needs_the_overwrite_flag(store: PresetStore) -> None:
    store.save(preset("cats", 0.1))
    store.save(preset("dogs"))
    with pytest.raises(PresetError, match=r"^There is a preset named 'cats' already, for SDXL, 640x896 .*; choose"):
        store.save(preset("cats", 0.5))
    assert store.load().presets[0].ratios.down == 0.1
    store.save(preset("cats", 0.5), overwrite=True)
    assert [(own.name, own.ratios.down) for own in store.load().presets] == [("dogs", 0.1), ("cats", 0.5)]


@pytest.mark.parametrize(
    "other",
    [
        Preset.own("CATS", SD15, Size(640, 896), Ratios(0.5, 0.5, 0.5)),
        Preset.own("cats", SDXL, Size(896, 640), Ratios(0.5, 0.5, 0.5)),
        preset("cats", 0.5, checkpoint_sha256="b" * 64),
        preset("cats", 0.5, checkpoint_sha256="a" * 64, limited=False),
    ],
    ids=["family", "size", "checkpoint", "scope"],
)
def test_no_preset_of_another_use_is_replaced(store: PresetStore, other: Preset) -> None:
    first = preset("cats", checkpoint_sha256="a" * 64)
    store.save(first)
    with pytest.raises(PresetError, match=r"already, for SDXL, 640x896 .* of one checkpoint; choose another name, or"):
        store.save(other, overwrite=True)
    assert store.load().presets == (first,)
    assert store.save(other, overwrite=True, clash=Clash.NUMBER) == f"{other.name} (2)"
    assert len(names(store)) == 2


def test_what_was_deleted_can_be_brought_back(store: PresetStore) -> None:
    with pytest.raises(PresetError, match="no deleted preset"):
        store.restore()
    for name in ("cats", "dogs"):
        store.save(preset(name, k=2.0, note=name))
    kept = store.load().presets
    store.delete("dogs")
    store.delete("cats")
    assert names(store) == []
    later = PresetStore(store.path, reserved=BUILT_IN)
    assert later.restore() == "cats"
    assert later.restore() == "dogs"
    assert later.load().presets == kept
    store.delete("cats")
    store.save(preset("Cats", 0.9))
    assert store.restore() == "cats (2)"
    assert [own.ratios.down for own in store.load().presets] == [0.1, 0.9, 0.1]
    for down in (0.3, 0.4):
        store.save(preset("eels", down))
        store.delete("eels")
    assert store.restore() == "eels"
    assert store.load().presets[-1].ratios.down == 0.4
    assert store.restore() == "eels (2)"


def test_the_preset_saved_last_is_the_one_looked_up(store: PresetStore) -> None:
    store.save(preset("cats", 0.1))
    store.save(preset("dogs", 0.2))
    store.save(preset("cats", 0.3), overwrite=True)
    match = look_up((*store.load().presets, *SHIPPED), SDXL, None, Size(640, 896))
    assert match is not None
    assert (match.how, match.ratios.down) == (How.FAMILY, 0.3)


def test_saving_a_copy_of_a_built_in_preset_makes_it_an_own_one(store: PresetStore) -> None:
    shipped = SHIPPED[0]
    with pytest.raises(PresetError, match="belongs to a built-in preset"):
        store.save(shipped)
    store.save(Preset.own("copy", shipped.family, shipped.size, shipped.ratios))
    (own,) = store.load().presets
    assert (own.built_in, own.source, own.ratios) == (False, "", shipped.ratios)


def test_rename_and_delete(store: PresetStore) -> None:
    for name in ("cats", "dogs", "eels"):
        store.save(preset(name))
    store.rename("dogs", "wolves")
    assert names(store) == ["cats", "wolves", "eels"]
    with pytest.raises(PresetError, match="'eels' already"):
        store.rename("cats", "eels")
    with pytest.raises(PresetError, match="no own preset named 'dogs'"):
        store.rename("dogs", "x")
    with pytest.raises(PresetError, match="must not contain the character ','"):
        store.rename("cats", "a, b")
    store.rename("cats", "cats")
    store.delete("wolves")
    with pytest.raises(PresetError, match="no own preset named 'wolves'"):
        store.delete("wolves")
    assert names(store) == ["cats", "eels"]


@pytest.mark.parametrize("name", ["SDXL 1024x1024", "sdxl 1024X1024"])
def test_built_in_names_are_protected(store: PresetStore, name: str) -> None:
    store.save(preset("cats"))
    changes: list[Callable[[], None]] = [
        lambda: store.save(preset(name), overwrite=True),
        lambda: store.rename("cats", name),
        lambda: store.rename(name, "mine"),
        lambda: store.delete(name),
    ]
    for change in changes:
        with pytest.raises(PresetError, match="belongs to a built-in preset"):
            change()
    exported = store.export_text().replace("cats", name)
    with pytest.raises(PresetError, match="already"):
        store.import_text(exported)
    assert store.import_text(exported, Clash.NUMBER).added == (f"{name} (2)",)


def test_a_name_that_became_built_in_later_can_still_be_renamed_or_deleted(tmp_path: Path) -> None:
    PresetStore(tmp_path / "p.json").save(preset("SDXL 512x768"))
    later = PresetStore(tmp_path / "p.json", reserved=["SDXL 512x768"])
    assert [own.name for own in later.load().presets] == ["SDXL 512x768 (2)"]
    later.rename("SDXL 512x768 (2)", "mine")
    assert names(later) == ["mine"]


@example("cafe\u0301")
@example("one\N{RIGHT-TO-LEFT OVERRIDE}two")
@given(st.text(max_size=90) | st.text(alphabet='ab ,:"\n\\\r\t\x00\u202e\u00e9e\u0301', max_size=12))
def test_hostile_names_are_kept_whole_or_refused(tmp_path_factory: Any, name: str) -> None:
    normal = unicodedata.normalize("NFC", name)
    good = 1 <= len(normal) <= 80 and normal.isprintable() and normal == normal.strip() and not set(normal) & set(',:"')
    good = good and " ".join(normal.casefold().split()) not in ("auto", "custom", "cr-diff preset")
    path = tmp_path_factory.mktemp("names") / "p.json"
    store = PresetStore(path)
    if not good:
        with pytest.raises(PresetError) as caught:
            store.save(preset(name))
        assert str(caught.value).isprintable()
        assert not path.exists()
        return
    store.save(preset(name))
    assert names(store) == [normal]
    store.rename(name, "other")
    store.rename("other", name)
    # The pattern AUTOMATIC1111 1.10 reads generation parameters with.
    parameter = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
    infotext = f"Steps: 20, CR-Diff preset: {normal}, Seed: 1"
    assert dict(parameter.findall(infotext)) == {"Steps": "20", "CR-Diff preset": normal, "Seed": "1"}
    store.delete(name)
    assert names(store) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [("Portrait", "pORTRAIT"), ("Stra\u00dfe", "STRASSE"), ("a b", "A  b"), ("caf\u00e9", "CAFE\u0301")],
)
def test_every_door_takes_two_spellings_of_a_name_for_one(store: PresetStore, one: str, other: str) -> None:
    store.save(preset(one, 0.1))
    exported = store.export_text().replace("0.1", "0.4")
    with pytest.raises(PresetError, match="already"):
        store.save(preset(other, 0.2))
    store.save(preset("cats"))
    with pytest.raises(PresetError, match="already"):
        store.rename("cats", other)
    store.delete("CATS")
    assert json.loads(store.export_text([other]))["presets"][0]["name"] == one
    with pytest.raises(PresetError, match="already"):
        store.import_text(exported)
    assert store.import_text(exported, Clash.NUMBER).added == (f"{one} (2)",)
    store.delete(f"{other} (2)")
    library = PresetLibrary(store.path.parent)
    assert library.named(f" {other} ").name == one
    store.save(preset(other, 0.3), overwrite=True)
    assert [own.ratios.down for own in store.load().presets] == [0.3]
    store.rename(other, one)
    assert names(store) == [unicodedata.normalize("NFC", one)]


@pytest.mark.parametrize("name", ["auto", "Auto", "CUSTOM", "cr-diff  Preset"])
def test_reserved_words_are_no_names(store: PresetStore, name: str) -> None:
    store.save(preset("cats"))
    exported = store.export_text().replace("cats", name)
    for change in (lambda: store.save(preset(name)), lambda: store.rename("cats", name)):
        with pytest.raises(PresetError, match="choose another"):
            change()
    with pytest.raises(PresetError, match="already"):
        store.import_text(exported)
    assert store.import_text(exported, Clash.NUMBER).added == (f"{name} (2)",)


def test_names_that_version_1_0_0_told_apart_are_all_kept(store: PresetStore) -> None:
    """A file of then, in which each of these was a preset of its own."""
    stored = ["Portrait", "portrait (2)", "portrait", "Auto", "SDXL 1024x1024", "640x832"]
    store.save(preset("x"))
    document = json.loads(store.path.read_text(encoding="utf-8"))
    entries = [
        {**document["presets"][0], "name": name, "ratios": {"down": place / 10, "mid": 0, "up": 0}}
        for place, name in enumerate(stored)
    ]
    store.path.write_text(json.dumps({**document, "presets": entries}), encoding="utf-8")
    kept = ["Portrait", "portrait (2)", "portrait (3)", "Auto (2)", "SDXL 1024x1024 (2)", "640x832"]
    library = PresetLibrary(store.path.parent)
    assert [library.named(name).ratios.down for name in kept] == [place / 10 for place in range(len(stored))]
    assert (
        "'portrait' is taken; that preset is 'portrait (3)' here" in library.problems()[0]
        and len(library.problems()) == 3
    )
    library.store.save(preset("dogs"))
    assert names(store) == [*kept, "dogs"]


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
        {"name": "flux", "family": "flux", "size": "512x512", "ratios": {"left": 0.1}},
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
    flux, cats, text = LATER["presets"]
    assert {**kept, "presets": None} == {**LATER, "presets": None}
    assert kept["presets"][:3] == [flux, {**cats, "name": "lions"}, text]
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


def test_taken_names_are_numbered_on_request(store: PresetStore) -> None:
    long = "n" * 80
    for name in ("cats", "cats (2)", long):
        store.save(preset(name))
    for ratio, number in ((0.4, 2), (0.5, 3)):
        exported = store.export_text(["cats", "cats (2)", long]).replace("0.1", str(ratio))
        added = (f"cats ({number + 1})", f"cats (2) ({number})", "n" * 76 + f" ({number})")
        assert store.import_text(exported, Clash.NUMBER).added == added
    assert len(names(store)) == 9


def test_a_number_given_on_import_does_not_take_a_name_further_down(store: PresetStore, tmp_path: Path) -> None:
    store.save(preset("cats"))
    other = PresetStore(tmp_path / "other.json")
    other.save(preset("cats", 0.4))
    other.save(preset("cats (2)", 0.5))
    assert store.import_text(other.export_text(), Clash.NUMBER).added == ("cats (3)", "cats (2)")
    assert [own.ratios.down for own in store.load().presets] == [0.1, 0.4, 0.5]


def test_export_of_chosen_presets(store: PresetStore) -> None:
    for name in ("cats", "dogs", "eels"):
        store.save(preset(name))
    chosen = json.loads(store.export_text(["eels", "cats", "eels"]))
    assert [entry["name"] for entry in chosen["presets"]] == ["eels", "cats"]
    with pytest.raises(PresetError, match="no own preset named 'wolves'"):
        store.export_text(["cats", "wolves"])


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


def test_threads_do_not_lose_one_another_s_presets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = os.replace

    def slow(source: Path, target: Path) -> None:
        time.sleep(0.002)
        replace(source, target)

    monkeypatch.setattr(os, "replace", slow)
    failures: list[BaseException] = []

    def work(thread: int) -> None:
        try:
            store = PresetStore(tmp_path / "presets.json")
            for number in range(8):
                store.save(preset(f"{thread}-{number}"))
            store.delete(f"{thread}-0")
            store.rename(f"{thread}-1", f"{thread}-one")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    expected = {f"{thread}-{number}" for thread in range(4) for number in ("one", 2, 3, 4, 5, 6, 7)}
    assert set(names(PresetStore(tmp_path / "presets.json"))) == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["presets.deleted.json", "presets.json"]


class StoreAgainstDictionary(RuleBasedStateMachine):
    """Every sequence of changes leaves what the same changes leave in a plain dictionary."""

    NAMES = st.sampled_from(["a", "b", "c", "a (2)", "SDXL 1024x1024"])

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(self._folders.mktemp("machine"))
        self.model: dict[str, Preset] = {}
        self.deleted: list[Preset] = []

    _folders: Any

    def store(self) -> PresetStore:
        return PresetStore(self.folder / "presets.json", reserved=BUILT_IN)

    @rule(own=PRESETS, name=NAMES, overwrite=st.booleans())
    def save(self, own: Preset, name: str, overwrite: bool) -> None:
        own = Preset.own(name, own.family, own.size, own.ratios, own.k, next(iter(own.checkpoints), None), own.note)
        there = self.model.get(name)
        again = overwrite and there and (there.family, there.size, there.checkpoints) == (
            own.family, own.size, own.checkpoints,
        )  # fmt: skip
        try:
            self.store().save(own, overwrite)
        except PresetError:
            assert name in BUILT_IN or (there and not again)
        else:
            assert name not in BUILT_IN and (not there or again)
            self.model.pop(name, None)
            self.model[name] = own

    @rule(name=NAMES, down=RATIO)
    def save_again(self, name: str, down: float) -> None:
        if name in self.model:
            own = with_changes(self.model.pop(name), schedule=Schedule.constant(Ratios(down, 0.0, 0.0)))
            assert self.store().save(own, overwrite=True) == name
            self.model[name] = own

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        try:
            self.store().delete(name)
        except PresetError:
            assert name not in self.model
        else:
            self.deleted.append(self.model.pop(name))

    @rule()
    def restore(self) -> None:
        if not self.deleted:
            return
        own, number = self.deleted.pop(), 2
        name = own.name
        while name in self.model:
            name, number = f"{own.name} ({number})", number + 1
        assert self.store().restore() == name
        self.model[name] = with_changes(own, name=name)

    @rule(name=NAMES, new_name=NAMES)
    def rename(self, name: str, new_name: str) -> None:
        try:
            self.store().rename(name, new_name)
        except PresetError:
            assert name not in self.model or new_name in BUILT_IN or (new_name in self.model and new_name != name)
        else:
            self.model = {
                new_name if key == name else key: self._renamed(own, new_name) if key == name else own
                for key, own in self.model.items()
            }

    @rule()
    def import_own_export(self) -> None:
        store = self.store()
        imported = store.import_text(store.export_text(), Clash.NUMBER)
        assert (imported.added, imported.known) == ((), tuple(self.model))

    @invariant()
    def same_as_model(self) -> None:
        assert self.store().load().presets == tuple(self.model.values())

    @staticmethod
    def _renamed(own: Preset, name: str) -> Preset:
        return Preset.own(name, own.family, own.size, own.ratios, own.k, next(iter(own.checkpoints), None), own.note)


def test_store_behaves_like_a_dictionary(tmp_path_factory: Any) -> None:
    class Machine(StoreAgainstDictionary):
        _folders = tmp_path_factory

    run_state_machine_as_test(Machine, settings=settings(stateful_step_count=12, max_examples=50))
