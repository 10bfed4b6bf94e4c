"""Starting the demo: what it copies where, when it refuses, and its check of itself."""

from __future__ import annotations

import io
import random
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from crdiff.scoring.own import OwnScorer
from demo import selfcheck as checking
from demo.__main__ import main
from demo.prepare import provide_checkpoint, provide_presets, provide_score
from demo.scenes.draw import draw
from demo.scenes.scene import held_out


def test_presets_are_copied_once_and_never_over_the_users(tmp_path):
    shipped, data = tmp_path / "presets.json", tmp_path / "data"
    target = data / "crdiff" / "presets.json"
    assert provide_presets(shipped, data) == ""
    assert not target.exists()
    shipped.write_text("the demo's")
    assert provide_presets(shipped, data) == ""
    assert target.read_text() == "the demo's"
    assert provide_presets(shipped, data) == ""
    target.write_text("the user's")
    assert "left as it is" in provide_presets(shipped, data)
    assert target.read_text() == "the user's"
    assert sorted(path.name for path in target.parent.iterdir()) == ["presets.json"]


def test_a_link_to_nowhere_is_the_users_too(tmp_path):
    shipped = tmp_path / "presets.json"
    shipped.write_text("the demo's")
    target = tmp_path / "data" / "crdiff" / "presets.json"
    target.parent.mkdir(parents=True)
    target.symlink_to(tmp_path / "elsewhere.json")
    assert "left as it is" in provide_presets(shipped, tmp_path / "data")
    assert target.is_symlink()
    assert not (tmp_path / "elsewhere.json").exists()


def test_the_demos_score_is_a_score_of_ones_own_and_never_replaces_one(tmp_path):
    provide_score(tmp_path)
    path = tmp_path / "crdiff" / "score.py"
    scorer = OwnScorer(path)
    assert scorer.available() is None
    scorer.load()
    scene, other = held_out()[:2]
    image = Image.fromarray(draw(scene, 128, 128, random.Random(1)))
    right, wrong = (scorer.score(scorer.prepare(one.caption()), [image])[0] for one in (scene, other))
    assert wrong < right <= scorer.highest == 1.0
    assert [scorer.right(scorer.prepare(one.caption()), [image]) for one in (scene, other)] == [[True], [False]]
    scorer.close()
    path.write_text("mine", encoding="utf-8")
    provide_score(tmp_path)
    assert path.read_text(encoding="utf-8") == "mine"


def test_the_checkpoint_is_brought_up_to_date(tmp_path):
    source, models = tmp_path / "checkpoint.safetensors", tmp_path / "models"
    target = models / "Stable-diffusion" / "crdiff-demo.safetensors"
    assert "random weights" in provide_checkpoint(source, models)
    for content in (b"first", b"other"):
        source.write_bytes(content)
        assert provide_checkpoint(source, models) == ""
        assert target.read_bytes() == content
    stamp = target.stat().st_mtime_ns
    assert provide_checkpoint(source, models) == ""
    assert target.stat().st_mtime_ns == stamp


def test_an_address_that_the_console_cannot_show_stops_nothing(tmp_path, monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="cp932", write_through=True))
    assert main(["--listen", "\u00fcbung", "--data", str(tmp_path)]) == 1
    assert rb"\xfcbung" in written.getvalue()


def test_a_port_in_use_is_refused_in_one_sentence(tmp_path, capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert main(["--port", str(port), "--models", str(tmp_path / "m"), "--data", str(tmp_path / "d")]) == 1
    assert f"Port {port}" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_a_hidden_folder_that_gradio_3_serves_no_file_from_is_named():
    from common.server import unserved  # importable once `demo` is

    assert unserved(["/home/user/webui/extensions/cr-diff"]) == ""
    assert unserved(["/srv/webui", "/home/user/.local/webui/extensions/cr-diff"]) == (
        "Hidden folder .local: gradio 3 serves no file below it, so the page comes up without its scripts and styles. "
        "Put /home/user/.local/webui/extensions/cr-diff elsewhere."
    )


@pytest.fixture
def checked(server, checkpoint, monkeypatch, capsys):
    """Runs the self-check against the demo that runs already; its exit status and what it printed."""

    @contextmanager
    def running(*_):
        yield server.url

    monkeypatch.setattr(checking, "running", running)
    monkeypatch.setattr(checking, "IMAGES", 1)

    def check():
        # In a thread: playwright does not start in one where the other tests' browser is open.
        with ThreadPoolExecutor(1) as threads:
            status = threads.submit(checking.selfcheck, Path(sys.executable), checkpoint, []).result()
        return status, capsys.readouterr().out

    return check


@pytest.mark.browser
def test_selfcheck_passes(checked):
    status, said = checked()
    assert status == 0, said
    assert "API: 80x128, " in said
    assert said.count(": 1 of 80x128\n") == 3
    assert "FAILED" not in said


def test_selfcheck_fails_without_a_browser(checked, monkeypatch):
    monkeypatch.setenv("CRDIFF_CHROMIUM", "/nowhere/chromium")
    status, said = checked()
    assert status == 1
    assert said.count("FAILED") == 1
    assert "FAILED: browser: Chromium does not start" in said


def test_selfcheck_fails_when_crdiff_does_not_act(checked, monkeypatch):
    monkeypatch.setenv("CRDIFF_CHROMIUM", "/nowhere/chromium")
    monkeypatch.setattr(checking, "RATIOS", {"enabled": True, "preset": "auto"})
    status, said = checked()
    assert status == 1
    assert "FAILED: API: CR-Diff did not act" in said


@pytest.mark.parametrize("more", [[], ["--selfcheck"]])
def test_a_checkpoint_that_is_not_there_is_told_in_one_sentence(more, tmp_path, capsys):
    missing = tmp_path / "nope"
    assert main(["--checkpoint", str(missing), "--models", str(tmp_path / "m"), *more]) == 1
    assert capsys.readouterr().out == f"There is no checkpoint {missing}.\n"
    assert not list(tmp_path.iterdir())


def test_selfcheck_fails_when_the_demo_does_not_start(checkpoint, capsys):
    assert checking.selfcheck(Path(sys.executable), checkpoint, ["--host-flavour", "comfy"]) == 1
    assert "FAILED: the demo did not start: " in capsys.readouterr().out
