"""What a plan is said to cost, against what runs are counted to compute."""

from __future__ import annotations

import pytest
import torch
from run_bench import Bench

from crdiff.bench.operations import OperationCounter
from crdiff.bench.random_model import PUBLISHED, build_model, make_steps
from crdiff.cost import unet_passes
from crdiff.method.groups import Ratios
from crdiff.method.schedule import Position, Schedule, StepWindow
from crdiff.models.architecture import find_layers
from crdiff.models.unet import SD15, SDXL
from crdiff.modes.registry import MODES
from crdiff.plan import Plan
from crdiff.presets.size import Size
from crdiff.pruning.registry import CRITERIA

STEPS, STEPS_BALANCED = 8, 40
"""Of a schedule; the mode balanced measures every so many steps, which tells on average over many."""
RATIOS = (0.4, 0.5, 0.3)
WHOLE = StepWindow()


def said(ratios=RATIOS, k=1.5, mode="exact", window=WHOLE):
    return unet_passes(Plan(Schedule.constant(Ratios(*ratios)), k, "by hand"), MODES[mode], window)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"k": 1.0},
        {"k": 0.0},
        {"k": -1.0},
        {"ratios": (0.0, 0.0, 0.0)},
        {"window": StepWindow(0.25, 0.75)},
        {"mode": "batched"},
        {"mode": "fast"},
        {"mode": "balanced"},
        {"mode": "fast", "window": StepWindow(0.25, 0.75)},
    ],
    ids=lambda settings: " ".join(f"{name} {value}" for name, value in settings.items()) or "default",
)
def test_passes_are_those_of_a_run(settings):
    """Images that the UNet is called with in a schedule, once the weights have been looked at."""
    steps = STEPS_BALANCED if settings.get("mode") == "balanced" else STEPS
    known = Bench(**{**settings, "window": None})
    known.step()
    known.run.close()
    bench = Bench(**settings, store=known.store, unet=known.unet)
    images = []
    bench.unet.register_forward_pre_hook(lambda unet, args: images.append(len(args[0])))
    for step in range(steps):
        bench.run.position = Position(step, steps)
        bench.step()
    assert said(**settings) == sum(images) / len(bench.inputs[0]) / steps


@pytest.mark.parametrize(
    ("ratios", "counted"),
    [((0.0, 0.1, 0.1), (1.682, 1.657)), ((0.0, 0.0, 0.1), (1.609, 1.533)), ((0.1, 0.0, 0.1), (2.0, 2.0))],
    ids=["down 0", "down and mid 0", "mid 0"],
)
def test_what_both_passes_share_counts_once(ratios, counted):
    """Operations at 512x512 of SD1.5's and SDXL's UNets in diffusers, from the first pruned layer on twice."""
    for passes in counted:
        assert said(ratios) == pytest.approx(passes, abs=0.07)


@pytest.mark.parametrize(("mode", "shares"), [("batched", False), ("fast", False), ("balanced", True)])
def test_which_modes_share(mode, shares):
    whole, shared = said(mode=mode), said((0.0, 0.0, 0.1), mode=mode)
    if shares:  # the passes beyond the first, as much as exact's second one above
        assert (shared - 1.0) / (whole - 1.0) == pytest.approx(0.57, abs=0.07)
    else:
        assert shared == whole


def test_nothing_outside_the_window_costs_more():
    assert said(window=StepWindow(0.5, 0.5)) == 1.0


@pytest.mark.parametrize(("family", "size"), [(SD15, "512x512"), (SDXL, "512x512")])
def test_skipped_blocks_save_what_they_compute(family, size):
    """Counted on the published UNets, with blocks of mean size."""
    unet, counter = build_model(PUBLISHED[family], torch.device("meta"), torch.float32), OperationCounter()
    (inputs,) = make_steps(PUBLISHED[family], Size.parse(size), 1, torch.device("meta"), torch.float32)
    started: dict[str, int] = {}
    counts: dict[str, list[int]] = {"down": [], "mid": [], "up": []}
    groups = {layer.block: layer.group for layer in find_layers(unet).layers}
    for name, group in groups.items():
        block = unet.get_submodule(name)
        block.register_forward_pre_hook(lambda *_, name=name: started.__setitem__(name, counter.total))
        block.register_forward_hook(
            lambda *_, name=name, group=group: counts[group].append(counter.total - started[name])
        )
    with torch.no_grad(), counter:
        unet(*inputs)
    for share in (0.3, 0.5, 0.9):
        skipped = {group: int(len(found) * share + 1e-9) for group, found in counts.items()}
        saved = sum(skipped[group] * sum(found) / len(found) for group, found in counts.items()) / counter.total
        assert CRITERIA["layerdrop"].saves(family, Ratios(share, share, share)) == pytest.approx(saved, abs=0.02)


@pytest.mark.parametrize(
    ("k", "mode", "passes"),
    [(1.0, "exact", 0.8), (1.5, "exact", 1.8), (1.5, "batched", 1.8), (1.5, "fast", 1.0), (1.5, "balanced", 1.225)],
)
def test_a_pruned_pass_that_is_cheaper(k, mode, passes):
    plan = Plan(Schedule.constant(Ratios(*RATIOS)), k, "by hand")
    assert unet_passes(plan, MODES[mode], WHOLE, lambda ratios: 0.2) == pytest.approx(passes)
    half = unet_passes(plan, MODES[mode], StepWindow(0.5, 1.0), lambda ratios: 0.2)
    assert half == pytest.approx((1.0 + passes) / 2)


def test_a_stage_costs_what_its_k_asks_for():
    schedule = Schedule.parse("0.3/0.3/0.3; 0.3/0.3/0.3/1 from 0.5; 0.3/0.3/0.3/0 from 0.75; 0/0/0 from 0.9")
    assert unet_passes(Plan(schedule, 1.5, "stages"), MODES["exact"], WHOLE) == pytest.approx(1.5)
    assert Plan(schedule, 0.0, "stages").idle is None
    nothing = Plan(Schedule.parse("0.3/0.3/0.3; 0/0/0/2 from 0.5"), 0.0, "stages")
    assert (unet_passes(nothing, MODES["exact"], WHOLE), "In every stage" in (nothing.idle or "")) == (1.0, True)
