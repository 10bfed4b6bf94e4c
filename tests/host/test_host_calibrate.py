"""The calibration by the API: its sums are those of the host's own images, and the host is left as it was."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from hostkit import infotext
from hostkit.client import HostError
from hostkit.studio import BASE, RATIOS, Studio

PATIENCE_S = 300
PROMPTS = ["a photo of a cat", "a red boat"]
WANTED = {"prompts": PROMPTS, "images": 2, "size": "64x96", "seed": 11, "hessians": True}
CRITERIA = (
    "magnitude", "attenuation", "attenuation-outputs", "soft", "random", "wanda", "wanda-layer", "wanda-group", "ria",
    "obs-saliency", "obs-diff", "obs-diff-2of4", "taylor", "channels", "heads", "layerdrop",
)  # fmt: skip
FAR = 2e-5
"""How far float32 sums may be from float64, of the largest; an inverse may be a hundred times as far."""


@pytest.fixture
def kept(studio: Studio) -> Iterator[set[str]]:
    """Names of the calibrations there were; those of a test are deleted, which the route then says."""
    before = {one["name"] for one in studio.client.get("/crdiff/v1/calibrations")}
    yield before
    for one in studio.client.get("/crdiff/v1/calibrations"):
        if one["name"] not in before:
            assert studio.client.delete(f"/crdiff/v1/calibrations/{one['name']}")["name"] == one["name"]
    assert {one["name"] for one in studio.client.get("/crdiff/v1/calibrations")} == before


def started(studio: Studio, **wanted: Any) -> str:
    answer = studio.client.post("/crdiff/v1/calibrate", {**BASE, "calibration": {**WANTED, **wanted}})
    return f"/crdiff/v1/calibrate/{answer['id']}"


def waited(studio: Studio, path: str, drawn: int | None = None) -> dict[str, Any]:
    """Where the calibration stands once it has ended, or has drawn so many images."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        answer: dict[str, Any] = studio.client.get(path)
        if answer["state"] != "running" or (drawn is not None and answer["drawn"] >= drawn):
            return answer
        time.sleep(0.1)
    pytest.fail(f"the calibration did not end: {answer}")


def test_sums_are_those_of_the_hosts_own_images(studio: Studio, kept: set[str]) -> None:
    """One that is interrupted keeps what it has; criteria go by the latest; images without CR-Diff stay the host's."""
    plain, state = studio.draw(), studio.state()
    path = started(studio, images=500)
    waited(studio, path, drawn=1)
    studio.client.post("/sdapi/v1/interrupt")
    stopped = waited(studio, path)
    assert stopped["state"] == "stopped"
    assert f"with {stopped['drawn']} of 500 images (it was stopped): " in stopped["message"]
    studio.assert_state(state)

    done = waited(studio, started(studio))
    assert (done["state"], done["drawn"]) == ("done", 2), done["message"]
    listed = {one["name"]: one for one in studio.client.get("/crdiff/v1/calibrations")}
    assert listed.keys() - kept == {stopped["calibration"], done["calibration"]}
    made = listed[done["calibration"]]
    assert (made["made"]["images"], made["made"]["size"]) == ("2", "64x96")
    assert made["tokens"] > 0
    assert made["bytes"] > 0

    weighed = studio.crdiff({**RATIOS, "criterion": "wanda"})
    studio.assert_changed_at_all(weighed, plain)
    noted = infotext.parse(weighed.infotext)
    assert "CR-Diff calibration" in noted
    assert "CR-Diff note" not in noted

    own = {"height": 64, "width": 96}
    studio.draw(scripts={"input sums": ["begin"]}, prompt=PROMPTS[0], seed=11, **own)
    last = studio.draw(scripts={"input sums": ["compare"]}, prompt=PROMPTS[1], seed=12, **own)
    found = infotext.parse(last.infotext)
    assert (found["Input sums layers"], found["Input sums tokens"]) == ("equal", "equal")
    assert float(found["Input sums squares"]) < FAR
    assert float(found["Input sums inverse"]) < 100 * FAR
    studio.assert_same(studio.draw(), plain)
    studio.assert_state(state)


@pytest.mark.one_host
def test_criteria_that_need_whole_hessians_and_gradients(studio: Studio, kept: set[str]) -> None:
    """Weights of their own in the pruned pass, and the host's in every other image."""
    plain, state = studio.draw(), studio.state()
    done = waited(studio, started(studio, images=1, hessians="whole", gradients=True))
    assert done["state"] == "done", done["message"]
    for criterion in ("obs-diff", "heads", "taylor"):
        pruned = studio.crdiff({**RATIOS, "criterion": criterion})
        noted = infotext.parse(pruned.infotext)
        assert (noted["CR-Diff criterion"], noted.get("CR-Diff note")) == (criterion, None)
        studio.assert_changed_at_all(pruned, plain)
        studio.assert_same(studio.draw(), plain)
    studio.assert_state(state)


@pytest.mark.full
def test_each_criterion_and_another_checkpoint(studio: Studio, kept: set[str]) -> None:
    """Every image without CR-Diff is the host's own; a calibration is of its checkpoint alone, and stays."""
    plain, strong = studio.draw(), {"down": 0.6, "mid": 0.6, "up": 0.6}
    done = waited(studio, started(studio, images=1, hessians="whole", gradients=True))
    assert done["state"] == "done", done["message"]
    drawn = {}
    for criterion in CRITERIA:
        drawn[criterion] = studio.crdiff({**strong, "criterion": criterion})
        assert "CR-Diff note" not in infotext.parse(drawn[criterion].infotext), criterion
        studio.assert_changed_at_all(drawn[criterion], plain)
        studio.assert_same(studio.draw(), plain)
    others = studio.checkpoints(layout="sd15", inpainting=False)[1:]
    studio.need(others, "second SD1.5 checkpoint")
    with studio.on(others[0]):
        refused = studio.crdiff({**strong, "criterion": "wanda"})
        assert "calibrate this checkpoint" in infotext.parse(refused.infotext)["CR-Diff note"]
        studio.assert_same(refused, studio.draw())
    studio.assert_same(studio.crdiff({**strong, "criterion": "wanda"}), drawn["wanda"])
    studio.assert_same(studio.draw(), plain)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"calibration": {"pictures": 3}}, "A calibration has no key 'pictures'"),
        ({"calibration": {"size": "40x40"}}, "size of a calibration must have 64 to 4096 pixels a side"),
        ({"images": 3}, 'images belongs in the object "calibration" of the request.'),
    ],
    ids=["unknown key", "small", "outside"],
)
def test_what_cannot_be_calibrated_is_one_sentence(studio: Studio, change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(HostError) as refused:
        studio.client.post("/crdiff/v1/calibrate", {**BASE, "calibration": WANTED, **change})
    assert refused.value.status == 422
    assert sentence in refused.value.sentence
