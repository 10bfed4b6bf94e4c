"""The demo's API has AUTOMATIC1111's shapes; Compare can be asked for like any script."""

from __future__ import annotations

import json
import threading
import time
import urllib.error

import pytest

REQUEST = {"prompt": "a red house left of a yellow tree, by day", "seed": 7, "steps": 2, "height": 128, "width": 96}
COMPARE = {**REQUEST, "script_name": "Compare", "script_args": []}


def test_txt2img(server):
    answer = server.post("/sdapi/v1/txt2img", REQUEST)
    assert set(answer) == {"images", "parameters", "info"}
    assert len(answer["images"]) == 1
    assert answer["parameters"]["prompt"] == REQUEST["prompt"]
    info = json.loads(answer["info"])
    assert (info["seed"], info["width"], info["height"]) == (7, 96, 128)
    assert info["infotexts"][0].splitlines()[0] == REQUEST["prompt"]
    assert "Model: crdiff-demo" in info["infotexts"][0]


def test_scripts(server):
    names = server.get("/sdapi/v1/scripts")
    assert {"x/y/z plot", "compare", "cr-diff"} <= set(names["txt2img"])
    assert "cr-diff" in names["img2img"]
    infos = {(info["name"], info["is_img2img"]): info for info in server.get("/sdapi/v1/script-info")}
    assert infos["cr-diff", False]["is_alwayson"]
    assert not infos["compare", False]["is_alwayson"]
    argument = infos["cr-diff", False]["args"][2]
    assert argument == {
        "label": "Down ratio", "value": 0.3, "minimum": 0.0, "maximum": 0.999, "step": 0.001, "choices": None
    }  # fmt: skip


def test_compare_with_a_batch_where_pruned_only_would_be_the_same_again(server):
    alwayson = {"cr-diff": {"args": [{"enabled": True, "down": 0.3, "end": 0.5, "k": 1}]}}
    answer = server.post("/sdapi/v1/txt2img", {**COMPARE, "batch_size": 2, "alwayson_scripts": alwayson})
    info = json.loads(answer["info"])
    # The labelled grid comes first.
    assert len(answer["images"]) == len(info["infotexts"]) == 5
    assert info["all_seeds"][1:] == [7, 7, 8, 8]
    assert [" CR-Diff k: " in text for text in info["infotexts"][1:]] == [False, True] * 2
    assert [f"Seed: {seed}," in text for seed, text in zip(info["all_seeds"], info["infotexts"])] == [True] * 5
    summary = info["extra_generation_params"]["Compare"]
    assert [column["name"] for column in summary["columns"]] == ["dense", "CR-Diff"]
    assert all(len(column["right"]) == len(column["scores"]) == 2 for column in summary["columns"])
    assert "k is 1 here, so CR-Diff is the pruned model alone." in summary["sentences"]


def test_compare_says_when_the_settings_do_nothing(server):
    alwayson = {"cr-diff": {"args": [{"enabled": True, "down": 0.0, "mid": 0.0, "up": 0.0}]}}
    info = json.loads(server.post("/sdapi/v1/txt2img", {**COMPARE, "alwayson_scripts": alwayson})["info"])
    assert any(
        text.startswith("CR-Diff did not act:") for text in info["extra_generation_params"]["Compare"]["sentences"]
    )


def test_a_bad_setting_is_refused_before_anything_is_drawn(server):
    alwayson = {"cr-diff": {"args": [{"enabled": True, "down": 1.2}]}}
    with pytest.raises(urllib.error.HTTPError) as refused:
        server.post("/sdapi/v1/txt2img", {**COMPARE, "alwayson_scripts": alwayson})
    assert refused.value.code == 422
    assert "down" in refused.value.read().decode()


def test_progress_and_interrupt_reach_into_compare(server):
    answers = []
    job = threading.Thread(
        target=lambda: answers.append(server.post("/sdapi/v1/txt2img", {**COMPARE, "steps": 100, "n_iter": 2}))
    )
    assert server.get("/sdapi/v1/progress")["progress"] == 0
    job.start()
    end = time.monotonic() + 60
    while (seen := server.get("/sdapi/v1/progress?skip_current_image=true"))["state"]["job_no"] < 1:
        assert time.monotonic() < end, "the job did not start"
        time.sleep(0.05)
    assert set(seen) == {"progress", "eta_relative", "state", "current_image", "textinfo"}
    assert 0 < seen["progress"] < 0.5
    assert (seen["state"]["job_count"], seen["textinfo"]) == (6, "dense, 1 of 3")
    assert server.post("/sdapi/v1/interrupt", {}) == {}
    job.join(60)
    summary = json.loads(answers[0]["info"])["extra_generation_params"]["Compare"]
    # The first image was done, the second was not.
    assert [(column["name"], len(column["scores"])) for column in summary["columns"]] == [("dense", 1)]
    assert "Interrupted; these are the images that were done." in summary["sentences"]
    assert server.get("/sdapi/v1/progress")["state"]["job_count"] == 0
