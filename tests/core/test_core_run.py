"""Sampling runs: what a step costs, draws and returns, against a deep-copied masked UNet."""

from __future__ import annotations

import copy
import random
import weakref
from collections import Counter

import numpy as np
import pytest
import torch
from run_bench import CPU, RATIOS, Bench, mixed, touched
from small_unet import SmallUNet, make_inputs, make_unet, masked_copy, prunable_modules

from crdiff.guidance.run import Run
from crdiff.method.amplify import amplify
from crdiff.method.groups import Ratios
from crdiff.method.schedule import Position, Schedule, StepWindow
from crdiff.models.unet import SD15
from crdiff.plan import Plan, Planner
from crdiff.pruning.copies import CopyPolicy


@pytest.mark.parametrize("k", [-2.0, 0.0, 0.5, 1.0, 1.5, 3.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_the_mix(k, dtype):
    bench = Bench(k, unet=make_unet(dtype=dtype))
    bench.inputs = make_inputs(dtype=dtype)
    expected = mixed(bench.unet, bench.inputs, k)
    for _ in range(3):
        found = bench.step()
        assert found.dtype is dtype
        assert torch.equal(found, expected)
    bench.run.close()
    assert torch.equal(bench.unet(*bench.inputs), mixed(bench.unet, bench.inputs, 0.0))
    assert not touched(bench.unet)


@pytest.mark.parametrize(("k", "value"), [(0.0, 2.0), (0.5, 2.5), (1.0, 3.0), (1.5, 3.5), (2.0, 4.0), (-1.0, 1.0)])
def test_amplification_is_affine(k, value):
    """z = k zP + (1 - k) zD with zP = 3 and zD = 2, by hand."""
    found = amplify(torch.full((2, 3), 3.0), torch.full((2, 3), 2.0), k)
    assert torch.equal(found, torch.full((2, 3), value))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_amplification_by_a_k_in_memory_is_the_same_to_the_bit(dtype):
    """Where a graph reads it; 1 - k has digits that float32 would have lost."""
    pruned, dense = torch.randn(2, 999, generator=torch.Generator().manual_seed(1)).to(dtype)
    for k in [step / 100 for step in range(-200, 301)]:
        in_memory = torch.tensor(k, dtype=torch.float64)
        assert torch.equal(amplify(pruned, dense, in_memory), amplify(pruned, dense, k))


def test_amplification_in_half_precision_is_computed_in_float32():
    pruned, dense = torch.tensor([60000.0], dtype=torch.float16), torch.tensor([59968.0], dtype=torch.float16)
    assert amplify(pruned, dense, 3.0).item() == 60064.0


@pytest.mark.parametrize(
    ("dtype", "first"), [(torch.float32, 4), (torch.bfloat16, 3), (torch.float16, 3)], ids=["fp32", "bf16", "fp16"]
)
def test_passes_of_a_step(dtype, first):
    """Two, and one more to count new weights; float32 weights take another for their last bits."""
    bench = Bench(unet=make_unet(dtype=dtype))
    bench.inputs = make_inputs(dtype=dtype)
    assert [bench.passes(bench.step) for _ in range(3)] == [first, 2, 2]
    again = Bench(unet=bench.unet, store=bench.store)
    again.inputs = bench.inputs
    assert bench.passes(again.step) == 2


@pytest.mark.parametrize(("k", "expected"), [(0.0, [1, 1, 1]), (1.0, [3, 1, 1])])
def test_one_pass_is_enough_for_one_of_the_two(k, expected):
    bench = Bench(k)
    assert [bench.passes(bench.step) for _ in range(3)] == expected


@pytest.mark.parametrize("ratios", [(0.0, 0.0, 0.0), (1e-6, 1e-6, 1e-6)])
def test_ratios_that_prune_nothing_cost_nothing(ratios):
    bench = Bench(ratios=ratios)
    expected = bench.unet(*bench.inputs)
    assert torch.equal(bench.step(), expected)
    assert bench.passes(bench.step) == 1
    assert bench.run.refusals == [] and bench.run.amplified == 0
    assert ("are 0" if not any(ratios) else "too small") in bench.run.inaction


def test_ratios_of_zero_do_not_even_count_the_weights():
    bench = Bench(ratios=(0.0, 0.0, 0.0))
    assert [bench.passes(bench.step) for _ in range(2)] == [1, 1]
    assert bench.run.applied == []


def test_some_groups_only():
    bench = Bench(ratios=(0.0, 0.6, 0.0))
    assert torch.equal(bench.step(), mixed(bench.unet, bench.inputs, 1.5, (0.0, 0.6, 0.0)))
    thresholds = bench.run.applied[0].sparsity
    assert [thresholds[group].threshold is None for group in ("down", "mid", "up")] == [True, False, True]


def test_steps_outside_the_window_are_dense_and_take_one_pass():
    bench = Bench(window=StepWindow(0.25, 0.75))
    bench.step()
    dense, both = mixed(bench.unet, bench.inputs, 0.0), mixed(bench.unet, bench.inputs, 1.5)
    seen = []
    for step in range(10):
        bench.run.position = Position(step, 8)
        before = bench.unet.passes
        found = bench.step()
        inside = torch.equal(found, both)
        assert inside or torch.equal(found, dense)
        seen.append((inside, bench.unet.passes - before))
    counted = seen.index((True, 4))
    seen[counted] = (True, 2)
    assert seen == [(False, 1)] * 2 + [(True, 2)] * 4 + [(False, 1)] * 4
    assert bench.run.amplified == 4 and bench.run.inaction is None


def test_a_run_that_did_nothing_says_why():
    """The other reasons are told where they arise."""
    never = Bench()
    assert "in no step" in never.run.inaction
    never.run.position = Position(0, 4)
    assert "Another extension" in never.run.inaction
    outside = Bench(window=StepWindow(0.3, 0.4))
    outside.run.position = Position(1, 2)
    outside.step()
    assert outside.run.inaction == "No step lies between start 0.3 and end 0.4."
    dense = Bench(0.0)
    dense.step()
    assert dense.run.inaction == "k is 0, which is the dense model alone."


def test_a_run_of_one_step_acts():
    bench = Bench()
    bench.run.position = Position(0, 1)
    assert torch.equal(bench.step(), mixed(bench.unet, bench.inputs, 1.5))


def test_the_dense_pass_comes_last():
    bench = Bench()
    outputs = []

    def forward():
        outputs.append(bench.unet(*bench.inputs))
        return outputs[-1]

    dense, pruned = mixed(bench.unet, bench.inputs, 0.0), mixed(bench.unet, bench.inputs, 1.0)
    for _ in range(2):
        bench.run.predict(bench.unet, forward, CPU)
        assert torch.equal(outputs[-1], dense)
        assert torch.equal(outputs[-2], pruned)


def random_state():
    return torch.get_rng_state().tolist(), random.getstate(), [str(part) for part in np.random.get_state()]


@pytest.mark.parametrize("k", [0.0, 0.5, 1.0, 1.5])
def test_all_passes_of_a_step_draw_the_same_and_the_next_step_goes_on(k):
    def seed():
        torch.manual_seed(7)
        random.seed(8)
        np.random.seed(9)

    unet = make_unet(noisy=True)
    bench, alone = Bench(k, unet=unet), copy.deepcopy(unet)
    seed()
    states = []
    for _ in range(3):
        alone(*bench.inputs)
        states.append(random_state())
    seed()
    for step in range(3):
        unet.drawn.clear()
        bench.step()
        assert set(unet.drawn) == {alone.drawn[step]}
        assert random_state() == states[step]
    assert len(set(alone.drawn)) == 3


def test_generators_of_the_hosts_own():
    bench = Bench()
    own = random.Random(5)
    bench.access.own_generators = [own]
    drawn = []

    def forward():
        drawn.append(own.random())
        return bench.unet(*bench.inputs)

    bench.run.predict(bench.unet, forward, CPU)
    assert len(drawn) == 4
    assert set(drawn) == {random.Random(5).random()}


def test_dropout_meets_both_passes_alike():
    bench = Bench(unet=make_unet(noisy=True))
    torch.manual_seed(1)
    random.seed(2)
    np.random.seed(3)
    found = bench.step()

    def alone(unet):
        torch.manual_seed(1)
        random.seed(2)
        np.random.seed(3)
        return unet(*bench.inputs)

    dense, pruned = alone(copy.deepcopy(make_unet(noisy=True))), alone(masked_copy(make_unet(noisy=True), RATIOS))
    assert torch.equal(found, (1.5 * pruned + (1.0 - 1.5) * dense))


def overwrite(unet: SmallUNet, seed: int) -> None:
    """As a host loads another checkpoint into the same modules."""
    for (_, module), (_, other) in zip(prunable_modules(unet), prunable_modules(make_unet(seed))):
        module.weight.copy_(other.weight)


def test_weights_overwritten_between_runs_are_counted_anew():
    bench = Bench()
    bench.step()
    bench.run.close()
    overwrite(bench.unet, seed=5)
    after = Bench(unet=bench.unet, store=bench.store)
    expected = mixed(bench.unet, bench.inputs, 1.5)
    assert torch.equal(after.step(), expected)


@pytest.mark.parametrize(
    "change", [{"checkpoint": "b"}, {"modifiers": ("style:0.8",)}, {}], ids=["checkpoint", "lora", "in place"]
)
def test_weights_overwritten_in_the_middle_of_a_run(change):
    bench = Bench()
    bench.step()
    overwrite(bench.unet, seed=6)
    for name, value in change.items():
        setattr(bench.access, name, value)
    expected = mixed(bench.unet, bench.inputs, 1.5)
    assert torch.equal(bench.step(), expected)
    assert bench.passes(bench.step) == 2
    assert len(bench.planned) == len(bench.run.applied) == 2
    bench.run.close()
    assert not touched(bench.unet)


def test_another_checkpoint_loaded_into_the_same_modules():
    """Of tensors made in inference mode torch counts no versions."""
    with torch.inference_mode():
        bench, refiner = Bench(unet=make_unet()), make_unet(seed=7)
        bench.step()
        bench.unet.load_state_dict(refiner.state_dict())
        assert torch.equal(bench.step(), mixed(refiner, bench.inputs, 1.5))
        assert bench.passes(bench.step) == 2
    bench.run.close()
    assert not bench.unet._load_state_dict_post_hooks


def test_weights_written_anew_with_the_values_they_had():
    """As by a LoRA that is merged at a layer's first call, of which the host has told before."""
    bench = Bench()
    bench.step()
    overwrite(bench.unet, seed=0)
    assert [bench.passes(bench.step) for _ in range(2)] == [2, 2]
    assert len(bench.run.applied) == 1


def test_the_refiner_takes_over_in_the_middle_of_a_run():
    bench, refiner = Bench(), make_unet(seed=7)
    bench.step()
    bench.access.checkpoint = "refiner"
    expected = mixed(refiner, bench.inputs, 1.5)
    assert torch.equal(bench.step(refiner), expected)
    assert not touched(bench.unet)
    bench.access.checkpoint = "a"
    assert torch.equal(bench.step(), mixed(bench.unet, bench.inputs, 1.5))
    assert not touched(refiner)
    assert len(bench.run.applied) == 3
    bench.run.close()
    assert not touched(bench.unet)


def test_another_unet_object_under_the_same_name():
    bench, other = Bench(), make_unet(seed=8)
    bench.step()
    assert torch.equal(bench.step(other), mixed(other, bench.inputs, 1.5))
    assert not touched(bench.unet)


def test_what_was_applied():
    bench = Bench()
    for _ in range(3):
        bench.step()
    (applied,) = bench.run.applied
    assert bench.planned == [(SD15, None)]
    assert (applied.family, applied.ratios, applied.plan.k) == (SD15, Ratios(*RATIOS), 1.5)
    masked = dict.fromkeys(("down", "mid", "up"), 0)
    for group, module in prunable_modules(masked_copy(bench.unet, RATIOS)):
        masked[group] += int((module.weight == 0).sum())
    assert {group: found.pruned for group, found in applied.sparsity.items()} == masked


STAGED = Schedule.parse(
    "0.2/0.5/0.3; 0.2/0.5/0.3/0.5 from 0.2; 0.2/0.5/0.3/2 from 0.3; 0/0.3/0.6/1 from 0.4; 0.6/0/0.2/0 from 0.6; "
    "0/0/0 from 0.8"
)


@pytest.mark.parametrize("mode", ["exact", "fast", "balanced", "batched"])
def test_stages_are_what_separate_runs_at_their_ratios_and_k_are(mode):
    """The masked copies are pruned by kthvalue; in exact and wherever one pass is enough it is they that are met."""
    bench = Bench()
    planner = Planner.fixed(Plan(STAGED, 1.5, "stages"), mode)
    bench.run = Run(planner, bench.access, bench.store, policy=CopyPolicy.ALWAYS)
    for step in [0, 2, 3, 4, 6, 8, 0]:
        bench.run.position = Position(step, 10)
        stage = STAGED.at(step / 10)
        k = (1.5 if stage.k is None else stage.k) if any(stage.ratios) else 0.0
        if mode == "exact" or k in (0.0, 1.0):
            assert torch.equal(bench.step(), mixed(bench.unet, bench.inputs, k, stage.ratios))
        else:
            alone = Bench(k, tuple(stage.ratios), unet=make_unet(), mode=mode)
            alone.run.position = bench.run.position
            torch.testing.assert_close(bench.step(), alone.step(), rtol=0, atol=1e-6)
    bench.run.close()
    assert not touched(bench.unet)


@pytest.mark.parametrize("mode", ["exact", "fast", "balanced"])
def test_copies_stay_in_place_while_stages_prune_the_same_layers_and_are_freed_when_they_do_not(mode):
    """Weights of a group that a stage leaves alone have no copy; each is written once a stage, for a new k if mixed."""
    bench = Bench()
    stages = Schedule.parse(
        "0.2/0.5/0.3; 0.4/0.3/0.6 from 0.125; 0.4/0.3/0.6/2 from 0.25; 0/0.5/0.3 from 0.375; 0/0.3/0.5/2 from 0.5; "
        "0/0/0 from 0.625"
    )
    bench.run = Run(Planner.fixed(Plan(stages, 1.5, "stages"), mode), bench.access, bench.store, CopyPolicy.ALWAYS)
    made: list[weakref.ref[torch.Tensor]] = []
    counts, written = [], []
    for step in range(12):
        bench.run.position = Position(step, 16)
        bench.step()
        alive = [one.pruned for held in bench.run._model._weights.values() for one in held.copies._copies.values()]
        made += [weakref.ref(one) for one in alive if not any(one is known() for known in made)]
        counts.append(len(made))
        written.append({one._version for one in alive})
        assert sum(one() is not None for one in made) == len(alive)
    of_groups = Counter(group for group, _ in prunable_modules(bench.unet))
    every, without_down = sum(of_groups.values()), of_groups["mid"] + of_groups["up"]
    assert counts == [every] * 6 + [every + without_down] * 6
    # The second kernel of what is mixed is written over the first one's result.
    kernels = [1, 1, 2, 2, 2, 2, 1, 1, 2, 2] if mode == "exact" else [1, 1, 3, 3, 5, 5, 1, 1, 3, 3]
    assert written == [*({one} for one in kernels), set(), set()]


def test_an_inner_call_of_the_hook_passes_through():
    """Hosts call a model's forward through several hooked layers."""
    bench = Bench()

    def outer():
        return bench.run.predict(bench.unet, lambda: bench.unet(*bench.inputs), CPU)

    found = bench.run.predict(bench.unet, outer, CPU)
    assert torch.equal(found, mixed(bench.unet, bench.inputs, 1.5))
