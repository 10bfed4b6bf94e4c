"""Fewer passes than two: what each mode computes, against copies of the UNet whose weights are changed by hand."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from run_bench import CPU, RATIOS, Bench, mixed
from small_unet import SmallUNet, make_inputs, make_unet, masked_copy, prunable_weights

from crdiff.guidance.run import Run
from crdiff.method.groups import Ratios
from crdiff.method.schedule import Position, Schedule, Stage, StepWindow
from crdiff.modes.balanced import Balanced
from crdiff.modes.registry import MODES
from crdiff.plan import Plan, Planner

K = 1.5


def with_mixed_weights(unet: SmallUNet, k: float, ratios=RATIOS) -> SmallUNet:
    """A copy whose prunable weights are k * masked + (1 - k) * dense."""
    mixed_unet, pruned = copy.deepcopy(unet), masked_copy(unet, ratios)
    for (_, weight), (_, other) in zip(prunable_weights(mixed_unet), prunable_weights(pruned)):
        kept = other != 0
        weight.copy_(torch.where(kept, weight, (1.0 - k) * weight))
    return mixed_unet


@pytest.fixture(autouse=True)
def _refresh(monkeypatch):
    """Balanced measures every third step, so that few steps show it."""
    monkeypatch.setattr(Balanced, "refresh", 3)


@pytest.fixture
def _measured_once(monkeypatch):
    monkeypatch.setattr(Balanced, "refresh", 100)


def bench_of(mode: str, k: float = K, **options) -> Bench:
    return Bench(k, mode=mode, **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("k", [-1.0, 0.5, 1.5, 3.0])
def test_fast_is_one_pass_with_mixed_weights(k, dtype):
    bench = bench_of("fast", k, unet=make_unet(dtype=dtype))
    bench.inputs = make_inputs(dtype=dtype)
    expected = with_mixed_weights(bench.unet, k)(*bench.inputs)
    bench.step()
    for _ in range(2):
        before = bench.unet.passes
        assert torch.equal(bench.step(), expected)
        assert bench.unet.passes == before + 1
    bench.run.close()
    assert torch.equal(bench.unet(*bench.inputs), mixed(bench.unet, bench.inputs, 0.0))


@pytest.mark.parametrize("mode", ["fast", "balanced", "batched"])
@pytest.mark.parametrize("k", [0.0, 1.0])
def test_at_k_0_and_1_every_mode_is_exact_and_takes_one_pass(mode, k):
    bench = bench_of(mode, k)
    expected = mixed(bench.unet, bench.inputs, k)
    for _ in range(2):
        assert torch.equal(bench.step(), expected)
    assert bench.passes(bench.step) == 1


def at(bench: Bench, step: int, inputs=None) -> torch.Tensor:
    bench.run.position = Position(step, 20)
    bench.inputs = make_inputs(seed=step) if inputs is None else inputs
    # One prompt throughout: only the latents differ from step to step.
    bench.inputs = (*bench.inputs[:2], make_inputs()[2] if inputs is None else inputs[2])
    return bench.step()


def test_balanced_is_fast_plus_what_it_lacked_when_both_were_computed():
    bench = bench_of("balanced")
    linear = with_mixed_weights(bench.unet, K)
    plain = copy.deepcopy(bench.unet)
    residual = None
    for step in range(9):
        before = bench.unet.passes
        found = at(bench, step)
        exact, fast = mixed(plain, bench.inputs, K), linear(*bench.inputs)
        if step < 3:  # less than 0.15 of 20 steps
            assert torch.equal(found, fast)
            assert step == 0 or bench.unet.passes == before + 1
        elif step % 3 == 0:
            assert torch.equal(found, exact)
            assert bench.unet.passes == before + 3
            residual = exact - fast
        else:
            assert bench.unet.passes == before + 1
            faded = math.exp(-(((step % 3) / 7) ** 2))  # 7 of 20 steps: 0.35 of the schedule
            torch.testing.assert_close(found, fast + faded * residual, rtol=0, atol=1e-6)
            assert not torch.equal(found, fast)


def test_balanced_in_a_schedule_of_one_step_is_exact():
    bench = bench_of("balanced")
    bench.run.position = Position(0, 1)
    assert torch.equal(bench.step(), mixed(bench.unet, bench.inputs, K))


def measured(bench: Bench) -> bool:
    """Whether the last step was an exact one."""
    return torch.equal(bench.last, mixed(bench.plain, bench.inputs, K))


@pytest.mark.usefixtures("_measured_once")
@pytest.mark.parametrize("change", ["prompt", "batch", "size", "model", "an earlier step", "ratios"])
def test_balanced_measures_anew_when_something_changes(change):
    bench = bench_of("balanced")
    bench.plain = copy.deepcopy(bench.unet)
    x, timesteps, context = make_inputs()
    bench.last = at(bench, 5, (x, timesteps, context))
    assert measured(bench)
    bench.last = at(bench, 6, (x + 1, timesteps, context))
    assert not measured(bench)
    step, inputs, ratios = 7, (x + 2, timesteps, context), RATIOS
    if change == "prompt":
        inputs = (x + 2, timesteps, context + 0.01)
    elif change == "batch":
        inputs = (x[:1], timesteps[:1], context[:1])
    elif change == "size":
        inputs = (torch.cat([x, x], dim=-1), timesteps, context)
    elif change == "model":
        bench.unet = make_unet(seed=3)
        bench.plain = copy.deepcopy(bench.unet)
    elif change == "an earlier step":
        step = 3
    else:
        ratios = (0.2, 0.2, 0.2)
    if change == "ratios":
        bench = _rescheduled(x, timesteps, context)
        assert torch.equal(at(bench, 7, inputs), mixed(bench.plain, inputs, K, ratios))
        return
    bench.last = at(bench, step, inputs)
    assert measured(bench)


def _rescheduled(x, timesteps, context) -> Bench:
    bench = bench_of("balanced")
    bench.plain = copy.deepcopy(bench.unet)
    stages = (Stage(0.0, Ratios(*RATIOS)), Stage(0.34, Ratios(0.2, 0.2, 0.2)))
    bench.run = Run(Planner.fixed(Plan(Schedule(stages), K, "by hand"), "balanced"), bench.access)
    for step in (5, 6):
        at(bench, step, (x, timesteps, context))
    return bench


@pytest.mark.usefixtures("_measured_once")
def test_balanced_keeps_the_calls_of_one_step_apart():
    """A host that draws prompt and negative prompt in calls of their own, with contexts of one shape."""
    bench = bench_of("balanced")
    x, timesteps, context = make_inputs()
    other = context.flip(-1)
    plain, linear = copy.deepcopy(bench.unet), with_mixed_weights(bench.unet, K)

    def call(latent, prompt):
        return bench.run.predict(bench.unet, lambda: bench.unet(latent, timesteps, prompt), CPU, prompt)

    bench.run.position = Position(4, 20)
    found = [call(x, prompt) for prompt in (context, other)]
    for prompt, exact in zip((context, other), found):
        assert torch.equal(exact, mixed(plain, (x, timesteps, prompt), K))
    bench.run.position = Position(5, 20)
    for prompt in (context, other):
        lacked = mixed(plain, (x, timesteps, prompt), K) - linear(x, timesteps, prompt)
        expected = linear(x + 1, timesteps, prompt) + lacked * math.exp(-((1 / 7) ** 2))
        torch.testing.assert_close(call(x + 1, prompt), expected, rtol=0, atol=1e-6)


def test_batched_runs_the_unet_once_a_step():
    bench = bench_of("batched")
    expected = mixed(bench.unet, bench.inputs, K)
    bench.step()
    before = bench.unet.passes
    torch.testing.assert_close(bench.step(), expected, rtol=1e-4, atol=1e-5)
    assert bench.unet.passes == before + 1


def test_batched_where_the_host_cannot_double_a_call_is_exact():
    bench = bench_of("batched")
    expected = mixed(bench.unet, bench.inputs, K)
    for _ in range(2):
        assert torch.equal(bench.run.predict(bench.unet, lambda: bench.unet(*bench.inputs), CPU), expected)


@pytest.mark.parametrize("mode", list(MODES))
def test_every_mode_leaves_the_steps_outside_the_window_dense(mode):
    bench = bench_of(mode, window=StepWindow(0.5, 1.0))
    bench.run.position = Position(0, 10)
    assert torch.equal(bench.step(), mixed(bench.unet, bench.inputs, 0.0))
