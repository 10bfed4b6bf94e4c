"""Runs that are cut short, by the user or by a fault in either pass, leave nothing behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from hostkit.client import Drawing, HostError
from hostkit.full import full
from hostkit.studio import BASE, RATIOS, Studio

SETTINGS = {**RATIOS, "k": 1.5}
PASSES = {"pruned": 3, "dense": 4}
"""Which UNet call of a run is which pass of the second step."""


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    ("which", "where", "error"),
    [
        ("pruned", "layer", "exception"),
        ("dense", "layer", "interrupted"),
        ("pruned", "unet", "interrupted"),
        ("dense", "unet", "abort"),
        full("pruned", "unet", "exception"),
        full("dense", "unet", "exception"),
        full("dense", "layer", "exception"),
        full("dense", "unet", "interrupted"),
        full("pruned", "layer", "interrupted"),
        full("pruned", "unet", "abort"),
        full("pruned", "layer", "abort"),
        full("dense", "layer", "abort"),
    ],
)
def test_fault_in_a_pass(studio: Studio, which: str, where: str, error: str) -> None:
    whole = studio.crdiff(SETTINGS)
    fault = {"call": PASSES[which], "where": where, "error": error}
    if error == "interrupted":
        studio.assert_changed(studio.crdiff(SETTINGS, scripts={"unet faults": [fault]}), whole)
    else:
        with pytest.raises((HostError, OSError)):
            studio.crdiff(SETTINGS, scripts={"unet faults": [fault]})
    assert studio.unet_calls() == PASSES[which]
    studio.assert_same(studio.crdiff(SETTINGS), whole)


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    ("which", "where"),
    [("pruned", "layer"), ("dense", "unet"), full("pruned", "unet"), full("dense", "layer")],
)
def test_memory_that_runs_out_in_a_pass(studio: Studio, which: str, where: str) -> None:
    """Once, the pass is repeated without what is kept for speed; twice, it is the host's error."""
    whole = studio.crdiff(SETTINGS)
    fault = {"call": PASSES[which], "where": where, "error": "memory"}
    studio.assert_same(studio.crdiff(SETTINGS, scripts={"unet faults": [fault]}), whole)
    assert studio.unet_calls() == 2 * BASE["steps"] + 1
    with pytest.raises((HostError, OSError)):
        studio.crdiff(SETTINGS, scripts={"unet faults": [{**fault, "times": 2}]})
    assert studio.unet_calls() == PASSES[which] + 1
    studio.assert_same(studio.crdiff(SETTINGS), whole)


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("error", ["exception", "interrupted"])
def test_fault_while_the_magnitudes_are_counted(studio: Studio, error: str) -> None:
    studio.need(studio.target.loras, "LoRA for SD1.5")
    # A strength not used before makes weights not seen before.
    prompt = f"a photo of a cat <lora:{studio.target.loras[0]}:{0.31 if error == 'exception' else 0.32}>"
    fault = {"call": 1, "where": "layer", "error": error}
    if error == "interrupted":
        studio.crdiff(SETTINGS, prompt=prompt, scripts={"unet faults": [fault]})
    else:
        with pytest.raises(HostError):
            studio.crdiff(SETTINGS, prompt=prompt, scripts={"unet faults": [fault]})
    studio.check(prompt=prompt)


class Running:
    """A request in another thread."""

    def __init__(self, draw: Callable[[], Drawing]) -> None:
        self._draw = draw
        self.drawing: Drawing | None = None
        self.error: HostError | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.drawing = self._draw()
        except HostError as error:
            self.error = error

    def wait_for_step(self, studio: Studio, step: int) -> None:
        while self._thread.is_alive():
            state = studio.client.get("/sdapi/v1/progress?skip_current_image=true")["state"]
            if state["sampling_step"] >= step and state["sampling_steps"] > step:
                return
            time.sleep(0.01)
        pytest.fail("the run was over before it could be stopped")

    def finish(self) -> Drawing:
        self._thread.join()
        assert self.error is None, self.error
        assert self.drawing is not None
        return self.drawing


@pytest.mark.usefixtures("untouched")
def test_interrupt(studio: Studio) -> None:
    steps = 150
    run = Running(lambda: studio.crdiff(SETTINGS, scripts={"unet faults": [{}]}, steps=steps))
    run.wait_for_step(studio, 2)
    studio.client.post("/sdapi/v1/interrupt")
    run.finish()
    assert 2 < studio.unet_calls() < 2 * steps


@pytest.mark.usefixtures("untouched")
def test_skip_goes_on_with_the_next_batch(studio: Studio) -> None:
    steps = 16
    run = Running(lambda: studio.crdiff(SETTINGS, steps=steps, n_iter=2))
    run.wait_for_step(studio, 2)
    studio.client.post("/sdapi/v1/skip")
    drawn = run.finish()
    second = studio.crdiff(SETTINGS, steps=steps, seed=2)
    assert (drawn.pictures[-1] == second.pictures[0]).all()
