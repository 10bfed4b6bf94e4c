"""What both passes have in common is computed once, and the result is still that of two whole passes."""

from __future__ import annotations

import copy
import random

import numpy as np
import pytest
import torch
from run_bench import CPU, RATIOS, Bench, mixed
from small_unet import WIDTH, SmallUNet, make_inputs, make_unet, masked_copy
from torch import nn

CONVOLUTIONS = 8
"""Of one pass of the small UNet: one on entry, one in each of six stages, one at the end."""


@pytest.fixture
def convolutions(monkeypatch):
    """Counts the convolutions that are really computed."""
    counted = []
    plain = nn.Conv2d.forward

    def forward(self, x):
        counted.append(self)
        return plain(self, x)

    monkeypatch.setattr(nn.Conv2d, "forward", forward)
    return counted


@pytest.mark.parametrize(
    ("ratios", "second"),
    [
        (RATIOS, 6),  # before the first pruned layer: the entry and the first stage's own
        ((0.0, 0.5, 0.3), 4),
        ((0.0, 0.0, 0.3), 3),
        ((0.0, 0.5, 0.0), 4),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_second_pass_computes_only_what_differs(convolutions, ratios, second, dtype):
    bench = Bench(ratios=ratios, unet=make_unet(dtype=dtype))
    bench.inputs = make_inputs(dtype=dtype)
    expected = mixed(bench.unet, bench.inputs, 1.5, ratios)
    bench.step()
    for _ in range(2):
        convolutions.clear()
        assert torch.equal(bench.step(), expected)
        assert len(convolutions) == CONVOLUTIONS + second


@pytest.mark.parametrize("part", [False, True], ids=["a context", "a part of a longer one"])
def test_keys_and_values_of_the_prompt_are_computed_once(monkeypatch, part):
    """sd-webui-controlnet hands over all but the last of the context's tokens."""
    bench = Bench()
    bench.step()
    counted = []
    plain = nn.Linear.forward
    names = {id(module): name for name, module in bench.unet.named_modules()}

    def forward(self, x):
        counted.append(names[id(self)])
        return plain(self, x)

    if part:
        x, timesteps, context = bench.inputs
        bench.inputs = (x, timesteps, torch.cat([context, context[:, :1]], 1)[:, :-1])
    expected = mixed(bench.unet, bench.inputs, 1.5)
    monkeypatch.setattr(nn.Linear, "forward", forward)
    found = bench.step()
    assert torch.equal(found, expected)
    projections = [name for name in counted if name.endswith(("attn2.to_k", "attn2.to_v"))]
    assert len(projections) == len(set(projections)) == 12


def test_other_inputs_at_the_next_step():
    bench = Bench(ratios=(0.0, 0.0, 0.4))
    for seed in range(3):
        bench.inputs = make_inputs(seed=seed)
        assert torch.equal(bench.step(), mixed(bench.unet, bench.inputs, 1.5, bench.ratios))


class Residuals(SmallUNet):
    """Adds residuals to the outputs of its blocks in place, as ControlNet does."""

    def forward(self, x, timesteps, context):
        h = self.input_blocks[0](x)
        skips = []
        for stage in [*self.input_blocks[1:], self.middle_block]:
            h = stage(h, context)
            h += 0.3
            skips.append(h)
        for stage in self.output_blocks:
            skip = skips.pop()
            skip += 0.1
            h = stage(h + skip, context)
        return self.out(h)


def own_unet(kind: type[SmallUNet]) -> SmallUNet:
    unet = kind()
    unet.load_state_dict(make_unet().state_dict())
    return unet.requires_grad_(False).eval()


@pytest.mark.parametrize("ratios", [RATIOS, (0.0, 0.0, 0.4)])
def test_blocks_whose_outputs_are_changed_in_place(ratios):
    bench = Bench(ratios=ratios, unet=own_unet(Residuals))
    expected = mixed(bench.unet, bench.inputs, 1.5, ratios)
    for _ in range(2):
        assert torch.equal(bench.step(), expected)


def test_an_input_that_differs_from_pass_to_pass_is_computed_with():
    """An extension that changes the UNet's inputs from call to call gets a picture of each."""
    bench = Bench(ratios=(0.0, 0.0, 0.4))
    bench.step()
    x, timesteps, context = bench.inputs
    given = []

    def forward():
        given.append(x + len(given))
        return bench.unet(given[-1], timesteps, context + len(given))

    found = bench.run.predict(bench.unet, forward, CPU)
    pruned = masked_copy(bench.unet, bench.ratios)(given[0], timesteps, context + 1)
    dense = copy.deepcopy(bench.unet)
    bench.run.close()
    expected = 1.5 * pruned - 0.5 * dense_of(dense)(given[1], timesteps, context + 2)
    assert torch.equal(found, expected)


def dense_of(unet: nn.Module) -> nn.Module:
    """A copy without the overrides, which a deep copy takes along."""
    plain = make_unet()
    plain.load_state_dict(unet.state_dict())
    return plain


class Drawing(nn.Module):
    """A layer that draws from all the generators."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.drawn = inner, []

    def forward(self, x):
        self.drawn.append((float(torch.rand(())), random.random(), float(np.random.rand())))
        return self.inner(x) * sum(self.drawn[-1])


def test_a_block_that_draws_random_numbers_is_computed_twice_with_the_same():
    bench = Bench(ratios=(0.0, 0.0, 0.4))
    drawing = bench.unet.input_blocks[1][0] = Drawing(bench.unet.input_blocks[1][0])
    bench.step()
    drawing.drawn.clear()
    bench.step()
    assert len(drawing.drawn) == 2
    assert drawing.drawn[0] == drawing.drawn[1]
    after = (torch.rand(()), random.random(), np.random.rand())
    torch.manual_seed(0), random.seed(0), np.random.seed(0)
    drawing.drawn.clear()
    bench.step()
    once = (torch.rand(()), random.random(), np.random.rand())
    torch.manual_seed(0), random.seed(0), np.random.seed(0)
    bench.run.close()
    bench.unet(*bench.inputs)
    assert once == (torch.rand(()), random.random(), np.random.rand()) != after


@pytest.mark.parametrize("kind", ["hook", "pre-hook", "forward"])
def test_what_another_extension_hangs_onto_a_block_sees_both_passes(kind):
    bench = Bench(ratios=(0.0, 0.0, 0.4))
    seen = []
    block = bench.unet.input_blocks[2][0]
    if kind == "hook":
        block.register_forward_hook(lambda *_: seen.append(1))
    elif kind == "pre-hook":
        block.register_forward_pre_hook(lambda *_: seen.append(1))
    else:
        plain = block.forward
        block.forward = lambda x: seen.append(1) or plain(x)
    expected = mixed(bench.unet, bench.inputs, 1.5, bench.ratios)
    bench.step()
    seen.clear()
    assert torch.equal(bench.step(), expected)
    assert len(seen) == 2


class Patched(nn.Module):
    """A block that takes the host's options, in which extensions leave functions."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.calls = inner, 0

    def forward(self, x, options):
        self.calls += 1
        options["index"] += 1
        for patch in options.get("patches", {}).get("attn1_patch", ()):
            x = patch(x)
        return self.inner(x) * options["index"]


class Optioned(SmallUNet):
    """Hands ``transformer_options`` to its first block, as the Forge family does, and uses what it wrote there."""

    def __init__(self, patches) -> None:
        super().__init__()
        self.options = {"patches": patches}
        self.first = Patched(nn.Conv2d(4, WIDTH, 3, padding=1))

    def forward(self, x, timesteps, context):
        options = {"index": 0, "sigmas": timesteps, "block": ("input", 0), **self.options}
        h = self.input_blocks[0](x, options) * options["index"]
        for stage in [*self.input_blocks[1:], self.middle_block, *self.output_blocks]:
            h = stage(h, context)
        return self.out(h)


@pytest.mark.parametrize(
    ("patches", "calls"),
    [
        ({}, 1),
        ({"attn1_patch": [lambda x: x * 2]}, 2),
        ({"output_block_patch": [lambda h, skip, options: (h, skip)]}, 1),
    ],
    ids=["none", "inside the block", "between blocks"],
)
def test_options_that_a_block_reads_and_writes(patches, calls):
    unet = Optioned(patches)
    unet.input_blocks[0] = unet.first
    unet.requires_grad_(False).eval()
    bench = Bench(unet=unet)
    expected = mixed(unet, bench.inputs, 1.5)
    bench.step()
    unet.first.calls = 0
    assert torch.equal(bench.step(), expected)
    assert unet.first.calls == calls


def test_nothing_is_left_after_the_run():
    bench = Bench(ratios=(0.0, 0.0, 0.4))
    bench.step()
    assert any("forward" in module.__dict__ for module in bench.unet.modules())
    bench.run.close()
    assert not any("forward" in module.__dict__ for module in bench.unet.modules())


def test_memory_that_runs_out_once_costs_a_repetition_and_nothing_else():
    bench = Bench()
    expected = mixed(bench.unet, bench.inputs, 1.5)
    bench.step()
    assert torch.equal(bench.step_out_of_memory(1), expected)
    assert torch.equal(bench.step(), expected)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        bench.step_out_of_memory(2)
    bench.run.close()
    assert torch.equal(bench.unet(*bench.inputs), mixed(bench.unet, bench.inputs, 0.0))
    assert not any("forward" in module.__dict__ for module in bench.unet.modules())
