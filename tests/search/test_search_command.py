"""``python -m crdiff search`` through a WebUI's API, alone and as workers of one study."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import fake_webui
import optuna
import pytest
from problems import hill

from crdiff.__main__ import main
from crdiff.presets.own_document import from_text
from crdiff.search import remote
from crdiff.search.remote import grids
from crdiff.search.strategies.point import Point

ROOT = Path(__file__).resolve().parents[2]
VERSION_1_0_0 = Path(__file__).with_name("version_1_0_0")
"""Journals as version 1.0.0 wrote them, of this module's search with four evaluations, over three axes and over one."""

optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture
def webui(monkeypatch):
    monkeypatch.setattr(remote, "_RETRY_S", 0.01)
    with fake_webui.running() as fake:
        yield fake


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("a cat\n\na dog\n", encoding="utf-8")
    return path


def command(webui, prompts, *more, sizes=("400x560",), evaluations=6, out="presets.json"):
    words = ["search", "--url", webui.url, "--prompts", str(prompts), "--sizes", *sizes, "--seeds", "1", "2"]
    return [*words, "--evaluations", str(evaluations), "--out", str(prompts.with_name(out)), *more]


def presets(folder, out="presets.json"):
    return from_text((folder / out).read_bytes())


def scores(path):
    """A journal's lines without what differs from run to run."""
    entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in entry.items() if key != "seconds"} for entry in entries]


def journal(folder, searches="presets.searches"):
    (path,) = (folder / searches).glob("*.jsonl")
    return path


def test_each_size_gets_a_preset_of_this_checkpoint(webui, prompts, tmp_path, capsys):
    assert main(command(webui, prompts, "--steps", "3", sizes=["400x560", "480x360"])) == 0
    found = presets(tmp_path)
    assert [(preset.name, str(preset.size)) for preset in found] == [
        ("fake model 400x560", "400x560"),
        ("fake model 480x360", "480x360"),
    ]
    for preset in found:
        assert preset.limited
        assert preset.checkpoints == {fake_webui.SHA256}
        assert preset.k == 1.0  # that of its trials
        mine = [hill(Point.of(preset.ratios, 1.5), prompt, seed) for prompt in ("a cat", "a dog") for seed in (1, 2)]
        assert f"own {sum(mine) / 4:.4f}, dense" in preset.note
    assert {entry[:2] for entry in webui.asked} == {(400, 560), (480, 360)}
    assert {body["steps"] for body in webui.bodies} == {3}
    assert len(webui.bodies) == 12  # a configuration is one request, whatever its images
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "fake: model, 400x560: own of 4 images for each configuration."
    assert sum("best" in line and line.startswith("  ") for line in lines) >= 12
    # The same command measures nothing again, and a greater budget goes on.
    assert main(command(webui, prompts, "--steps", "3", sizes=["400x560", "480x360"])) == 0
    assert len(webui.bodies) == 12
    assert main(command(webui, prompts, "--steps", "3", evaluations=9)) == 0
    assert len(webui.bodies) == 15
    capsys.readouterr()
    # So does a comparison on fresh seeds, which draws nothing twice either.
    asked = len(webui.asked)
    for seeds in ("3", "4", "4"):
        assert main(command(webui, prompts, "--steps", "3", "--fresh-seeds", seeds, evaluations=9)) == 0
    assert {seed for _, _, _, seed, _ in webui.asked[asked:]} == {3, 4, 5, 6}
    assert len(webui.asked[asked:]) == len(set(webui.asked[asked:]))
    (preset,) = [preset for preset in presets(tmp_path) if str(preset.size) == "400x560"]
    places = [(prompt, seed) for seed in (5, 6) for prompt in ("a cat", "a dog")]
    start = next(point for *_, point in webui.asked if any(point))
    gains = [hill(Point.of(preset.ratios, 1.5), *one) - hill(Point(*start[:3], 1.5), *one) for one in places]
    told = f"On 4 images with fresh seeds it gains {sum(gains) / 4:+.3f}"
    assert capsys.readouterr().out.count(told) == 2
    assert f"; gain on fresh seeds {sum(gains) / 4:+.3f} (" in preset.note


