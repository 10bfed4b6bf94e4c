"""Training the autoencoder."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from common.nn.vae import ConvAutoencoder
from numpy.typing import NDArray
from torch import Tensor

from demo.scenes.draw import draw, random_scene
from demo.scenes.scene import NATIVE
from demo.train.recipe import VAE_WIDTHS, Recipe

CROP = 64
NOISE = 0.1
PENALTY = 1e-3


def to_tensor(images: NDArray[np.uint8]) -> Tensor:
    """``[n, h, w, 3]`` uint8 to ``[n, 3, h, w]`` float in -1..1."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def pool(count: int, rng: random.Random) -> NDArray[np.uint8]:
    """``count`` training images at the native size."""
    return np.stack([draw(random_scene(rng), NATIVE, NATIVE, rng) for _ in range(count)])


def train_vae(recipe: Recipe, device: str, report: Callable[[str], None]) -> ConvAutoencoder:
    """An autoencoder whose latents are small and survive a little noise; its scale is set on the way out."""
    torch.manual_seed(recipe.seed)
    rng = random.Random(recipe.seed)
    images = pool(recipe.vae_images, rng)
    vae = ConvAutoencoder(VAE_WIDTHS).to(device)
    optimizer = torch.optim.AdamW(vae.parameters(), recipe.vae_rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.vae_rate, recipe.vae_steps, pct_start=0.1)
    for step in range(recipe.vae_steps):
        chosen = np.array(rng.sample(range(len(images)), recipe.vae_batch))
        top, left = rng.randrange(NATIVE - CROP + 1), rng.randrange(NATIVE - CROP + 1)
        x = to_tensor(images[chosen, top : top + CROP, left : left + CROP]).to(device)
        z = vae.encode(x)
        drawn = vae.decode(z + NOISE * torch.randn_like(z))
        loss = F.l1_loss(drawn, x) + F.mse_loss(drawn, x) + PENALTY * z.square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == recipe.vae_steps - 1:
            report(f"vae {step}/{recipe.vae_steps} L1 {F.l1_loss(drawn, x).item():.4f}, z {z.std().item():.2f}")
    with torch.no_grad():
        vae.scale_factor = float(1.0 / encode_pool(vae, images[:512], device).std())
    return vae


@torch.no_grad()
def encode_pool(vae: ConvAutoencoder, images: NDArray[np.uint8], device: str) -> Tensor:
    """Latents of all images, ``[n, 4, h/8, w/8]``."""
    parts = [vae.encode(to_tensor(images[i : i + 64]).to(device)).cpu() for i in range(0, len(images), 64)]
    return torch.cat(parts)
