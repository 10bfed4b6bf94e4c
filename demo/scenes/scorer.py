"""The scene scorer: how probable it is that an image shows what its caption says."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from demo.scenes.scene import COLOURS, KINDS, TIMES, Scene

SIDE = 64
"""Images of any size and shape are looked at as a square of this side, in pixels."""

COUNTS = 4
"""Classes of how many things there are: 0, 1, 2, and more."""

OTHER = len(KINDS)
"""The class of what is no kind of thing: a blot, a mixture, a half."""

HEADS = {
    "count": COUNTS,
    "time": len(TIMES),
    "left_kind": len(KINDS) + 1,
    "left_colour": len(COLOURS),
    "right_kind": len(KINDS) + 1,
    "right_colour": len(COLOURS),
}


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.SiLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.SiLU(),
    )  # fmt: skip


class SceneScorer(nn.Module):
    """A small convolutional classifier with a head for each part of a scene."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        widths = [3, width, 2 * width, 4 * width, 4 * width]
        self.body = nn.Sequential(*(_block(a, b) for a, b in itertools.pairwise(widths)))
        cells = (SIDE // 16) ** 2
        self.trunk = nn.Sequential(nn.Flatten(), nn.Linear(4 * width * cells, 192), nn.SiLU(), nn.Dropout(0.1))
        self.heads = nn.ModuleDict({name: nn.Linear(192, classes) for name, classes in HEADS.items()})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Logits of each head for images ``[n, 3, SIDE, SIDE]`` in -1..1."""
        features = self.trunk(self.body(x))
        return {name: head(features) for name, head in self.heads.items()}

    @torch.no_grad()
    def log_probabilities(self, x: Tensor, scenes: Sequence[Scene]) -> Tensor:
        """Log-probability of each scene, ``[n]``: that there are two things, and that every part of them is right."""
        total = torch.zeros(len(x), device=x.device)
        for name, logits in self(x).items():
            wanted = torch.tensor([classes_of(scene)[name] for scene in scenes], device=x.device)
            total += F.log_softmax(logits.float(), dim=-1).gather(1, wanted[:, None])[:, 0]
        return total

    @torch.no_grad()
    def right(self, x: Tensor, scenes: Sequence[Scene]) -> Tensor:
        """Whether the most probable class of every head is the scene's, ``[n]`` bool."""
        correct = torch.ones(len(x), dtype=torch.bool, device=x.device)
        for name, logits in self(x).items():
            wanted = torch.tensor([classes_of(scene)[name] for scene in scenes], device=x.device)
            correct &= logits.argmax(dim=-1) == wanted
        return correct

    def score(self, images: Sequence[Image.Image], caption: str) -> list[float]:
        """Probability, 0 to 1, that each image shows the caption.

        Raises:
            ValueError: ``caption`` is no caption of the demo's scenes.
        """
        return self.judge([np.asarray(image.convert("RGB")) for image in images], caption)[0]

    def judge(self, images: Sequence[np.ndarray], caption: str) -> tuple[list[float], list[bool]]:
        """Of each image ``[h, w, 3]`` uint8 the probability that it shows the caption, and whether it is right.

        Raises:
            ValueError: ``caption`` is no caption of the demo's scenes.
        """
        scenes = [Scene.from_caption(caption)] * len(images)
        x = torch.cat([look(image) for image in images])
        return self.log_probabilities(x, scenes).exp().tolist(), self.right(x, scenes).tolist()


def classes_of(scene: Scene) -> dict[str, int]:
    """The class of each head."""
    return {
        "count": 2,
        "time": TIMES.index(scene.time),
        "left_kind": KINDS.index(scene.left.kind),
        "left_colour": COLOURS.index(scene.left.colour),
        "right_kind": KINDS.index(scene.right.kind),
        "right_colour": COLOURS.index(scene.right.colour),
    }


def look(pixels: np.ndarray) -> Tensor:
    """An image ``[h, w, 3]`` uint8 as the network looks at it: ``[1, 3, SIDE, SIDE]`` in -1..1."""
    small = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1)[None].float() / 127.5 - 1.0


def save_scorer(scorer: SceneScorer, path: Path) -> None:
    """Writes the weights in half precision."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.half() if value.is_floating_point() else value
               for name, value in scorer.state_dict().items()}, str(path))  # fmt: skip


def load_scorer(path: Path) -> SceneScorer:
    """The scorer of a file, ready to score."""
    scorer = SceneScorer()
    scorer.load_state_dict(load_file(str(path)))
    return scorer.eval()
