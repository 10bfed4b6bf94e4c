"""The user's own presets: saving, renaming, deleting, exchange."""

from __future__ import annotations

import json
import os
import threading
import time
import unicodedata
from dataclasses import replace as with_changes
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from own_presets import BUILT_IN, SHIPPED, names, preset

from crdiff.errors import PresetError
from crdiff.method.groups import Ratios
from crdiff.method.schedule import Schedule
from crdiff.models.family import OTHER
from crdiff.models.unet import SD15, SD21, SDXL
from crdiff.presets.lookup import How, look_up
from crdiff.presets.size import Size
from crdiff.presets.store import Clash, PresetStore
from crdiff.presets.table import Preset

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


def test_export_of_chosen_presets(store: PresetStore) -> None:
    for name in ("cats", "dogs", "eels"):
        store.save(preset(name))
    chosen = json.loads(store.export_text(["eels", "cats", "eels"]))
    assert [entry["name"] for entry in chosen["presets"]] == ["eels", "cats"]
    with pytest.raises(PresetError, match="no own preset named 'wolves'"):
        store.export_text(["cats", "wolves"])


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
