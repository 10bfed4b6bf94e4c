"""The search by the host's API: asked for, watched, stopped, refused."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from search_requests import BODY, asked, done, waited

ANSWER = {"state", "message", "seeds", "evaluations", "dense", "best", "gain", "history"}


def drawn_with(host: Any, found: dict[str, Any]) -> float:
    """The score of the picture that the host's own API draws with what was found."""
    import numpy

    own = {"enabled": True, **{name: found[name] for name in ("down", "mid", "up", "k")}}
    image = host.txt2img(BODY, alwayson_scripts={"cr-diff": {"args": [own]}}).images[0]
    return -float(numpy.asarray(image).mean()) / 255


def files(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*") if path.suffix in (".png", ".txt")}


def test_a_search_is_asked_for_and_watched(host: Any) -> None:
    before = files(host.data)
    plan = {"evaluations": 5, "racing": "off"}
    seen = host.run(done, plan)
    assert set(seen) == ANSWER
    assert (seen["state"], seen["message"], seen["evaluations"]) == (
        "done",
        "The budget of 5 evaluations is used up.",
        5,
    )
    assert set(seen["dense"]) == {"score"}
    assert set(seen["best"]) == {"score", "down", "mid", "up", "k"}
    scores = [entry["score"] for entry in seen["history"] if entry["score"] is not None]
    assert seen["best"]["score"] == max(scores) > seen["dense"]["score"]
    assert [entry["number"] for entry in seen["history"]] == list(range(1, len(seen["history"]) + 1))
    assert files(host.data) == before
    # What is reported is what drawing with it gives.
    assert host.run(drawn_with, seen["best"]) == pytest.approx(seen["best"]["score"], abs=1e-9)
    # The same request goes on with what was measured, at no cost.
    log = host.data / "crdiff" / "score.log"
    lines = len(log.read_text(encoding="utf-8").splitlines())
    assert host.run(done, plan) == seen
    assert len(log.read_text(encoding="utf-8").splitlines()) == lines


def stopped_while_running_and_waiting(host: Any) -> dict[str, Any]:
    first = asked(host, {"score": "own", "evaluations": 400, "seed": 5})
    second = asked(host, {"score": "own", "evaluations": 400, "seed": 6})
    waited(host, first, lambda answer: answer["evaluations"] >= 3)
    watched = host.get(f"/crdiff/v1/search/{first}")
    waiting = host.get(f"/crdiff/v1/search/{second}")
    progress = host.get("progress")["state"]["job"]
    answers = [host.client.delete(f"/crdiff/v1/search/{name}").json() for name in (second, first)]
    again = host.client.delete(f"/crdiff/v1/search/{first}").json()
    ends = [waited(host, name) for name in (second, first)]
    after = host.txt2img(BODY).infotexts[0]
    return {"watched": watched, "waiting": waiting, "progress": progress, "answers": answers, "ends": ends,
            "again": again, "after": after}  # fmt: skip


def test_searches_wait_for_one_another_and_a_stop_keeps_the_best(host: Any) -> None:
    seen = host.run(stopped_while_running_and_waiting)
    assert seen["watched"]["state"] == "running"
    assert "of 400 evaluations" in seen["watched"]["message"]
    assert (seen["waiting"]["state"], seen["waiting"]["evaluations"]) == ("running", 0)
    assert seen["waiting"]["message"] == "Waiting in the host's queue."
    assert seen["progress"] == "scripts_txt2img"
    waiting, running = seen["ends"]
    assert (waiting["state"], waiting["message"]) == ("stopped", "The search was stopped before it began.")
    assert waiting["history"] == []
    assert running["state"] == "stopped"
    assert running["message"].startswith("The search was stopped; the best so far is kept.")
    assert running["best"]["score"] >= running["dense"]["score"]
    assert 3 <= running["evaluations"] < 400
    assert seen["answers"] == [waiting, running]
    assert seen["again"] == running
    assert "Steps: 2" in seen["after"]


def interrupted(host: Any) -> dict[str, Any]:
    name = asked(host, {"score": "own", "evaluations": 400, "seed": 7})
    waited(host, name, lambda answer: answer["evaluations"] >= 2)
    host.post("interrupt")
    return waited(host, name)


def test_the_hosts_own_interrupt_stops_it_too(host: Any) -> None:
    seen = host.run(interrupted)
    assert seen["state"] == "stopped"
    assert seen["best"]["score"] >= seen["dense"]["score"]


def refused(host: Any, body: Any) -> tuple[int, Any]:
    answer = host.client.post("/crdiff/v1/search", json=body)
    return answer.status_code, answer.json()["detail"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"search": {"evaluation": 4}}, "A search has no key 'evaluation'"),
        (
            {"search": {"evaluations": "forty"}},
            "evaluations of a search must be an integer of at least 1, not 'forty'.",
        ),
        ({"search": {"evaluations": 0}}, "evaluations of a search must be an integer of at least 1, not 0."),
        ({"search": {"minutes": "all night"}}, "The budget of minutes must be a number above 0, not 'all night'."),
        ({"search": {"evaluations": None}}, "A search needs a budget of evaluations or of minutes."),
        ({"search": {"score": "beauty"}}, "There is no score 'beauty'"),
        ({"search": {"score": "eye"}}, "Your own eye can only be asked by the page"),
        ({"search": {"seeds": "1, 2"}}, "seeds of a search must be a list"),
        ({"search": {"journal": "gone.jsonl"}}, "There is no journal 'gone.jsonl' to go on with."),
        ({"search": {"seeds": [1.5]}}, "An image seed of a search must be an integer in"),
        ({"search": {"prompts": [7]}}, "The prompts of a search must be a list of texts"),
        ({"search": {"vary": [["down"]]}}, "vary of a search must hold names, not ['down']."),
        ({"search": {"vary": ["middle"]}}, "A search can vary down, mid, up, k, not 'middle'."),
        ({"search": {"starts": [1]}}, "starts of a search must be objects"),
        ({"search": []}, "A search must be an object"),
        ({"evaluations": 4}, 'evaluations belongs in the object "search" of the request.'),
        ({"steps": "many"}, "steps of the request cannot be used"),
        ({"alwayson_scripts": {"nobody": {"args": []}}}, "Script 'nobody' not found"),
        ({"script_name": "x/y/z plot"}, "A search is a script itself"),
        ({"alwayson_scripts": {"CR-Diff": {"args": [{"k": 9}]}}}, "CR-Diff: k must lie in [-2, 3], not 9."),
    ],
)
def test_what_cannot_be_searched_is_answered_with_a_sentence(host: Any, change: Any, sentence: str) -> None:
    search = {"score": "own", **change["search"]} if isinstance(change.get("search"), dict) else change.get("search")
    status, detail = host.run(refused, {**BODY, **change, "search": {"score": "own"} if search is None else search})
    assert detail.startswith(sentence)
    assert status == 422


