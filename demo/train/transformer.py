"""``python -m demo.train.transformer``: a small SD3 on the latents and captions of the demo's checkpoint.

Rectified flow (Liu et al., arXiv 2209.03003): at time t the model sees (1 - t) * latents + t * noise and learns
noise - latents. Times are logit-normal, as SD3's. The text encoder and the autoencoder stay as they are.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from crdiff import console
from demo.evaluate.model import DemoModel
from demo.prepare import CHECKPOINT
from demo.train.mmdit import MMDiT, MMDiTShape
from demo.train.recipe import Recipe
from demo.train.unet import Latents, make_latents

SHAPE = MMDiTShape()
TRANSFORMER = CHECKPOINT.with_name("crdiff-demo-transformer.safetensors")
SAVE_EVERY = 60.0
"""Seconds."""


@dataclass(frozen=True)
class FlowRecipe:
    """How long, on how much, and how fast; training ends at the first limit that it reaches.

    Attributes:
        seed: of everything random.
        images: in the training set.
        steps: of the optimizer.
        seconds: since the start of the command.
        batch: latents a step.
        rate: the highest learning rate.
        warmup: steps with a rising rate.
        ema: of the weights that are kept.
        empty_caption: share of captions replaced by the empty one, for classifier-free guidance.
    """

    seed: int = 40
    images: int = 16000
    steps: int = 6000
    seconds: float = math.inf
    batch: int = 256
    rate: float = 2e-3
    warmup: int = 200
    ema: float = 0.999
    empty_caption: float = 0.1


class Scenes:
    """The training set on the device that trains.

    Args:
        latents: with their captions.
        model: its text encoder reads the captions.
        empty_caption: see FlowRecipe.
        device: that trains.
    """

    def __init__(self, latents: Latents, model: DemoModel, empty_caption: float, device: str) -> None:
        numbers = {caption: number for number, caption in enumerate(dict.fromkeys(["", *latents.captions]))}
        with torch.no_grad():
            self._contexts = model.text(list(numbers)).to(device)
        self._latents = latents.values.to(device)
        self._captions = torch.tensor([numbers[caption] for caption in latents.captions], device=device)
        self._empty_caption = empty_caption

    def batch(self, size: int) -> tuple[Tensor, Tensor]:
        """Latents ``[size, c, h, w]`` and texts ``[size, tokens, width]``, at random."""
        device = self._latents.device
        chosen = torch.randint(len(self._latents), (size,), device=device)
        captions = self._captions[chosen] * (torch.rand(size, device=device) >= self._empty_caption)
        return self._latents[chosen], self._contexts[captions]


def flow_loss(model: nn.Module, x: Tensor, context: Tensor) -> Tensor:
    """Mean squared error of the velocity at logit-normal times."""
    t = torch.randn(len(x), device=x.device).sigmoid()
    noise = torch.randn_like(x)
    share = t[:, None, None, None]
    with torch.autocast(x.device.type, torch.bfloat16, enabled=x.is_cuda):
        predicted = model((1 - share) * x + share * noise, t, context)
    return F.mse_loss(predicted.float(), noise - x)


class Trainer:
    """The model, the average of its weights, and their optimizer.

    Args:
        scenes: to learn from.
        recipe: how.
        device: that trains.
        eager: whether a GPU is given kernels one by one, instead of a step as a graph.
    """

    def __init__(self, scenes: Scenes, recipe: FlowRecipe, device: str, eager: bool) -> None:
        self._scenes, self._recipe = scenes, recipe
        self._model = MMDiT(SHAPE).to(device)
        self.average = copy.deepcopy(self._model).requires_grad_(False)
        self._averaged, self._trained = (list(one.parameters()) for one in (self.average, self._model))
        self._rate = torch.tensor(0.0, device=device)
        on_gpu = torch.device(device).type == "cuda"
        self._optimizer = torch.optim.AdamW(
            self._trained, self._rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True, capturable=on_gpu
        )
        self._total = torch.zeros((), device=device)
        self._graph = self._captured() if on_gpu and not eager else None

    def step(self, rate: float, decay: float) -> None:
        """One batch at a learning rate; ``decay`` is the average's."""
        self._rate.fill_(rate)
        if self._graph is None:
            self._learn()
        else:
            self._graph.replay()
        with torch.no_grad():
            torch._foreach_lerp_(self._averaged, self._trained, 1 - decay)

    def loss(self) -> float:
        """The sum over all steps since it was last asked for."""
        total = float(self._total)
        self._total.zero_()
        return total

    def _learn(self) -> None:
        self._optimizer.zero_grad(set_to_none=True)
        loss = flow_loss(self._model, *self._scenes.batch(self._recipe.batch))
        loss.backward()
        nn.utils.clip_grad_norm_(self._trained, 1.0)
        self._optimizer.step()
        self._total += loss.detach()

    def _captured(self) -> torch.cuda.CUDAGraph:
        """A step as one launch, since its kernels are too short to be launched one by one. The rate is still 0."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self._learn()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._learn()
        self._total.zero_()
        return graph


def share_of_rate(step: int, done: float, recipe: FlowRecipe) -> float:
    """Share of the full learning rate: a linear start, then a cosine down to a hundredth."""
    return min(1.0, (step + 1) / recipe.warmup) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def train(trainer: Trainer, recipe: FlowRecipe, began: float, save: Callable[[MMDiT], None]) -> None:
    """Hands ``save`` the averaged model every minute and at the end.

    Args:
        trainer: of the model.
        recipe: how long, and how fast.
        began: ``time.monotonic()`` at which its seconds began.
        save: keeps the model.
    """
    started = saved = time.monotonic()
    step, done = 0, 0.0
    while done < 1.0:
        trainer.step(recipe.rate * share_of_rate(step, done, recipe), min(recipe.ema, (step + 1) / (step + 10)))
        step += 1
        if step % 100 == 0:
            each = (time.monotonic() - started) / step
            print(f"transformer {step}, loss {trainer.loss() / 100:.4f}, {1000 * each:.1f} ms a step", flush=True)
        now = time.monotonic()
        done = max(step / recipe.steps, (now - began) / recipe.seconds)
        if now - saved > SAVE_EVERY or done >= 1.0:
            save(trainer.average)
            saved = now


def main() -> None:
    """Draws the training set and trains."""
    console.allow_any_text()
    began, recipe = time.monotonic(), FlowRecipe()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=recipe.images, help="in the training set")
    parser.add_argument("--steps", type=int, default=recipe.steps)
    parser.add_argument("--seconds", type=float, default=recipe.seconds, help="after which it ends in any case")
    parser.add_argument("--batch", type=int, default=recipe.batch)
    parser.add_argument("--rate", type=float, default=recipe.rate)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=TRANSFORMER)
    parser.add_argument("--eager", action="store_true", help="give a GPU kernels one by one instead of as a graph")
    options = vars(parser.parse_args())
    device, out, eager = (options.pop(name) for name in ("device", "out", "eager"))
    recipe = replace(recipe, **options)
    torch.manual_seed(recipe.seed)
    model = DemoModel(CHECKPOINT, device)
    latents = make_latents(model.vae, replace(Recipe(), images=recipe.images, seed=recipe.seed), device)
    print(f"{recipe.images} images in {time.monotonic() - began:.1f} s", flush=True)

    def save(trained: MMDiT) -> None:
        weights = {name: value.half().cpu().contiguous() for name, value in trained.state_dict().items()}
        save_file(weights, str(out.with_suffix(".new")))
        out.with_suffix(".new").replace(out)

    out.parent.mkdir(parents=True, exist_ok=True)
    scenes = Scenes(latents, model, recipe.empty_caption, device)
    train(Trainer(scenes, recipe, device, eager), recipe, began, save)


if __name__ == "__main__":
    main()
