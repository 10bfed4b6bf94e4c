"""The demo's small transformer without a WebUI: batches of images, drawn through CR-Diff's own sampling run."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from common.nn.vae import FACTOR, LATENT_CHANNELS
from numpy.typing import NDArray
from safetensors.torch import load_file

from crdiff.guidance.access import PlainAccess
from crdiff.guidance.run import Run
from crdiff.method.groups import Ratios
from crdiff.method.schedule import Position, Schedule
from crdiff.models.scope import RELEASED, Scope
from crdiff.plan import Plan, Planner
from crdiff.pruning.registry import DEFAULT_CRITERION
from crdiff.pruning.store import Store
from demo.evaluate.model import DemoModel
from demo.train.mmdit import MMDiT
from demo.train.transformer import SHAPE


@dataclass(frozen=True)
class Way:
    """How CR-Diff draws; all three groups have one ratio.

    Attributes:
        ratio: of pruning; 0 is the dense model.
        k: amplification.
        layers: a name in ``LAYER_SETS``.
        criterion: a name in ``CRITERIA``.
    """

    ratio: float = 0.0
    k: float = 1.0
    layers: str = RELEASED
    criterion: str = DEFAULT_CRITERION

    @property
    def plan(self) -> Plan:
        """What it comes to."""
        return Plan(Schedule.constant(Ratios(self.ratio, self.ratio, self.ratio)), self.k, "")


class DemoTransformer:
    """A checkpoint of ``demo.train.transformer``, in float32. Noises are the CPU's, and so alike on all devices.

    Args:
        path: its file.
        demo: whose text encoder and autoencoder it uses.
        device: that draws, the same as the demo model's.
    """

    def __init__(self, path: Path, demo: DemoModel, device: str = "cpu") -> None:
        self.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        self.transformer = MMDiT(SHAPE)
        self.transformer.load_state_dict(load_file(str(path)))
        self.transformer.float().eval().requires_grad_(False).to(device)
        self._demo, self._device, self._store = demo, torch.device(device), Store()

    @torch.no_grad()
    def draw(
        self, prompts: Sequence[str], seeds: Sequence[int], size: tuple[int, int], way: Way, steps: int,
        guidance: float = 3.0,
    ) -> list[NDArray[np.uint8]]:  # fmt: skip
        """An image ``[height, width, 3]`` for each prompt and seed, in order, by equal steps of Euler's method.

        Args:
            prompts: one for each image.
            seeds: of the starting noise, as long as ``prompts``.
            size: height and width in pixels.
            way: what draws.
            steps: from noise to image.
            guidance: of classifier-free guidance.

        Raises:
            RuntimeError: CR-Diff refuses the model.
        """
        planner = Planner.fixed(way.plan, criterion=way.criterion, scope=Scope(way.layers))
        run = Run(planner, PlainAccess(sha256=self.sha256), self._store) if way.ratio and way.k else None
        shape = (LATENT_CHANNELS, size[0] // FACTOR, size[1] // FACTOR)
        noises = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        x = torch.stack(noises).to(self._device)
        context = self._demo.text([*prompts, *[""] * len(prompts)])
        with run or nullcontext():
            for step in range(steps):
                if run is not None:
                    run.position = Position(step, steps)
                cond, uncond = self._velocity(run, x.repeat(2, 1, 1, 1), 1 - step / steps, context).chunk(2)
                x = x - (uncond + guidance * (cond - uncond)) / steps
            if run is not None and run.refusals:
                raise RuntimeError(run.refusals[0])
        images = (self._demo.vae.decode(x).permute(0, 2, 3, 1) + 1) * 127.5
        return list(images.round().clamp(0, 255).byte().cpu().numpy())

    def _velocity(self, run: Run | None, x: torch.Tensor, time: float, context: torch.Tensor) -> torch.Tensor:
        def forward() -> torch.Tensor:
            return self.transformer(x, x.new_full((len(x),), time), context)

        return forward() if run is None else run.predict(self.transformer, forward, x.device, context)