def odd_requests(host: Any) -> list[tuple[int, Any]]:
    answers = [
        host.client.post("/crdiff/v1/search", content=b"{", headers={"Content-Type": "application/json"}),
        host.client.post("/crdiff/v1/search", json=[1]),
        host.client.get("/crdiff/v1/search/nothing"),
        host.client.delete("/crdiff/v1/search/nothing"),
        host.client.get("/crdiff/v1/checkpoint", params={"name": "nothing"}),
    ]
    return [(answer.status_code, answer.json()["detail"]) for answer in answers]


def test_unknown_ids_and_odd_requests(host: Any) -> None:
    broken, no_object, shown, stopped, checkpoint = host.run(odd_requests)
    assert (broken[0], no_object[0]) == (422, 422)
    assert "not JSON" in broken[1]
    assert no_object[1].startswith("A search needs a txt2img request as a JSON object")
    assert shown == stopped
    assert shown[0] == 404
    assert shown[1].startswith("There is no search 'nothing'; ids are forgotten when the WebUI restarts")
    assert checkpoint == (404, "There is no checkpoint 'nothing' in this WebUI.")


def about(host: Any) -> tuple[Any, Any]:
    return host.get("/crdiff/v1/scores"), host.get("/crdiff/v1/checkpoint")


def test_what_a_client_needs_to_know_first(host: Any) -> None:
    scores, checkpoint = host.run(about)
    problems = {entry["name"]: entry["problem"] for entry in scores}
    assert problems["own"] is None
    assert "ImageReward" in problems["imagereward"]
    assert (checkpoint["family"], checkpoint["problem"]) == ("sd15", None)
    assert len(checkpoint["sha256"]) == 64


