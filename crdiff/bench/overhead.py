"""Processor time of a step where launching rules, not arithmetic: what CR-Diff costs beside a fast GPU, without one.

A fast GPU is done with a small image's kernels long before the processor has launched the next ones. A model with as
many layers as SDXL's or SD1.5's, a tenth as wide, at 64x64 and on one thread, shows the same on any machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import torch

from crdiff.bench.modes import CASES, Case, Running
from crdiff.bench.random_model import PUBLISHED, build_model, make_steps, with_the_same_weights
from crdiff.bench.steps import SCHEDULE, mode_step, reference_step, take_turn
from crdiff.bench.timing import Progress, Times, Turn, interleave, no_progress, ratio
from crdiff.method.groups import Ratios
from crdiff.method.schedule import Schedule
from crdiff.models.family import Family
from crdiff.models.unet import SD15, SDXL
from crdiff.presets.size import Size
from crdiff.pruning.copies import CopyPolicy
from crdiff.pruning.store import Store

_SCALE, _SIZE, _K = 0.1, Size(64, 64), 1.5
_ALL, _DOWN_0 = Ratios(0.4, 0.4, 0.4), Ratios(0.0, 0.4, 0.4)
_DTYPE, _DEVICE = torch.float32, torch.device("cpu")
_SECONDS = {SDXL: 10.5, SD15: 6.5}
"""For the timing; making the models and the first steps come on top, a few seconds in all."""
_OFF_PASSES = 2
"""Timed together: what is asked of them is a hundredth."""

Ratio = dict[str, float]
"""Processor time of a step in dense passes, by what computes it."""


def measure_overhead(progress: Progress = no_progress, rounds: int | None = None) -> dict[str, Ratio]:
    """Every case, the authors' design (``reference``) and a model whose run has ended (``off``), by family.

    Args:
        progress: told what is measured.
        rounds: how often everything is timed; None for as often as fits into about 17 seconds.
    """
    found = {}
    with torch.no_grad(), _one_thread():
        for family, seconds in _SECONDS.items():
            progress(f"{family.label}: making ready")
            turns = _turns(family)
            told = partial(_tell, progress, family)
            times = interleave(turns, _DEVICE, rounds, seconds, told)
            found[family.value] = _ratios(times)
    return found


def _tell(progress: Progress, family: Family, line: str) -> None:
    progress(f"{family.label}: {line}")


def _turns(family: Family) -> dict[str, Turn]:
    published, store = PUBLISHED[family].scaled(_SCALE), Store()
    model = build_model(published, _DEVICE, _DTYPE)
    steps = make_steps(published, _SIZE, SCHEDULE, _DEVICE, _DTYPE)
    turns = {"dense": Turn(lambda index: model(*steps[index % SCHEDULE]))}
    turns["reference"] = Turn(partial(take_turn, reference_step(model, _ALL, _K, steps), 1))
    for case in (_as_on_a_gpu(case) for case in CASES):
        step = mode_step(case, model, _ALL, _K, steps, store)
        turns[case.name] = Turn(partial(take_turn, step, case.steps), case.steps)
    turns["down0"] = Turn(partial(take_turn, mode_step(_as_on_a_gpu(CASES[0]), model, _DOWN_0, _K, steps, store), 1))
    closed_model = with_the_same_weights(model)
    closed = Running(CASES[0], closed_model, Schedule.constant(_ALL), _K, steps, store)
    closed.step(0)
    closed.run.close()
    for name, one in (("plain", model), ("off", closed_model)):
        turns[name] = Turn(partial(_passes, partial(one, *steps[0])), _OFF_PASSES)
    return turns


def _as_on_a_gpu(case: Case) -> Case:
    """With the copies that there is room for on a GPU; on a processor nobody may be able to tell how much there is."""
    return replace(case, policy=CopyPolicy.ALWAYS) if case.policy is CopyPolicy.AUTO else case


def _passes(one: Callable[[], object], _: int) -> None:
    for _ in range(_OFF_PASSES):
        one()


def _ratios(times: Times) -> Ratio:
    bases = {"off": "plain"}
    names = [name for name in times if name not in ("dense", "plain")]
    return {name: round(ratio(times, name, bases.get(name, "dense")).median, 3) for name in names}


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def overhead_lines(found: dict[str, Ratio]) -> Iterator[str]:
    """The same as a table in Markdown."""
    names = list(next(iter(found.values())))
    yield "Processor time of a step in dense passes, where launching rules: a tenth of the width, 64x64, one thread."
    yield ""
    yield "| | " + " | ".join(names) + " |"
    yield "| --- |" + " --- |" * len(names)
    for family, ratios in found.items():
        yield f"| {family} | " + " | ".join(f"{ratios[name]:.2f}" for name in names) + " |"