def test_k_is_kept_where_it_was_searched_for(webui, prompts, tmp_path, capsys):
    """And a preset file that is none is kept too, and said."""
    (tmp_path / "presets.json").write_text("{broken", encoding="utf-8")
    assert main(command(webui, prompts, "--vary", "up", "k", "--k", "1.2", "2.0", "--temperature", "0")) == 0
    assert scores(journal(tmp_path))[0]["strategy"]["schedule"]["relative"] is True
    (preset,) = presets(tmp_path)
    assert 1.0 <= preset.k <= 2.0
    assert "the file was moved aside to presets.json.bak." in capsys.readouterr().out
    assert (tmp_path / "presets.json.bak").read_text(encoding="utf-8") == "{broken"


@pytest.mark.parametrize(("family", "held"), [("sd15", (0.319, 0.24)), ("flux", (0.1, 0.1))])
def test_ratios_that_are_not_varied_are_those_of_the_sizes_preset(family, held, webui, prompts):
    """Of presets/sd15.json; there is none for transformers."""
    webui.family = family
    assert main(command(webui, prompts, "--vary", "up", evaluations=3)) == 0
    assert {point[:2] for *_, point in webui.asked} == {(0.0, 0.0), held}  # dense, and the start's


def test_journals_of_version_1_0_0_are_continued_by_the_same_command_and_by_no_other(webui, prompts, tmp_path):
    """Its searches held what they did not vary at 0.3, so that one over a single axis is another search now."""
    searches = tmp_path / "presets.searches"
    shutil.copytree(VERSION_1_0_0, searches)
    before = {path.name: path.read_bytes() for path in searches.iterdir()}
    assert main(command(webui, prompts, evaluations=4)) == 0
    assert webui.asked == []
    assert main(command(webui, prompts, evaluations=5)) == 0
    assert len(webui.asked) == 4  # the images of the fifth configuration
    assert main(command(webui, prompts, "--vary", "up", evaluations=4)) == 0
    after = {path.name: path.read_bytes() for path in searches.iterdir()}
    assert len(after) == 3
    assert sum(after[name] == content for name, content in before.items()) == 1
    assert all(after[name].startswith(content) for name, content in before.items())


def test_searches_over_k_that_start_from_different_ones_have_journals_of_their_own(webui, prompts, tmp_path):
    for k in ("1", "1.5", "1"):
        assert main(command(webui, prompts, "--vary", "k", "--trial-k", k, evaluations=2)) == 0
    assert len(list((tmp_path / "presets.searches").iterdir())) == 2