@pytest.mark.one_host
def test_given_configurations_are_measured_and_no_others(host: Any) -> None:
    starts = [{"down": 0.2, "mid": 0.3, "up": 0.4, "k": 1.0}, {"down": 0.0, "mid": 0.0, "up": 0.0, "k": 0.0}]
    wanted = {"strategy": "listed", "starts": starts, "prompts": ["one", "two"], "seeds": [1, 2]}
    seen = host.run(done, wanted, steps=1)
    assert [[entry[name] for name in starts[0]] for entry in seen["history"]] == [list(one.values()) for one in starts]
    for entry in seen["history"]:
        assert len(entry["scores"]) == 4
        assert entry["score"] == pytest.approx(sum(entry["scores"]) / 4)
    broken = host.data / "crdiff" / "broken"
    broken.touch()
    try:
        failed = host.run(done, {**wanted, "prompts": ["one"], "seeds": [3]}, steps=1)
    finally:
        broken.unlink()
    assert failed["state"] == "failed"
    assert "the scorer is broken" in failed["message"]


@pytest.mark.one_host
def test_the_best_is_compared_with_the_start_on_fresh_seeds(host: Any) -> None:
    start = {"down": 0.2, "mid": 0.3, "up": 0.4, "k": 1.0}
    seen = host.run(done, {"starts": [start], "evaluations": 5, "seeds": [60], "fresh_seeds": 3}, steps=1)
    best = {axis: seen["best"][axis] for axis in start}
    assert seen["gain"]["images"] == 2 and best != start
    # Of three fresh seeds the first decides which of the best is taken, with those that the search has seen.
    tried = sorted(seen["history"][1:], key=lambda entry: -entry["score"])
    starts = [{axis: entry[axis] for axis in start} for entry in tried]
    listed = {"strategy": "listed", "starts": starts, "seeds": [60, 61, 62, 63], "evaluations": len(starts)}
    scores = [entry["scores"] for entry in host.run(done, listed, steps=1)["history"]]
    assert best == starts[max(range(len(starts)), key=lambda place: sum(scores[place][:2]))]
    found, first = scores[starts.index(best)][2:], scores[starts.index(start)][2:]
    expected = sum(one - other for one, other in zip(found, first)) / 2
    assert seen["gain"]["value"] == pytest.approx(expected, abs=1e-9)
    assert "On 2 images with fresh seeds it gains" in seen["message"]


@pytest.mark.one_host
def test_the_jobs_of_one_search_elsewhere_load_its_score_once(host: Any) -> None:
    """And whatever searches next frees it first."""
    starts = [{"down": 0.2, "mid": 0.3, "up": 0.4, "k": 1.0}]
    listed = {"strategy": "listed", "starts": starts}
    host.run(done, {"evaluations": 1, "seed": 40}, steps=1)
    log = host.data / "crdiff" / "loads.log"
    before = len(log.read_text(encoding="utf-8"))
    for seed in (41, 42, 43):
        host.run(done, {**listed, "seeds": [seed]}, steps=1)
    assert log.read_text(encoding="utf-8")[before:] == "loaded "
    host.run(done, {"evaluations": 1, "seed": 44, "score": "own + 0.5*ssim"}, steps=1)
    assert log.read_text(encoding="utf-8")[before:] == "loaded closed loaded closed "


FIRST_ARE_BEST = """
HIGHEST = 0.0
seen = []

def score(images, prompt):
    seen.extend(images)
    return [0.0 if len(seen) <= 4 else -1.0 for _ in images]
"""


@pytest.mark.one_host
def test_the_bound_of_an_own_score_saves_pictures_and_changes_nothing(host: Any) -> None:
    """The dense pictures, drawn first, cannot be surpassed, and one worse picture decides against a configuration."""
    own = host.data / "crdiff" / "score.py"
    before = own.read_text(encoding="utf-8")
    own.write_text(FIRST_ARE_BEST, encoding="utf-8")
    plan = {"strategy": "annealing", "seed": 50, "seeds": [1, 2, 3, 4], "evaluations": 6, "temperature": 1e-4}
    try:
        whole, raced = (host.run(done, {**plan, "racing": racing}, steps=1) for racing in ("off", "exact"))
    finally:
        own.write_text(before, encoding="utf-8")
    ways = [[(entry["down"], entry["mid"], entry["up"], entry["accepted"]) for entry in one["history"]]
            for one in (whole, raced)]  # fmt: skip
    assert ways[0] == ways[1]
    assert raced["best"] == whole["best"]
    drawn = [sum(score is not None for entry in one["history"] for score in entry["scores"]) for one in (whole, raced)]
    assert drawn[1] <= drawn[0] - 4 * 3


