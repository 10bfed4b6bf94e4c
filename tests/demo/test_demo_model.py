"""The demo model outside a WebUI: its images against a second implementation, and what training made of it."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from crdiff.method.groups import Ratios
from demo.evaluate.judge import Judge
from demo.evaluate.model import DENSE, DemoModel, Drawing
from demo.prepare import CHECKPOINT
from demo.scenes.scene import judging_scenes, search_scenes

GROUPS = {"down": "input_blocks", "mid": "middle_block", "up": "output_blocks"}
QUICK = Drawing(steps=3, guidance=3.0, batch=2)


def pruned_copy(unet, ratios):
    """The UNet with the smallest weights of each group set to zero: kthvalue over all of the group's layers."""
    pruned = copy.deepcopy(unet)
    for group, ratio in ratios.items():
        weights = [
            weight
            for name, weight in pruned.named_parameters()
            if name.startswith(GROUPS[group]) and name.endswith("weight")
            if ".attn1.to_" in name or ".ff.net.0.proj" in name or ".ff.net.2" in name
        ]
        together = torch.cat([weight.data.abs().flatten() for weight in weights])
        threshold = together.kthvalue(int(together.numel() * ratio)).values
        for weight in weights:
            weight.data[weight.data.abs() <= threshold] = 0.0
    return pruned


def reference(model, prompt, seed, size, mix, drawing):
    """DPM++ 2M written out (Lu et al. 2022, Algorithm 2, in sigmas); ``mix`` makes v of x, t and the context."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    table = ((1 - (1 - betas).cumprod(0)) / (1 - betas).cumprod(0)).sqrt().float()
    times = torch.linspace(999, 0, drawing.steps)
    low, share = times.floor().long(), times.frac()
    log = table.log()
    sigmas = ((1 - share) * log[low] + share * log[times.ceil().long()]).exp()
    sigmas = torch.cat([sigmas, torch.zeros(1)])
    x = torch.randn((4, size[0] // 8, size[1] // 8), generator=torch.Generator().manual_seed(seed))[None] * sigmas[0]
    before = None
    for step in range(drawing.steps):
        sigma = sigmas[step]
        t = (log - sigma.log()).abs().argmin()[None]
        c_in, c_out = 1 / (sigma**2 + 1).sqrt(), -sigma / (sigma**2 + 1).sqrt()
        cond, uncond = (mix(x * c_in, t, model.text([text])) * c_out + x / (sigma**2 + 1) for text in (prompt, ""))
        denoised = uncond + drawing.guidance * (cond - uncond)
        following = sigmas[step + 1]
        if following == 0:
            x = denoised
        else:
            h = sigma.log() - following.log()
            wanted = denoised
            if before is not None:
                r = (sigmas[step - 1].log() - sigma.log()) / h
                wanted = (1 + 1 / (2 * r)) * denoised - 1 / (2 * r) * before
            x = following / sigma * x - math.expm1(-h) * wanted
        before = denoised
    return ((model.vae.decode(x)[0].permute(1, 2, 0) + 1) * 127.5).round().clamp(0, 255)


@pytest.mark.parametrize("k", [0.0, 1.0, 1.5, -1.0])
@torch.no_grad()
def test_an_image_is_the_mix_of_two_models(checkpoint, k):
    model = DemoModel(checkpoint)
    ratios = {"down": 0.3, "mid": 0.5, "up": 0.7}
    pruned = pruned_copy(model.unet, ratios)

    def mix(x, t, context):
        return k * pruned(x, t, context) + (1 - k) * model.unet(x, t, context)

    prompts = ["a red house left of a blue tree, by day", "a white fish left of a red star, at night"]
    drawn = model.draw(prompts, [3, 4], (96, 128), Ratios(**ratios), k, QUICK)
    for image, prompt, seed in zip(drawn, prompts, [3, 4]):
        expected = reference(model, prompt, seed, (96, 128), mix, QUICK).numpy()
        assert image.shape == (96, 128, 3)
        assert np.abs(image.astype(int) - expected).max() <= 1
    dense = model.draw(prompts, [3, 4], (96, 128), DENSE, k, QUICK)
    assert (np.array_equal(dense, drawn)) == (k == 0.0)


def test_the_shipped_model_draws_its_captions_at_home_and_loses_them_away():
    model, judge, scenes = DemoModel(CHECKPOINT), Judge(), judging_scenes(12)
    prompts, seeds = [scene.caption() for scene in scenes], range(12)
    home, away = (
        judge.verdict(model.draw(prompts, seeds, size, DENSE, 0.0, Drawing(steps=12, batch=12)), scenes)
        for size in ((128, 128), (96, 96))
    )
    assert home.right.sum() >= 10
    assert away.right.sum() <= 6
    assert CHECKPOINT.stat().st_size <= 15_000_000


def test_self_attention_is_scaled_by_what_its_tokens_are_to_those_of_training():
    model, size, prompt, seed = DemoModel(CHECKPOINT), (80, 128), search_scenes(1)[0].caption(), 7
    drawn = model.draw([prompt], [seed], size, DENSE, 0.0, replace(QUICK, scaled_attention=True))[0]
    by_layer, tokens = {}, (80 // 8) * (128 // 8)
    for name, module in model.unet.named_modules():
        if name.endswith("attn1"):
            # The UNet halves height and width from level to level, as its middle tells by its channels.
            level = {64: 4, 96: 16}[module.to_q.weight.shape[0]]
            by_layer[name] = math.sqrt(math.log(tokens / level) / math.log(256 / level))
            module.to_q.weight.data *= by_layer[name]
    assert all(0.85 < factor < 1.0 for factor in by_layer.values())
    expected = model.draw([prompt], [seed], size, DENSE, 0.0, QUICK)[0]
    assert np.abs(drawn.astype(int) - expected).max() <= 1