def test_racing_leaves_images_out_and_the_best_is_measured_in_full(webui, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\n".join(f"prompt {number}" for number in range(10)), encoding="utf-8")
    assert main(command(webui, prompts, evaluations=20)) == 0
    whole = len(webui.asked)
    assert main(command(webui, prompts, "--racing", "likely", evaluations=20, out="raced.json")) == 0
    assert len(webui.asked) - whole < whole
    (preset,) = presets(tmp_path, "raced.json")
    mine = [hill(Point.of(preset.ratios, 1.5), f"prompt {number}", seed) for number in range(10) for seed in (1, 2)]
    told = float(preset.note.partition("own ")[2].partition(",")[0])
    assert told == pytest.approx(sum(mine) / 20, abs=2e-4)  # a preset's ratios are rounded
    # It too goes on where it was.
    before = len(webui.asked)
    assert main(command(webui, prompts, "--racing", "likely", evaluations=20, out="raced.json")) == 0
    assert len(webui.asked) == before


def started(webui, prompts, *more, **values):
    words = [sys.executable, "-m", "crdiff", *command(webui, prompts, *more, **values)]
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def until(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_killed_in_an_evaluation_it_goes_on_to_the_same_end(webui, prompts, tmp_path):
    webui.seconds = 0.2
    process = started(webui, prompts, evaluations=7)
    until(lambda: len(webui.bodies) >= 4)
    process.kill()
    process.communicate()
    webui.seconds = 0.0
    assert not (tmp_path / "presets.json").exists()
    assert main(command(webui, prompts, evaluations=7)) == 0
    assert main(command(webui, prompts, evaluations=7, out="whole.json")) == 0
    assert scores(journal(tmp_path)) == scores(journal(tmp_path, "whole.searches"))
    assert presets(tmp_path) == presets(tmp_path, "whole.json")


def test_ctrl_c_keeps_the_best_so_far(webui, prompts, tmp_path):
    webui.seconds = 0.1
    process = started(webui, prompts, evaluations=100)
    until(lambda: len(webui.bodies) >= 4)
    webui.seconds = 60.0
    until(lambda: len(webui.bodies) >= 5)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "The search was stopped; the best so far is kept." in said
    assert len(presets(tmp_path)) == 1


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (["--score", "beauty"], "There is no score 'beauty'."),
        (["--auth", "me"], "A user and password are written USER:PASSWORD."),
        (["--url", "ftp://here"], "The address of a WebUI looks like http://127.0.0.1:7860, not 'ftp://here'."),
        (["--url", "http://127.0.0.1:9"], "The WebUI at http://127.0.0.1:9 cannot be reached ("),
        (["--sizes", "400"], "A size is written HEIGHTxWIDTH, such as 400x560, not '400'."),
        (["--ratios", "0.8", "0.1"], "The lower bound of down (0.8) must be less than the upper one (0.1)."),
        (["--seeds", "5", "-1"], "--seeds must be an integer of at least 0, not -1."),
        (["--steps", "0"], "--steps must be an integer of at least 1, not 0."),
        (["--cfg-scale", "nan"], "--cfg-scale must be a finite number, not nan."),
        (["--out", "."], "this is a folder; --out is the preset file."),
        (["--out", "no/such/presets.json"], "to write the preset file to."),
        (["--sampler", "Eulr"], "The WebUI has no sampler 'Eulr'; it has Euler a, DPM++ 2M."),
        (["--temperature", "-1"], "--temperature must be a number of at least 0, not -1."),
        (["--fresh-seeds", "-1"], "--fresh-seeds must be an integer of at least 0, not -1."),
        (["--trial-k", "0"], "--trial-k must not be 0"),
        (["--evaluations", "-1"], "The budget of evaluations must be an integer of at least 1, not -1."),
        (["--strategy", "cmaes", "--storage", "sqlite://"], "A search by cmaes cannot be shared by several workers"),
        (["--racing", "likely", "--storage", "sqlite://"], "A search shared by several workers draws every image"),
    ],
)
def test_what_cannot_start_is_one_sentence(webui, prompts, change, sentence, capsys):
    assert main([*command(webui, prompts), *change]) == 2
    said = capsys.readouterr()
    assert sentence in said.out + said.err
    assert "Traceback" not in said.err


def test_a_file_without_prompts(webui, prompts, capsys):
    prompts.write_text("\n \n", encoding="utf-8")
    assert main(command(webui, prompts)) == 2
    assert "there is no prompt in this file." in capsys.readouterr().err


def test_a_password(webui, prompts, capsys, monkeypatch):
    webui.password = "me:secret"
    assert main(command(webui, prompts, "--auth", "me:wrong")) == 2
    assert "asks for another user and password; give them with --auth USER:PASSWORD." in capsys.readouterr().err
    assert main(command(webui, prompts, "--auth", "me:secret", evaluations=2)) == 0
    monkeypatch.setenv("CRDIFF_AUTH", "me:secret")
    assert main(command(webui, prompts, evaluations=3)) == 0


def changing(webui, number, change):
    """Calls ``change`` when ``number`` evaluations were asked for."""
    whole = webui._measured

    def measured(body):
        if len(webui.bodies) == number:
            change()
        return whole(body)

    webui._measured = measured


