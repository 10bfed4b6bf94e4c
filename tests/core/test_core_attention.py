"""Scaled self-attention, against a UNet whose query weights are scaled instead, which comes to the same logits."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from run_bench import RATIOS, Bench, mixed, touched
from small_unet import masked_copy

from crdiff.errors import PresetError, SettingsError
from crdiff.method.attention_scale import AttentionScale
from crdiff.models.checkpoint import Checkpoint
from crdiff.models.family import OTHER, transformer_family
from crdiff.models.unet import SD15, SD21, SDXL
from crdiff.plan import plan_for
from crdiff.presets.size import Size
from crdiff.settings import Settings

TOKENS, CELLS = 30, 30
"""Of the small UNet's inputs, which it does not scale down."""


def scaled(unet, factor):
    """With the queries of self-attention, and nothing else, times ``factor``."""
    changed = copy.deepcopy(unet)
    with torch.no_grad():
        for name, weight in changed.named_parameters():
            if name.endswith("attn1.to_q.weight"):
                weight.mul_(factor)
    return changed


def expected(unet, inputs, k, factor):
    dense, pruned = scaled(unet, factor)(*inputs), scaled(masked_copy(unet, RATIOS), factor)(*inputs)
    if k in (0.0, 1.0):
        return pruned if k else dense
    return k * pruned + (1.0 - k) * dense


@pytest.mark.parametrize("k", [0.0, 1.0, 1.5, -0.5])
def test_a_factor_is_one_on_the_queries_of_both_passes(k):
    # Half is exact in every float, so that the reference is so too.
    bench = Bench(k, attention=AttentionScale(0.5))
    for _ in range(3):
        assert torch.equal(bench.step(), expected(bench.unet, bench.inputs, k, 0.5))
    assert bench.run.adapted.attention == AttentionScale(0.5) and bench.run.inaction is None
    bench.run.close()
    assert not touched(bench.unet)
    assert torch.equal(bench.unet(*bench.inputs), mixed(bench.unet, bench.inputs, 0.0))


@pytest.mark.parametrize("mode", ["exact", "batched", "balanced"])
def test_every_mode_scales_by_the_tokens(mode):
    factor = math.sqrt(math.log(TOKENS) / math.log(512 * 512 / 64))  # at 512x512 there are as many tokens as cells
    assert factor < 0.7
    bench = Bench(attention=AttentionScale(native=(512, 512)), mode=mode)
    for _ in range(3):
        assert torch.allclose(bench.step(), expected(bench.unet, bench.inputs, 1.5, factor), atol=1e-5)


def test_alone_it_costs_one_pass_and_at_the_native_size_nothing_changes():
    bench = Bench(ratios=(0.0, 0.0, 0.0), attention=AttentionScale(0.5))
    assert bench.passes(bench.step) == 1
    assert torch.equal(bench.step(), scaled(bench.unet, 0.5)(*bench.inputs))
    native = Bench(attention=AttentionScale(native=(40, 48)))  # 5 x 6 cells
    assert torch.equal(native.step(), Bench(unet=native.unet).step())


def test_only_the_queries_of_self_attention_are_patched_for_it():
    counts = []
    for attention in (None, AttentionScale(0.5)):
        bench = Bench(attention=attention)
        for _ in range(3):  # plain layers lose their patch after the first step
            bench.step()
        counts.append(len(touched(bench.unet)))
    assert counts[1] == counts[0] + 6  # blocks


def test_what_no_pass_scaled_is_not_told_as_scaled():
    bench = Bench(attention=AttentionScale(0.5))
    bench.access.refusal = "no."
    assert torch.equal(bench.step(), bench.unet(*bench.inputs))
    assert bench.run.adapted is None and bench.run.refusals == ["no."]


@pytest.mark.parametrize(
    ("tokens", "pixels", "factor"),
    [
        # SDXL's two depths with self-attention, a sixteenth and a thirty-second of the sides.
        (32 * 32, 512 * 512, 0.913),
        (16 * 16, 512 * 512, 0.894),
        (96 * 96, 1536 * 1536, 1.048),
        (48 * 48, 1536 * 1536, 1.057),
        (64 * 64, 1024 * 1024, 1.0),
        (1, 64, 1.0),
    ],
)
def test_the_factor_is_the_papers(tokens, pixels, factor):
    assert AttentionScale(native=(1024, 1024)).of(tokens, pixels) == pytest.approx(factor, abs=5e-4)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("off", "off"), (" Off ", "off"), ("auto", "auto"), ("AUTO", "auto"), ("auto 768X512", "auto 768x512"),
        ("0.90", "0.9"), (0.9, "0.9"), (1, "1"), ("4", "4"),
    ],
)  # fmt: skip
def test_what_is_written_is_read_as_the_same(given, text):
    settings = Settings(attention_scale=given)
    assert settings.attention_scale == text
    assert Settings(attention_scale=text) == settings


@pytest.mark.parametrize(
    "given", ["", "on", "auto 0x1", "auto 512", "512x512", 0.2, 4.1, "nan", math.inf, True, None, []]
)
def test_what_is_none_of_these_is_refused(given):
    with pytest.raises(SettingsError, match=r"^CR-Diff: attention_scale must be off, auto, .* not .*\.$"):
        Settings(attention_scale=given)


def test_auto_knows_the_families_sizes():
    def native(family, scale="auto"):
        return plan_for(Settings(True, attention_scale=scale, preset="custom"), Size(400, 400)).make(
            Checkpoint("a", family)
        )

    found = {family.value: native(family).attention.native for family in (SD15, SD21, SDXL)}
    assert found == {"sd15": (512, 512), "sd21": (768, 768), "sdxl": (1024, 1024)}
    assert native(OTHER, "auto 96x128").attention.native == (96, 128)
    for family in (OTHER, transformer_family("flux", "Flux")):
        with pytest.raises(PresetError, match="attention scale"):
            native(family)
