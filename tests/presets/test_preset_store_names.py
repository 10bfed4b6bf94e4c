"""Names of own presets: what is one name, what is none, and what is taken."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from own_presets import names, preset

from crdiff.errors import PresetError
from crdiff.presets.library import PresetLibrary
from crdiff.presets.store import Clash, PresetStore


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
