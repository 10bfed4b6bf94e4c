"""Copies of pruned weights: the same images with them, as many as memory allows, none of weights that move."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch
from run_bench import CPU, Bench, mixed
from small_unet import OwnLinear, make_inputs, make_unet, prunable_modules

from crdiff.modes.registry import MODES
from crdiff.pruning import copies
from crdiff.pruning.copies import CopyPolicy, copy_budget


@pytest.fixture
def pruned_weights(monkeypatch):
    """Shapes of the weights that are pruned anew."""
    shapes = []
    plain = torch.hardshrink

    def counted(weight, threshold, out):
        shapes.append(tuple(weight.shape))
        return plain(weight, threshold, out=out)

    monkeypatch.setattr(torch, "hardshrink", counted)
    return shapes


def bench_of(policy: CopyPolicy, mode: str = "exact", **options) -> Bench:
    return Bench(policy=policy, mode=mode, **options)


@pytest.mark.parametrize("mode", list(MODES))
@pytest.mark.parametrize("policy", [CopyPolicy.AUTO, CopyPolicy.ALWAYS])
def test_the_image_does_not_depend_on_it(policy, mode):
    bench, other = bench_of(policy, mode), bench_of(CopyPolicy.NEVER, mode)
    for seed in range(4):
        bench.inputs = other.inputs = make_inputs(seed=seed)
        assert torch.equal(bench.step(), other.step())


def test_copies_are_made_in_the_first_pass_on_a_processor_and_used_from_then_on(pruned_weights):
    bench = bench_of(CopyPolicy.ALWAYS)
    counts = []
    for _ in range(4):
        pruned_weights.clear()
        bench.step()
        counts.append(len(pruned_weights))
    assert counts == [36, 0, 0, 0]


def test_never_prunes_on_each_use(pruned_weights):
    bench = bench_of(CopyPolicy.NEVER)
    for _ in range(3):
        pruned_weights.clear()
        bench.step()
        assert len(pruned_weights) == 36


def test_the_largest_layers_are_kept_first(pruned_weights, monkeypatch):
    """Room for the six largest and one that is smaller."""
    sizes = sorted((module.weight.numel() * 4 for _, module in prunable_modules(make_unet())), reverse=True)
    monkeypatch.setattr(copies, "copy_budget", lambda device, policy: sum(sizes[:6]) + sizes[-1])
    bench = bench_of(CopyPolicy.AUTO)
    for _ in range(2):
        bench.step()
    pruned_weights.clear()
    bench.step()
    left = sorted((rows * columns * 4 for rows, columns in pruned_weights), reverse=True)
    assert left == sizes[6:-1]


def test_no_copies_are_kept_of_weights_that_the_host_makes_on_each_use(pruned_weights):
    unet = make_unet(linear=OwnLinear, dtype=torch.float32)
    for _, module in prunable_modules(unet):
        module.weight = torch.nn.Parameter(module.weight.to(torch.bfloat16), requires_grad=False)
    bench = bench_of(CopyPolicy.ALWAYS, unet=unet)
    for _ in range(3):
        pruned_weights.clear()
        bench.step()
        assert len(pruned_weights) == 36


def test_a_weight_changed_in_place_is_pruned_anew():
    bench = bench_of(CopyPolicy.ALWAYS, ratios=(0.0, 0.0, 0.4))
    for _ in range(3):
        bench.step()
    changed = bench.unet.output_blocks[0][1].transformer_blocks[0].attn1.to_q
    changed.weight.mul_(-1.0)  # the thresholds stay what they are
    assert torch.equal(bench.step(), mixed(bench.unet, bench.inputs, 1.5, (0.0, 0.0, 0.4)))


def test_copies_go_when_memory_runs_out(pruned_weights):
    bench = bench_of(CopyPolicy.ALWAYS)
    expected = mixed(bench.unet, bench.inputs, 1.5)
    for _ in range(3):
        bench.step()
    assert torch.equal(bench.step_out_of_memory(1), expected)
    for _ in range(3):
        pruned_weights.clear()
        assert torch.equal(bench.step(), expected)
        assert len(pruned_weights) == 36


def test_the_budget_leaves_a_margin(monkeypatch):
    gib = 2**30
    for available, expected in ((gib, 0), (4 * gib, int(2.5 * gib))):
        memory = SimpleNamespace(available=available)
        monkeypatch.setitem(sys.modules, "psutil", SimpleNamespace(virtual_memory=lambda memory=memory: memory))
        assert copy_budget(CPU, CopyPolicy.AUTO) == expected
    assert copy_budget(CPU, CopyPolicy.NEVER) == 0
    assert copy_budget(torch.device("meta"), CopyPolicy.AUTO) == 0
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert copy_budget(CPU, CopyPolicy.AUTO) == 0
