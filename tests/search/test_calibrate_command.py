"""``python -m crdiff calibrate`` through a WebUI's API."""

from __future__ import annotations

import fake_webui
import pytest

from crdiff.__main__ import main
from crdiff.calibration import remote


@pytest.fixture
def webui(monkeypatch):
    monkeypatch.setattr(remote, "_POLL_S", 0.01)
    with fake_webui.running() as fake:
        yield fake


def test_what_is_asked_for_and_what_is_told(webui, tmp_path, capsys):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a cat\n\na dog\n", encoding="utf-8")
    options = [
        "--images",
        "3",
        "--prompts",
        str(prompts),
        "--size",
        "96x64",
        "--hessians",
        "--gradients",
        "--checkpoint",
        "mine",
    ]
    assert main(["calibrate", "--url", webui.url, *options, "--steps", "5", "--sampler", "Euler"]) == 0
    (body,) = webui.bodies
    wanted = {"images": 3, "prompts": ["a cat", "a dog"], "size": "96x64", "hessians": "diagonals", "gradients": True}
    assert body["calibration"] == {**wanted, "seed": 1}
    assert (body["steps"], body["sampler_name"], body["cfg_scale"]) == (5, "Euler", 7.5)
    assert body["override_settings"] == {"sd_model_checkpoint": "mine"}
    assert capsys.readouterr().out.splitlines() == ["2 images left.", "1 images left.", "0 images left."]


def test_the_webui_chooses_what_is_not_given(webui):
    assert main(["calibrate", "--url", webui.url, "--images", "1"]) == 0
    assert webui.bodies[0]["calibration"] == {
        "images": 1,
        "size": None,
        "hessians": "none",
        "gradients": False,
        "seed": 1,
    }
    assert "override_settings" not in webui.bodies[0]


def test_a_file_that_is_no_list_of_prompts_is_one_sentence(webui, tmp_path, capsys):
    empty = tmp_path / "empty.txt"
    empty.write_text("\n", encoding="utf-8")
    assert main(["calibrate", "--url", webui.url, "--prompts", str(empty)]) == 2
    assert capsys.readouterr().err == f"crdiff: {empty}: there is no prompt in this file.\n"
    assert webui.bodies == []