def protected(host: Any) -> list[tuple[int, Any]]:
    """The same routes beside a txt2img that asks for a password, and without one at all."""
    from fastapi import Depends, FastAPI, HTTPException
    from fastapi.security import HTTPBasic, HTTPBasicCredentials
    from fastapi.testclient import TestClient

    from crdiff.webui.api import add_routes
    from crdiff.webui.search.api import add_search_routes
    from modules import script_loading

    loaded = next(m for p, m in script_loading.loaded_scripts.items() if p.endswith("cr_diff.py"))

    def password(credentials: HTTPBasicCredentials = Depends(HTTPBasic())) -> None:  # noqa: B008
        if (credentials.username, credentials.password) != ("me", "secret"):
            raise HTTPException(401, "Incorrect username or password")

    password.__annotations__ = {"credentials": HTTPBasicCredentials}
    app = FastAPI()
    app.add_api_route("/sdapi/v1/txt2img", host.api.text2imgapi, methods=["POST"], dependencies=[Depends(password)],
                      response_model=None)  # fmt: skip
    client, bare = TestClient(app), FastAPI()
    for one in (app, bare):
        add_routes(one, loaded.extension.library)
        add_search_routes(one, loaded.search)
    calls = [("POST", ""), ("GET", "/x"), ("DELETE", "/x")]
    answers = [client.request(method, f"/crdiff/v1/search{path}") for method, path in calls]
    answers += [client.get(f"/crdiff/v1/{path}") for path in ("scores", "checkpoint", "presets", "schema", "version")]
    answers += [client.get("/crdiff/v1/search/x", auth=("me", "secret"))]
    answers += [TestClient(bare).request(method, f"/crdiff/v1/search{path}") for method, path in calls]
    answers += [client.get("/crdiff/v1/version", auth=("me", "secret")), TestClient(bare).get("/crdiff/v1/version")]
    return [(answer.status_code, answer.json().get("detail")) for answer in answers]


def test_the_routes_answer_only_where_the_hosts_own_api_would(host: Any) -> None:
    seen = host.run(protected)
    assert [status for status, _ in seen[:8]] == [401] * 8
    assert seen[8][0] == 404
    assert seen[8][1].startswith("There is no search 'x'")
    assert (
        seen[9:12] == [(404, "The WebUI's API is switched off; start the WebUI with --api to search through it.")] * 3
    )
    assert seen[12:] == [(200, None)] * 2


def served(host: Any) -> str:
    """The app on a port of its own; the address."""
    import socket
    import threading

    import uvicorn

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(host.app, port=port, log_level="error"))
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.01)
    return f"http://127.0.0.1:{port}"


def test_the_command_line_finds_a_preset_with_this_webui(host: Any, tmp_path: Path) -> None:
    from crdiff.__main__ import main
    from crdiff.presets.own_document import from_text

    (tmp_path / "prompts.txt").write_text("a small red house\na tree\n", encoding="utf-8")
    options = ["--prompts", str(tmp_path / "prompts.txt"), "--sizes", "96x64", "--out", str(tmp_path / "found.json")]
    options += ["--evaluations", "4", "--steps", "2", "--cfg-scale", "5", "--seeds", "5", "--checkpoint", "sd1-a"]
    assert main(["search", "--url", host.run(served), *options]) == 0
    (preset,) = from_text((tmp_path / "found.json").read_bytes())
    checkpoint = host.run(about)[1]
    assert preset.checkpoints == {checkpoint["sha256"]}
    starts = [{"down": preset.ratios.down, "mid": preset.ratios.mid, "up": preset.ratios.up, "k": 1.0}]
    plan = {"strategy": "listed", "starts": starts, "prompts": ["a small red house", "a tree"], "seeds": [5]}
    assert f"own {host.run(done, plan)['best']['score']:.4f}, dense" in preset.note
