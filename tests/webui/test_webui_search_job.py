"""The search as a job of the stand-in host, in both flavours."""

from __future__ import annotations

import html
import json
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest

PROMPT = "a small red house"
VERSION_1_0_0 = Path(__file__).with_name("version_1_0_0")
"""Journals that version 1.0.0 wrote of ``searched(host)``: four evaluations of all three ratios, and of up alone."""


def searched(host: Any, **plan: Any) -> dict[str, Any]:
    """A search by the API, and what the host says of it."""
    fields = plan.pop("fields", {})
    return outcome(host, {"score": "own", "evaluations": 4, **plan}, fields)


def outcome(host: Any, plan: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    request = {"prompt": PROMPT, "seed": 5, "steps": 2, "width": 64, "height": 96, **fields}
    result = host.txt2img(request, script_name="CR-Diff search", script_args=[json.dumps(plan)])
    monitor = context_of().monitor
    status = monitor.status
    return {
        "summary": result.info["extra_generation_params"]["CR-Diff search"],
        "texts": result.infotexts,
        "sizes": [image.size for image in result.images],
        "pixels": [image.tobytes() for image in result.images],
        "state": status.state,
        "message": status.message,
        "seeds": status.seeds,
        "journal": status.journal,
        "panel": panel(monitor),
        "tried": [entry.point.to_dict() for entry in status.report.history],
    }


def panel(monitor: Any) -> str:
    from crdiff.webui.search.panel import panel_html

    return panel_html(monitor.status, monitor.version)


def context_of() -> Any:
    from modules import script_loading

    return next(m for path, m in script_loading.loaded_scripts.items() if path.endswith("cr_diff.py")).search


def searched_as_a_file_of_many(host: Any) -> str:
    """As a host's Batch tab of img2img calls the script: for each file, with its number in the state."""
    from modules import scripts, shared

    script = next(x for x in scripts.scripts_img2img.selectable_scripts if x.title() == "CR-Diff search")
    shared.state.job = "1 out of 3"
    try:
        script.run(object(), json.dumps({"score": "own"}))
    except Exception as error:
        return str(error)
    finally:
        shared.state.job = ""
    return ""


def test_the_batch_tab_is_not_searched_file_by_file(host: Any) -> None:
    assert host.run(searched_as_a_file_of_many).startswith("The Batch tab cannot be searched: ")


def before_a_search(host: Any, own: dict[str, Any] | None = None) -> dict[str, Any]:
    scripts = {"alwayson_scripts": {"CR-Diff": {"args": [own]}}} if own else {}
    picture = host.txt2img(prompt=PROMPT, seed=5, steps=2, width=64, height=96, **scripts)
    return {"pixels": picture.images[0].tobytes(), "text": picture.infotexts[0]}


def options_of(host: Any) -> dict[str, Any]:
    return {**dict(host.shared.opts.data), "history": host.shared.cmd_opts.no_prompt_history,
            "loaded": host.shared.sd_model.sd_checkpoint_info.name_for_extra}  # fmt: skip


def count(data: Path) -> int:
    log = data / "crdiff" / "score.log"
    return len(log.read_text(encoding="utf-8").splitlines()) if log.exists() else 0


def test_no_scorer_is_loaded_before_a_search(host: Any) -> None:
    assert host.loaded_at_start == []


def test_search_ends_with_the_best_image_beside_the_dense_one(host: Any) -> None:
    plain = host.run(before_a_search)
    (host.data / "params.txt").write_text("mine", encoding="utf-8")
    options = host.run(options_of)
    seen = host.run(searched, evaluations=6)
    assert (seen["state"], seen["summary"]["state"]) == ("done", "done"), seen["message"]
    assert seen["summary"]["evaluations"] == 6
    best = seen["summary"]["best"]
    assert best["score"] > seen["summary"]["dense"]["score"]
    assert best["k"] == 1.5  # the user's
    assert seen["sizes"] == [(64, 96)] * 2
    assert seen["pixels"][1] == plain["pixels"]
    assert seen["pixels"][0] != plain["pixels"]
    for group in ("down", "mid", "up"):
        assert f"CR-Diff {group}: {best[group]:.4g}," in seen["texts"][0]
    assert "CR-Diff k: 1.5" in seen["texts"][0]
    assert "CR-Diff" not in seen["texts"][1]
    assert "data-crdiff-apply" in seen["panel"]
    assert seen["panel"].count("<figure>") == 2
    # The host is as it was: its settings, its last infotext, its next picture, its outputs.
    assert host.run(options_of) == options
    assert (host.data / "params.txt").read_text(encoding="utf-8") == "mine"
    assert host.run(before_a_search)["text"] == plain["text"]
    assert not list(host.data.rglob("*.png"))
    # Generate after Apply draws the very image; over stages too.
    assert host.run(before_a_search, best_applied(seen))["pixels"] == seen["pixels"][0]
    stages = [{"from": 0.0, "down": 0.5, "mid": 0.4, "up": 0.3, "k": 1.5},
              {"from": 0.5, "down": 0.8, "mid": 0.8, "up": 0.8, "k": 2.0}]  # fmt: skip
    staged = host.run(searched, evaluations=2, starts=[{"stages": stages}], vary=["down", "k"], stages=2)
    assert staged["summary"]["best"]["stages"] == stages
    assert "CR-Diff stages: 0.5/0.4/0.3/1.5; 0.8/0.8/0.8/2 from 0.5" in staged["texts"][0]
    assert "0.500 → 0.800" in staged["panel"]
    drawn = host.run(before_a_search, best_applied(staged))
    assert drawn["pixels"] == staged["pixels"][0] != seen["pixels"][0]
    assert drawn["text"] == staged["texts"][0]


def best_applied(seen: dict[str, Any]) -> dict[str, Any]:
    """The settings after Apply below the best image."""
    (values,) = set(re.findall(r'data-crdiff-apply="([^"]*)"', seen["panel"].split("</figure>")[1]))
    return {"enabled": True, "preset": "custom", **json.loads(html.unescape(values))}


def test_the_same_search_goes_on_where_it_was_and_draws_nothing_twice(host: Any) -> None:
    first = host.run(searched, evaluations=3, prompts=["one", "two"], seeds=[1, 2])
    before = count(host.data)
    again = host.run(searched, evaluations=3, prompts=["one", "two"], seeds=[1, 2])
    assert count(host.data) == before  # the two images at the end, which no journal keeps, are not scored again
    assert again["journal"] == first["journal"]
    assert again["summary"] == first["summary"]
    more = host.run(searched, evaluations=5, prompts=["one", "two"], seeds=[1, 2])
    assert more["journal"] == first["journal"]
    assert more["summary"]["evaluations"] == 5
    assert (host.data / "crdiff" / "searches" / first["journal"]).is_file()


@pytest.mark.one_host
def test_k_can_be_searched_for_too(host: Any) -> None:
    """With a seed at random, which is the same for every image."""
    seen = host.run(searched, vary=["k", "up"], k=[1.2, 2.0], seeds=[-1])
    (seed,) = seen["seeds"]
    assert seed >= 0 and seen["panel"].count(f"Image seeds: {seed}.") == 1
    assert all(f"Seed: {seed}," in text for text in seen["texts"])
    varied = [point["k"] for point in seen["tried"] if point["down"] > 0.0]
    assert len(varied) == 3
    assert all(1.2 <= k <= 2.0 for k in varied[1:])  # the first is where the search starts
    assert len(set(varied)) > 1 or len({point["up"] for point in seen["tried"]}) > 2


@pytest.mark.one_host
@pytest.mark.parametrize(
    ("own", "down", "mid"),
    [
        ({"preset": "custom", "down": 0.482, "mid": 0.396, "up": 0.469}, 0.482, 0.396),
        ({"preset": "SD1.x 768x768"}, 0.185, 0.445),
        ({"preset": "auto"}, 0.446, 0.346),  # between the presets of the family, at this size
    ],
    ids=["sliders", "preset", "auto"],
)
def test_ratios_that_are_not_varied_stay_as_the_accordion_has_them(
    host: Any, own: dict[str, Any], down: float, mid: float
) -> None:
    fields = {"cfg_scale": 7.0, "alwayson_scripts": {"CR-Diff": {"args": [own]}}}
    seen = host.run(searched, vary=["up"], evaluations=5, fields=fields)
    assert seen["state"] == "done", seen["message"]
    tried = {(round(point["down"], 3), round(point["mid"], 3)) for point in seen["tried"]}
    assert tried == {(0.0, 0.0), (down, mid)}  # the dense model and the user's
    assert len({point["up"] for point in seen["tried"]}) == 5
    again = host.run(searched, vary=["up"], evaluations=5, fields=fields)
    assert (again["journal"], again["tried"]) == (seen["journal"], seen["tried"])


@pytest.mark.one_host
def test_ratios_that_are_not_varied_are_those_of_a_given_start(host: Any) -> None:
    starts = [{"down": 0.0, "mid": 0.0, "up": 0.0, "k": 0.0}, {"down": 0.482, "mid": 0.396, "up": 0.469, "k": 1.0}]
    seen = host.run(searched, vary=["up"], starts=starts, evaluations=5)
    held = {(point["down"], point["mid"], point["k"]) for point in seen["tried"]}
    assert held == {(0.0, 0.0, 0.0), (0.482, 0.396, 1.0)}
    own = {"preset": "custom", "stages": "0.1/0.1/0.1; 0.7/0.7/0.7 from 0.5"}
    fields = {"alwayson_scripts": {"CR-Diff": {"args": [own]}}}
    paper = host.run(searched, trial_k=1.0, evaluations=3, fields=fields)
    assert {point["k"] for point in paper["tried"]} == {0.0, 1.0}
    assert "stages" not in "".join(paper["texts"])  # they give way to the ratios that are searched


@pytest.mark.one_host
@pytest.mark.parametrize(("name", "held"), [("all-ratios", None), ("one-ratio", (0.3, 0.3))])
def test_a_search_of_version_1_0_0_is_resumed(
    host: Any, target: str, name: str, held: tuple[float, float] | None
) -> None:
    """What it did not vary stays at 0.3, where that version held it."""
    lines = (VERSION_1_0_0 / f"{target}-{name}.jsonl").read_text(encoding="utf-8").splitlines()
    head = json.loads(lines[0])
    head["checkpoint"] = host.run(selected_hash)  # torch's random weights may differ from version to version
    journal = host.data / "crdiff" / "searches" / f"{name}.jsonl"
    journal.parent.mkdir(exist_ok=True)
    journal.write_text("\n".join([json.dumps(head), *lines[1:]]) + "\n", encoding="utf-8")
    old = [json.loads(line)["point"] for line in lines if '"kind":"evaluation"' in line]
    before = count(host.data)
    plan = {**head["search"], "evaluations": 4, "journal": journal.name}
    seen = host.run(searched, **plan, fields={"steps": 7, "width": 128})  # the journal's own settings count
    assert (seen["state"], seen["tried"]) == ("done", old), seen["message"]
    assert count(host.data) == before
    more = host.run(searched, **{**plan, "evaluations": 6})
    assert more["tried"][: len(old)] == old
    assert more["summary"]["evaluations"] == 6
    if held:
        assert {(point["down"], point["mid"]) for point in more["tried"][3:]} == {held}


def selected_hash(host: Any) -> str:
    return host.get("/crdiff/v1/checkpoint")["sha256"]


def interrupted(host: Any, steps: int, **plan: Any) -> dict[str, Any]:
    """Presses Interrupt once three evaluations are done."""
    state, monitor = host.shared.state, context_of().monitor

    def press() -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            report = monitor.status.report
            if monitor.status.state == "running" and report is not None and report.evaluations >= 3:
                state.interrupt()
                return
            time.sleep(0.01)

    monitor.status = type(monitor.status)()
    presser = threading.Thread(target=press)
    presser.start()
    found = outcome(host, {"score": "own", "evaluations": 500, **plan}, {"steps": steps})
    presser.join()
    found["interrupted"] = state.interrupted
    return found


def test_an_interrupt_keeps_the_best(host: Any) -> None:
    seen = host.run(interrupted, 3)
    assert seen["state"] == "stopped"
    assert seen["message"] == "The search was stopped; the best so far is kept."
    assert 3 <= seen["summary"]["evaluations"] < 500
    assert len(seen["sizes"]) == 2
    again = host.run(interrupted, 3)
    assert again["summary"]["evaluations"] > seen["summary"]["evaluations"] - 1
    assert again["journal"] == seen["journal"]


def waiting_and_stopped(host: Any) -> list[str]:
    """What the page is shown while a search it asked for waits, when it no longer does, and after Stop."""
    from crdiff.webui.search.controls import SearchControls
    from modules import progress

    context = context_of()
    monitor, controls = context.monitor, SearchControls(context, "txt2img")
    said = json.dumps({"version": monitor.version, "answer": "", "asked": monitor.version})
    progress.pending_tasks["task(somebody's)"] = 0.0
    waiting = controls._reported(said)[0]
    progress.pending_tasks.clear()
    over = controls._reported(said)[0]
    before = monitor.status
    monitor.begin(type(before)("running"))
    said, stopping = controls._stopped()
    host.shared.state.interrupted = False
    monitor.begin(before)
    return [waiting, str(over), said, stopping]


def test_a_search_that_waits_shows_no_other_ones_result_and_stop_says_one_thing(host: Any) -> None:
    waiting, over, said, stopping = host.run(waiting_and_stopped)
    assert "Waiting in the host's queue." in html.unescape(waiting) and "crdiff-apply" not in waiting
    assert "Waiting" not in over
    assert said == "" and "Stopping after this image." in stopping


def switched(host: Any) -> dict[str, Any]:
    """Another checkpoint is chosen while the search runs."""
    opts, monitor = host.shared.opts, context_of().monitor

    def choose() -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            report = monitor.status.report
            if monitor.status.state == "running" and report is not None and report.evaluations >= 2:
                opts.data["sd_model_checkpoint"] = "sd1-b"
                return
            time.sleep(0.01)

    before = opts.data.get("sd_model_checkpoint")
    monitor.status = type(monitor.status)()
    chooser = threading.Thread(target=choose)
    chooser.start()
    try:
        return outcome(host, {"score": "own", "evaluations": 500}, {"cfg_scale": 3.0})
    finally:
        chooser.join()
        opts.data["sd_model_checkpoint"] = before


def test_a_switched_checkpoint_ends_the_search(host: Any) -> None:
    seen = host.run(switched)
    assert seen["state"] == "failed"
    assert "The checkpoint was switched during the search; the best so far is kept." in seen["message"]
    assert seen["summary"]["evaluations"] >= 2


def test_a_score_that_breaks_ends_with_one_sentence(host: Any) -> None:
    broken = host.data / "crdiff" / "broken"
    broken.touch()
    try:
        seen = host.run(searched, evaluations=50, fields={"cfg_scale": 4.0})
    finally:
        broken.unlink()
    assert seen["state"] == "failed"
    assert "the scorer is broken" in seen["message"]
    mended = host.run(searched, evaluations=2, fields={"cfg_scale": 4.0})
    assert mended["state"] == "done"
    assert mended["journal"] == seen["journal"]


def refused(host: Any, plan: Any) -> tuple[int, str]:
    try:
        host.txt2img(script_name="CR-Diff search", script_args=[json.dumps(plan)])
    except RuntimeError as error:
        return error.status_code, str(error.body)
    return 200, ""


@pytest.mark.parametrize(
    ("plan", "named"),
    [({"vary": ["middle"]}, "middle"), ({"score": "nothing"}, "nothing"), ({"scores": 1}, "scores")],
)
def test_what_cannot_be_searched_is_refused(host: Any, plan: Any, named: str) -> None:
    status, text = host.run(refused, {"score": "own", **plan})
    assert status == 422
    assert named in text


def with_hires(host: Any) -> dict[str, Any]:
    fields = {"cfg_scale": 6.0, "batch_size": 2, "n_iter": 2, "enable_hr": True, "denoising_strength": 0.6}
    fields |= {"hr_scale": 1.5, "hr_additional_modules": ["Use same choices"]}
    return outcome(host, {"score": "own", "evaluations": 3}, fields)


def test_trials_are_single_images_without_hires(host: Any) -> None:
    before = count(host.data)
    seen = host.run(with_hires)
    assert seen["sizes"] == [(96, 144)] * 2
    lines = (host.data / "crdiff" / "score.log").read_text(encoding="utf-8").splitlines()[before:]
    assert [json.loads(line)[1][0] for line in lines] == [[64, 96]] * 3
