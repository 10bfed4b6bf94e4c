"""The search by the API: its trials are the host's pictures, and the host is left as it was."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from hostkit.client import HostError, Pixels
from hostkit.studio import BASE, Studio
from scipy.ndimage import gaussian_filter

PATIENCE_S = 300
REQUEST: dict[str, Any] = {**BASE, "seed": 3}
SEARCH = {"score": "ssim", "seed": 5}
DENSE = (0.0, 0.0, 0.0)


def similarity(one: Pixels, other: Pixels) -> float:
    """SSIM (Wang et al., 2004), channel by channel, where the window of 11 fits."""

    def mean(x: Any) -> Any:
        return gaussian_filter(x, 1.5, radius=5)[5:-5, 5:-5]

    channels = []
    for x, y in zip(np.moveaxis(one / 255, -1, 0), np.moveaxis(other / 255, -1, 0), strict=True):
        mx, my = mean(x), mean(y)
        vx, vy, cov = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
        ratio = (2 * mx * my + 1e-4) * (2 * cov + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
        channels.append(ratio.mean())
    return float(np.mean(channels))


def started(studio: Studio, **search: Any) -> str:
    answer = studio.client.post("/crdiff/v1/search", {**REQUEST, "search": {**SEARCH, **search}})
    return f"/crdiff/v1/search/{answer['id']}"


def waited(studio: Studio, path: str, evaluations: int | None = None) -> dict[str, Any]:
    """Where the search stands once it has ended, or has got so far."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        answer: dict[str, Any] = studio.client.get(path)
        if answer["state"] != "running" or (evaluations is not None and answer["evaluations"] >= evaluations):
            return answer
        time.sleep(0.1)
    pytest.fail(f"the search did not end: {answer}")


def test_a_trial_is_the_picture_that_the_host_draws(studio: Studio) -> None:
    strong = {"ratios": [0.6, 0.95], "starts": [{"down": 0.9, "mid": 0.9, "up": 0.9, "k": 1.0}]}
    found = waited(studio, started(studio, evaluations=4, racing="off", stages=2, **strong))
    assert (found["state"], found["evaluations"]) == ("done", 4), found["message"]
    dense = studio.draw(seed=3)
    compared = 0
    for entry in found["history"]:
        if entry["kind"] == "baseline":
            assert entry["score"] == pytest.approx(1.0, abs=1e-6)
            continue
        drawn = studio.crdiff(
            {name: entry[name] for name in ("down", "mid", "up", "k", "stages") if name in entry}, seed=3
        )
        studio.assert_changed(drawn, dense)
        assert entry["score"] == pytest.approx(similarity(drawn.pictures[0], dense.pictures[0]), abs=2e-3)
        compared += 1
    assert compared >= 2


def test_a_search_that_is_stopped_leaves_nothing_behind(studio: Studio) -> None:
    plain, state = studio.draw(), studio.state()
    path = started(studio, evaluations=500, seed=6)
    waited(studio, path, evaluations=2)
    studio.client.delete(path)
    found = waited(studio, path)
    assert found["state"] == "stopped"
    assert 2 <= found["evaluations"] < 500
    studio.assert_same(studio.draw(), plain)
    studio.assert_state(state)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"search": {"colour": "red"}}, "A search has no key 'colour'"),
        ({"search": {"ratios": [0.1, 1.2]}}, "1.2"),
        ({"search": {"score": "beauty"}}, "There is no score 'beauty'"),
    ],
    ids=["unknown key", "bound above 1", "unknown score"],
)
def test_what_cannot_be_searched_is_one_sentence(studio: Studio, change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(HostError) as refused:
        studio.client.post("/crdiff/v1/search", {**REQUEST, **change})
    assert refused.value.status == 422
    assert sentence in refused.value.sentence
