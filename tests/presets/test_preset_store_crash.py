"""A crash or a refused write at any point leaves the old file or the new one, never half of one."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdiff import files
from crdiff.errors import PresetError
from crdiff.method.groups import Ratios
from crdiff.models.unet import SDXL
from crdiff.presets.size import Size
from crdiff.presets.store import PresetStore
from crdiff.presets.table import Preset

ROOT = Path(__file__).resolve().parents[2]


class PowerCut(BaseException):
    """Stands for the end of the process; no handler of ordinary errors may see it."""


def preset(name: str) -> Preset:
    return Preset.own(name, SDXL, Size(640, 896), Ratios(0.1, 0.2, 0.3))


def prepared(folder: Path) -> tuple[PresetStore, bytes]:
    store = PresetStore(folder / "presets.json")
    store.save(preset("old"))
    return store, store.path.read_bytes()


class CutAfter(io.FileIO):
    """A file whose device takes only so many bytes."""

    def __init__(self, path: str | Path, mode: str, room: int, error: BaseException) -> None:
        super().__init__(path, mode)
        self.room = room
        self.error = error

    def write(self, data: Any) -> int:
        written = super().write(bytes(data)[: self.room])
        if written < len(data):
            raise self.error
        return written


@given(st.integers(0, 400))
def test_power_cut_after_any_byte_of_the_write(tmp_path_factory: Any, room: int) -> None:
    store, old = prepared(tmp_path_factory.mktemp("cut"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "open", lambda path, mode: CutAfter(path, mode, room, PowerCut()), raising=False)
        patch.setattr(Path, "unlink", lambda self: None)
        with pytest.raises(PowerCut):
            store.save(preset("n" * 80))
    assert store.path.read_bytes() == old
    # What the cut left behind does not stand in the way of the next start.
    again = PresetStore(store.path)
    again.save(preset("new"))
    assert [own.name for own in again.load().presets] == ["old", "new"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), PowerCut()])
def test_failure_before_the_replacement_keeps_the_old_file(
    call: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    store, old = prepared(tmp_path)
    monkeypatch.setattr(os, call, fail)
    changes: list[Callable[[], None]] = [
        lambda: store.save(preset("new")),
        lambda: store.delete("old"),
        lambda: store.rename("old", "new"),
    ]
    for change in changes:
        with pytest.raises(PowerCut if isinstance(error, PowerCut) else PresetError):
            change()
        assert store.path.read_bytes() == old
        assert list(tmp_path.iterdir()) == [store.path]


def test_full_disk_is_one_sentence_and_leaves_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, old = prepared(tmp_path)
    error = OSError(28, "No space left on device")
    monkeypatch.setattr(files, "open", lambda path, mode: CutAfter(path, mode, 9, error), raising=False)
    with pytest.raises(PresetError, match=r"^presets\.json: the file cannot be written \(No space left on device\)\.$"):
        store.save(preset("new"))
    with pytest.raises(PresetError, match=r"^export\.json: the file cannot be written"):
        store.export_file(tmp_path / "export.json")
    assert store.path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [store.path]


@pytest.mark.parametrize(("refusals", "saved"), [(1, True), (5, True), (6, False)])
def test_file_in_use_is_tried_again_for_a_while(
    refusals: int, saved: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, old = prepared(tmp_path)
    replace = os.replace
    left = refusals
    pauses: list[float] = []

    def busy(source: Path, target: Path) -> None:
        nonlocal left
        if left:
            left -= 1
            raise PermissionError(13, "in use by another process")
        replace(source, target)

    monkeypatch.setattr(os, "replace", busy)
    monkeypatch.setattr(time, "sleep", pauses.append)
    if saved:
        store.save(preset("new"))
        assert [own.name for own in store.load().presets] == ["old", "new"]
    else:
        with pytest.raises(PresetError, match="in use by another process"):
            store.save(preset("new"))
        assert store.path.read_bytes() == old
    assert 0 < sum(pauses) <= 1.0
    assert list(tmp_path.iterdir()) == [store.path]


def test_data_reach_the_disk_before_the_file_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, _ = prepared(tmp_path)
    fsync, replace = os.fsync, os.replace
    steps: list[str] = []

    def watched_fsync(descriptor: int) -> None:
        steps.append(f"fsync of {os.fstat(descriptor).st_size} bytes")
        fsync(descriptor)

    def watched_replace(source: Path, target: Path) -> None:
        steps.append(f"replace by {Path(source).stat().st_size} bytes")
        assert Path(source).parent == Path(target).parent
        replace(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    store.save(preset("new"))
    size = store.path.stat().st_size
    assert steps == [f"fsync of {size} bytes", f"replace by {size} bytes"]


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        ("os.fsync = die", ["old"]),
        ("os.replace = die", ["old"]),
        ("replace = os.replace; os.replace = lambda *paths: (replace(*paths), die())", ["old", "new"]),
    ],
)
def test_a_killed_process_leaves_the_old_or_the_new_file(patch: str, expected: list[str], tmp_path: Path) -> None:
    store, _ = prepared(tmp_path)
    program = textwrap.dedent(
        f"""
        import os, sys
        from pathlib import Path
        from crdiff.models.unet import SDXL
        from crdiff.presets.size import Size
        from crdiff.presets.store import PresetStore
        from crdiff.presets.table import Preset
        from crdiff.method.groups import Ratios
        die = lambda *_: os._exit(7)
        {patch}
        own = Preset.own("new", SDXL, Size(640, 896), Ratios(0.1, 0.2, 0.3))
        PresetStore(Path(sys.argv[1])).save(own)
        """
    )
    done = subprocess.run([sys.executable, "-c", program, str(store.path)], cwd=ROOT, check=False)
    assert done.returncode == 7
    loaded = store.load()
    assert loaded.problems == ()
    assert [own.name for own in loaded.presets] == expected
    store.save(preset("after"))
    assert [own.name for own in store.load().presets] == [*expected, "after"]


def test_a_linked_file_stays_a_link(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere" / "real.json"
    link = tmp_path / "presets.json"
    try:
        link.symlink_to(target)
    except OSError:
        pytest.skip("this system does not let the user make symbolic links")
    PresetStore(link).save(preset("new"))
    assert link.is_symlink()
    assert [own.name for own in PresetStore(target).load().presets] == ["new"]
