"""``python -m demo.evaluate.overhead``: what a job costs through the demo's API, by way of drawing and by steps.

Ways take turns, and what is told is processor time, of the median of the rounds' ratios: other work on the machine
then weighs on all of them alike. A job's fixed cost is what is left at no step, by the line through the fewest and the
most steps; it is told in steps of the dense model.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from demo.__main__ import ROOT
from demo.prepare import CHECKPOINT, PRESETS, provide_checkpoint, provide_presets
from demo.scenes.scene import judging_scenes

DENSE = "dense"
WAYS: dict[str, dict[str, Any]] = {
    DENSE: {"enabled": False},
    "k = 1": {"enabled": True, "k": 1.0},
    "fast": {"enabled": True, "k": 1.5, "mode": "fast"},
    "balanced": {"enabled": True, "k": 1.5, "mode": "balanced"},
    "exact": {"enabled": True, "k": 1.5},
}
"""CR-Diff's settings; the ratios are the demo's presets."""

Times = Mapping[tuple[str, int], Sequence[float]]
"""Processor seconds by way and steps, one for each round."""


def start(folder: Path) -> Any:
    """A demo host in this process, called through its API."""
    from common.start import start_host  # importable once `demo` is; loads torch and gradio

    provide_checkpoint(CHECKPOINT, folder / "models")
    provide_presets(PRESETS, folder / "data")
    return start_host("a1111", models=folder / "models", data=folder / "data", extensions=[ROOT])


def measure(host: Any, request: Mapping[str, Any], steps: Sequence[int], rounds: int) -> Times:
    """Every way at every number of steps in turn, after a job of each that is not counted."""
    times: dict[tuple[str, int], list[float]] = {}
    for turn in range(-1, rounds):
        for count in steps[:1] if turn < 0 else steps:
            for way, settings in WAYS.items():
                body = {**request, "steps": count, "alwayson_scripts": {"cr-diff": {"args": [settings]}}}
                started = time.process_time()
                host.post("txt2img", body)
                if turn >= 0:
                    times.setdefault((way, count), []).append(time.process_time() - started)
        print(f"round {turn + 1} of {rounds}", flush=True)
    return times


def ratio(times: Times, way: str, steps: int) -> float:
    """To the dense job of the same round, the median."""
    return median(ours / dense for ours, dense in zip(times[way, steps], times[DENSE, steps]))


def fixed_cost(times: Times, way: str, fewest: int, most: int) -> float:
    """What a job costs beyond a dense one at no step, in dense steps."""
    lines = {}
    for name in (way, DENSE):
        low, high = (median(times[name, steps]) for steps in (fewest, most))
        slope = (high - low) / (most - fewest)
        lines[name] = (low - fewest * slope, slope)
    return (lines[way][0] - lines[DENSE][0]) / lines[DENSE][1]


def table(times: Times, steps: Sequence[int]) -> Iterator[str]:
    """The ratios in Markdown, and the fixed cost where there are two numbers of steps."""
    several = len(steps) > 1
    heads = ["", *(f"{count} steps" for count in steps), *(["fixed, in dense steps"] if several else [])]
    yield "| " + " | ".join(heads) + " |"
    yield "|" + " --- |" * len(heads)
    for way in WAYS:
        if way != DENSE:
            cells = [f"{ratio(times, way, count):.2f}" for count in steps]
            cells += [f"{fixed_cost(times, way, min(steps), max(steps)):.1f}"] if several else []
            yield "| " + " | ".join([way, *cells]) + " |"


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", nargs="+", type=int, default=[4, 20, 40])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--height", type=int, default=96)
    parser.add_argument("--width", type=int, default=128)
    options = parser.parse_args()
    request = {
        "prompt": judging_scenes(1)[0].caption(), "seed": 1, "cfg_scale": 3, "height": options.height,
        "width": options.width, "sampler_name": "DPM++ 2M", "scheduler": "Uniform",
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="crdiff-demo-") as folder:
        times = measure(start(Path(folder)), request, options.steps, options.rounds)
    print("\n".join(table(times, options.steps)))


if __name__ == "__main__":
    main()
