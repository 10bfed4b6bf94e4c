"""Training the UNet and the text encoder together."""

from __future__ import annotations

import copy
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from common.nn.schedule import alphas_cumprod
from common.nn.text import TextEncoder
from common.nn.unet import UNetModel
from common.nn.vae import ConvAutoencoder
from torch import Tensor, nn

from demo.scenes.draw import draw, random_scene
from demo.scenes.scene import NATIVE
from demo.train.recipe import TEXT, UNET, Recipe
from demo.train.vae import encode_pool

SAVE_EVERY = 500
CHUNK = 2000


@dataclass
class Latents:
    """The training set: latents ``[n, 4, 16, 16]`` and their captions."""

    values: Tensor
    captions: list[str]


def make_latents(vae: ConvAutoencoder, recipe: Recipe, device: str) -> Latents:
    """Draws and encodes the training set, a part at a time."""
    rng = random.Random(recipe.seed + 1)
    values, captions = [], []
    for start in range(0, recipe.images, CHUNK):
        scenes = [random_scene(rng) for _ in range(min(CHUNK, recipe.images - start))]
        images = np.stack([draw(scene, NATIVE, NATIVE, rng) for scene in scenes])
        values.append(encode_pool(vae, images, device))
        captions += [scene.caption() for scene in scenes]
    return Latents(torch.cat(values), captions)


class Both(nn.Module):
    """What is trained here, as one module."""

    def __init__(self) -> None:
        super().__init__()
        self.unet = UNetModel(UNET)
        self.text = TextEncoder(TEXT)


def v_loss(model: Both, x: Tensor, captions: list[str], alphas: Tensor) -> Tensor:
    """Mean squared error of v = sqrt(a) * noise - sqrt(1 - a) * x at random timesteps."""
    t = torch.randint(0, len(alphas), (len(x),), device=x.device)
    a = alphas[t][:, None, None, None]
    noise = torch.randn_like(x)
    noisy = a.sqrt() * x + (1 - a).sqrt() * noise
    predicted = model.unet(noisy, t, model.text(captions))
    return F.mse_loss(predicted.float(), a.sqrt() * noise - (1 - a).sqrt() * x)


def rate_at(step: int, recipe: Recipe) -> float:
    """Share of the full learning rate: a linear start, then a cosine down to a twentieth."""
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    done = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done))


def train_unet(latents: Latents, recipe: Recipe, device: str, state_file: Path, report: Callable[[str], None]) -> Both:
    """The exponential moving average of the weights. Goes on from ``state_file`` where there is one."""
    torch.manual_seed(recipe.seed + 2)
    model = Both().to(device)
    average = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(model.parameters(), recipe.rate, weight_decay=0.01, fused=True)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_at(step, recipe))
    alphas = alphas_cumprod().to(device)
    rng = random.Random(recipe.seed + 3)
    first = 0
    if state_file.is_file():
        state = torch.load(state_file, map_location=device, weights_only=True)
        first = state["step"]
        for part, name in ((model, "model"), (average, "average"), (optimizer, "optimizer"), (scheduler, "scheduler")):
            part.load_state_dict(state[name])
        rng.seed(recipe.seed + 3 + first)
        torch.manual_seed(recipe.seed + 2 + first)
    values, total, begun = latents.values.to(device), 0.0, time.monotonic()
    for step in range(first, recipe.steps):
        chosen = [rng.randrange(len(values)) for _ in range(recipe.batch)]
        captions = ["" if rng.random() < recipe.empty_caption else latents.captions[i] for i in chosen]
        loss = v_loss(model, values[chosen], captions, alphas)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        with torch.no_grad():
            decay = min(recipe.ema, (step + 1) / (step + 10))
            torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)
        total += loss.item()
        if (step + 1) % 100 == 0:
            seconds = (time.monotonic() - begun) / (step + 1 - first)
            report(f"unet {step + 1}/{recipe.steps} loss {total / 100:.4f}, {seconds:.2f} s a step")
            total = 0.0
        if (step + 1) % SAVE_EVERY == 0:
            parts = {"model": model, "average": average, "optimizer": optimizer, "scheduler": scheduler}
            state = {name: part.state_dict() for name, part in parts.items()}
            state_file.parent.mkdir(parents=True, exist_ok=True)
            torch.save({**state, "step": step + 1}, state_file.with_suffix(".new"))
            state_file.with_suffix(".new").replace(state_file)
    return average
