"""Training the scene scorer: images of all sizes and states, right ones and wrong ones."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from common.nn.vae import ConvAutoencoder
from PIL import Image, ImageFilter
from torch import Tensor

from demo.scenes.draw import OVERSAMPLING, RGB, background, draw, put_parts, random_scene, shape
from demo.scenes.scene import COLOURS, KINDS, TIMES, Scene
from demo.scenes.scorer import HEADS, OTHER, SceneScorer, classes_of, look
from demo.train.vae import to_tensor

SIZES = ((128, 128), (96, 96), (96, 128), (128, 96), (64, 128), (128, 64), (128, 192), (192, 128), (160, 160),
         (192, 192), (96, 192), (192, 96), (256, 256))  # fmt: skip
"""Height and width in pixels of the images it learns from, and is tested on."""

UNKNOWN = -100
"""A head that an image says nothing about."""


@dataclass(frozen=True)
class ScorerRecipe:
    """Steps, batches and rates."""

    seed: int = 30
    images: int = 16000
    steps: int = 2000
    batch: int = 64
    rate: float = 2e-3
    decoded: float = 0.4
    """Share of images that went through the autoencoder."""


def crowd(height: int, width: int, rng: random.Random) -> tuple[np.ndarray, dict[str, int]]:
    """An image with any number of things anywhere, spoiled ones among them, and what it shows."""
    tall, wide = height * OVERSAMPLING, width * OVERSAMPLING
    time = rng.choice(TIMES)
    image = background(time, tall, wide, rng)
    count = rng.choice((0, 1, 1, 2, 2, 2, 2, 3, 3, 4, 5))
    labels = dict.fromkeys(HEADS, UNKNOWN) | {"time": TIMES.index(time), "count": min(count, 3)}
    middles = sorted((i + 0.5) / max(count, 1) + rng.uniform(-0.1, 0.1) / max(count, 1) for i in range(count))
    largest = wide / max(count, 1) * 1.1
    for index, middle in enumerate(middles):
        kind, colour = rng.randrange(len(KINDS)), rng.randrange(len(COLOURS))
        size = min(largest, tall) * rng.uniform(0.45, 0.9)
        parts = shape(KINDS[kind])
        if rng.random() < 0.3:
            kind, parts = OTHER, spoiled(rng)
        y = tall * rng.uniform(0.3, 0.75)
        put_parts(image, parts, RGB[COLOURS[colour]], wide * middle, y, size)
        if count == 2:
            side = ("left", "right")[index]
            labels |= {f"{side}_kind": kind, f"{side}_colour": colour if kind != OTHER else UNKNOWN}
    return np.asarray(image.resize((width, height), Image.Resampling.BOX)), labels


def spoiled(rng: random.Random) -> list[tuple[str, list[tuple[float, float]]]]:
    """The parts of no kind of thing: a mixture of two kinds, a part alone, or a blot."""
    way = rng.randrange(3)
    if way == 0:
        a, b = rng.sample(KINDS, 2)
        return [*shape(a)[:1], *shape(b)[-1:]]
    if way == 1:
        part = rng.choice(shape(rng.choice([kind for kind in KINDS if kind != "star"])))
        return [("colour", part[1])] if part[0] == "ink" else [("ink", part[1])]
    points = [(rng.random(), rng.random()) for _ in range(rng.randrange(3, 7))]
    return [("colour", points)]


def stretched(height: int, width: int, rng: random.Random) -> tuple[np.ndarray, dict[str, int]]:
    """A scene as the model's training shows it, or with things of other sizes and places."""
    scene = random_scene(rng, training=False)
    return draw(scene, height, width, rng), classes_of(scene)


def worn(pixels: np.ndarray, rng: random.Random) -> np.ndarray:
    """Blurred, noisy, or of another contrast."""
    if rng.random() < 0.4:
        pixels = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.6))))
    shaken = pixels.astype(np.float32)
    if rng.random() < 0.5:
        noise = np.random.default_rng(rng.getrandbits(32)).normal(0.0, rng.uniform(2.0, 25.0), pixels.shape)
        shaken = shaken + noise.astype(np.float32)
    shaken = (shaken - 128) * rng.uniform(0.85, 1.15) + 128 + rng.uniform(-12, 12)
    return shaken.clip(0, 255).astype(np.uint8)


@torch.no_grad()
def through_vae(vae: ConvAutoencoder, pixels: np.ndarray, rng: random.Random) -> np.ndarray:
    """Encoded, disturbed a little, decoded."""
    z = vae.encode(to_tensor(pixels[None].copy()))
    generator = torch.Generator().manual_seed(rng.getrandbits(32))
    z = z + rng.uniform(0.0, 0.35) * torch.randn(z.shape, generator=generator)
    return ((vae.decode(z)[0].permute(1, 2, 0) + 1) * 127.5).clamp(0, 255).byte().numpy()


def sample(vae: ConvAutoencoder, recipe: ScorerRecipe, rng: random.Random) -> tuple[Tensor, dict[str, int]]:
    """One image as the network looks at it, and its classes."""
    height, width = rng.choice(SIZES)
    pixels, labels = (crowd if rng.random() < 0.6 else stretched)(height, width, rng)
    if rng.random() < recipe.decoded:
        pixels = through_vae(vae, pixels, rng)
    return look(worn(pixels, rng) if rng.random() < 0.7 else pixels), labels


def train_scorer(vae: ConvAutoencoder, recipe: ScorerRecipe, report: Callable[[str], None]) -> SceneScorer:
    """A scorer; what it reports last is its accuracy on new scenes, size by size."""
    torch.manual_seed(recipe.seed)
    rng = random.Random(recipe.seed)
    drawn = [sample(vae, recipe, rng) for _ in range(recipe.images)]
    images = (torch.cat([x for x, _ in drawn]) * 127).round().to(torch.int8)
    labels = {name: torch.tensor([classes[name] for _, classes in drawn]) for name in HEADS}
    report(f"scorer: {len(drawn)} images")
    scorer = SceneScorer()
    optimizer = torch.optim.AdamW(scorer.parameters(), recipe.rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.rate, recipe.steps, pct_start=0.1)
    for step in range(recipe.steps):
        chosen = torch.randint(0, len(images), (recipe.batch,))
        out = scorer(images[chosen].float() / 127)
        losses = [F.cross_entropy(out[name], labels[name][chosen], ignore_index=UNKNOWN) for name in HEADS]
        loss = torch.stack([value for value in losses if value.isfinite()]).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if (step + 1) % 250 == 0:
            report(f"scorer {step + 1}/{recipe.steps} loss {loss.item():.4f}")
    return scorer.eval()


def accuracy(scorer: SceneScorer, vae: ConvAutoencoder | None, size: tuple[int, int], count: int, seed: int) -> float:
    """Share of new held-out scenes of this size (height, width) that are named right in every part."""
    rng = random.Random(seed)
    scenes: list[Scene] = []
    while len(scenes) < count:
        scene = random_scene(rng, training=False)
        if scene.is_held_out():
            scenes.append(scene)
    images = [draw(scene, *size, rng) for scene in scenes]
    if vae is not None:
        images = [through_vae(vae, image, rng) for image in images]
    return float(scorer.right(torch.cat([look(image) for image in images]), scenes).float().mean())