def test_a_switched_checkpoint_ends_with_the_best_and_mixes_nothing(webui, prompts, tmp_path, capsys):
    changing(webui, 4, lambda: setattr(webui, "sha256", "4" * 64))
    assert main(command(webui, prompts)) == 2
    assert "The checkpoint was switched during the search; the best so far is kept." in capsys.readouterr().out
    assert len(presets(tmp_path)) == 1
    assert sum(entry.get("kind") == "evaluation" for entry in scores(journal(tmp_path))) <= 5
    webui.sha256 = fake_webui.SHA256
    assert main(command(webui, prompts)) == 0
    assert main(command(webui, prompts, out="whole.json")) == 0
    assert scores(journal(tmp_path)) == scores(journal(tmp_path, "whole.searches"))


def test_a_webui_that_fails_ends_with_its_sentence(webui, prompts, capsys):
    changing(webui, 3, lambda: setattr(webui, "message", "the scorer is broken"))
    assert main(command(webui, prompts, evaluations=30)) == 2
    assert "The search ended after 5 failed evaluations in a row; the last one: the scorer is broken" in (
        capsys.readouterr().out
    )
    assert len(webui.bodies) == 3 + 5


def test_a_webui_that_goes_away_is_waited_for(webui, prompts, tmp_path):
    changing(webui, 3, lambda: setattr(webui, "drop", 4))
    assert main(command(webui, prompts)) == 0
    assert main(command(webui, prompts, out="whole.json")) == 0
    assert scores(journal(tmp_path)) == scores(journal(tmp_path, "whole.searches"))


def test_a_webui_that_stays_away_ends_with_the_best(webui, prompts, tmp_path, capsys):
    changing(webui, 4, lambda: setattr(webui, "drop", 10**6))
    assert main(command(webui, prompts, "--wait", "0.001")) == 2
    assert "cannot be reached" in capsys.readouterr().out
    assert len(presets(tmp_path)) == 1


def test_three_workers_share_a_study_and_one_is_killed(webui, prompts, tmp_path):
    webui.seconds = 0.1
    storage = f"journal://{tmp_path / 'study.log'}"
    workers = [started(webui, prompts, "--storage", storage, evaluations=18, out=f"{n}.json") for n in range(3)]
    try:
        until(lambda: len(webui.bodies) >= 8)
        workers[0].kill()
        said = [worker.communicate(timeout=120)[0] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [-signal.SIGKILL, 0, 0]
    backend = optuna.storages.journal.JournalFileBackend(
        str(tmp_path / "study.log"),
        lock_obj=optuna.storages.journal.JournalFileOpenLock(str(tmp_path / "study.log")),
    )
    study = optuna.load_study(study_name="cr-diff 400x560", storage=optuna.storages.JournalStorage(backend))
    states = [trial.state.name for trial in study.get_trials()]
    assert 18 <= states.count("COMPLETE") <= 20
    assert len(states) - states.count("COMPLETE") <= 1
    assert all("The budget of 18 evaluations is used up." in said[number] for number in (1, 2))
    # The worker that ends last, or joins later and draws nothing, has the best of all.
    asked = len(webui.bodies)
    assert main(command(webui, prompts, "--storage", storage, evaluations=18, out="late.json")) == 0
    assert len(webui.bodies) == asked
    late = presets(tmp_path, "late.json")[0]
    assert list(late.ratios) == pytest.approx([study.best_params[name] for name in ("down", "mid", "up")], abs=1e-4)
    assert late.ratios in [presets(tmp_path, f"{number}.json")[0].ratios for number in (1, 2)]


def test_images_as_grids():
    whole = [("a", 1), ("b", 1), ("a", 2), ("b", 2)]
    assert grids(whole) == grids([whole[0], whole[3], whole[2], whole[1]]) == [(["a", "b"], [1, 2])]
    assert grids(whole[1:]) == [(["b"], [1]), (["a", "b"], [2])]
