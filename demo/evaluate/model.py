"""The demo's model without a WebUI: batches of images, drawn through CR-Diff's own sampling run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import common.kdiff  # makes k-diffusion importable  # noqa: F401
import numpy as np
import torch
from common.checkpoints import TEXT_PREFIX, UNET_PREFIX, VAE_PREFIX, read_config
from common.nn.schedule import alphas_cumprod
from common.nn.text import TextEncoder
from common.nn.unet import UNetModel
from common.nn.vae import FACTOR, LATENT_CHANNELS, build_vae
from k_diffusion import sampling
from k_diffusion.external import DiscreteVDDPMDenoiser
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from crdiff.calibration.gradients import summed_gradients
from crdiff.calibration.run import Calibration, CalibrationRun, Gathered
from crdiff.guidance.access import PlainAccess
from crdiff.guidance.run import Run
from crdiff.method.attention_scale import AttentionScale
from crdiff.method.groups import GROUPS, Ratios
from crdiff.method.schedule import Position, Schedule
from crdiff.modes.registry import DEFAULT_MODE
from crdiff.plan import Plan, Planner
from crdiff.pruning.registry import DEFAULT_CRITERION
from crdiff.pruning.store import Store
from demo.scenes.scene import NATIVE

DENSE = Ratios()


@dataclass(frozen=True)
class Drawing:
    """How images are drawn.

    Attributes:
        steps: on the model's own sigmas.
        guidance: of classifier-free guidance.
        batch: images at a time.
        sampler: name of k-diffusion's function, without ``sample_``.
        mode: how CR-Diff's passes are computed, a name in ``MODES``.
        criterion: what decides which weights are pruned, a name in ``CRITERIA``.
        scaled_attention: whether self-attention is scaled by its tokens, see AttentionScale.
    """

    steps: int = 12
    guidance: float = 3.0
    batch: int = 25
    sampler: str = "dpmpp_2m"
    mode: str = DEFAULT_MODE
    criterion: str = DEFAULT_CRITERION
    scaled_attention: bool = False


class _Denoiser(DiscreteVDDPMDenoiser):
    """Classifier-free guidance around the UNet, whose every call goes through the sampling run."""

    def __init__(self, unet: UNetModel, run: Run | CalibrationRun | None, context: Tensor, drawing: Drawing) -> None:
        super().__init__(unet, alphas_cumprod(), quantize=True)
        self._run, self._context, self._drawing = run, context, drawing
        self._calls = 0

    def get_v(self, x: Tensor, t: Tensor) -> Tensor:
        def forward() -> Tensor:
            return self.inner_model(x, t, self._context)

        if self._run is None:
            return forward()
        cells = x.shape[-2] * x.shape[-1]
        return self._run.predict(self.inner_model, forward, x.device, self._context, cells=cells)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        if self._run is not None:
            self._run.position = Position(self._calls, self._drawing.steps)
        self._calls += 1
        cond, uncond = super().forward(x.repeat(2, 1, 1, 1), sigma.repeat(2)).chunk(2)
        return uncond + self._drawing.guidance * (cond - uncond)


class DemoModel:
    """A checkpoint of the demo's layout, in float32. The starting noise is the CPU's, and so alike on all devices.

    Args:
        path: its file.
        device: that draws.
    """

    def __init__(self, path: Path, device: str = "cpu") -> None:
        config, weights = read_config(path), load_file(str(path))
        self.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        self.unet, self.text, self.vae = UNetModel(config.unet), TextEncoder(config.text), build_vae(config.vae)
        prefixes = (UNET_PREFIX, TEXT_PREFIX[config.family], VAE_PREFIX)
        for module, prefix in zip((self.unet, self.text, self.vae), prefixes):
            own = {name[len(prefix) :]: value for name, value in weights.items() if name.startswith(prefix)}
            module.load_state_dict(own)
            module.float().eval().requires_grad_(False).to(device)
        self._device = torch.device(device)
        self._store = Store()

    @torch.no_grad()
    def draw(
        self, prompts: Sequence[str], seeds: Sequence[int], size: tuple[int, int], ratios: Ratios | Schedule,
        k: float, drawing: Drawing,
    ) -> list[NDArray[np.uint8]]:  # fmt: skip
        """An image ``[height, width, 3]`` for each prompt and seed, in order.

        Args:
            prompts: one for each image.
            seeds: of the starting noise, as long as ``prompts``.
            size: height and width in pixels.
            ratios: pruning ratios, at every step or over the steps.
            k: amplification, in stages that have none of their own; with 0, or ratios 0, the dense model draws.
            drawing: steps, guidance, batch.
        """
        drawn: list[NDArray[np.uint8]] = []
        for start in range(0, len(prompts), drawing.batch):
            part = slice(start, start + drawing.batch)
            drawn += self._decoded(self.latents(prompts[part], seeds[part], size, ratios, k, drawing))
        return drawn

    @torch.no_grad()
    def latents(
        self, prompts: Sequence[str], seeds: Sequence[int], size: tuple[int, int], ratios: Ratios | Schedule,
        k: float, drawing: Drawing,
    ) -> Tensor:  # fmt: skip
        """(images, channels, height / 8, width / 8), all in one batch; see ``draw``."""
        schedule = ratios if isinstance(ratios, Schedule) else Schedule.constant(ratios)
        attention = AttentionScale(native=(NATIVE, NATIVE)) if drawing.scaled_attention else None
        plan = Plan(schedule, k, "", attention)
        if plan.idle:
            return self._sample(prompts, seeds, size, None, drawing)
        planner = Planner.fixed(plan, drawing.mode, drawing.criterion)
        with Run(planner, PlainAccess(sha256=self.sha256), self._store) as run:
            return self._sample(prompts, seeds, size, run, drawing)

    @torch.no_grad()
    def calibrate(
        self, prompts: Sequence[str], seeds: Sequence[int], size: tuple[int, int], drawing: Drawing,
        hessians: Collection[str] = GROUPS, differentiated: bool = True,
    ) -> None:  # fmt: skip
        """Watch the layers while the dense model draws; the calibration is then the one in force.

        Its gradients are those of the denoising loss on these images, noised to the drawing's steps.

        Args:
            prompts: one for each image.
            seeds: of the starting noise, as long as ``prompts``.
            size: height and width in pixels.
            drawing: steps, guidance, batch.
            hessians: the groups whose Hessians are gathered too.
            differentiated: whether gradients are.
        """
        calibration = Calibration(hessians, by_step=True)
        losses: list[Callable[[], Tensor]] = []
        with CalibrationRun(calibration, PlainAccess(sha256=self.sha256)) as run:
            for start in range(0, len(prompts), drawing.batch):
                part = slice(start, start + drawing.batch)
                latents = self._sample(prompts[part], seeds[part], size, run, drawing)
                if differentiated:
                    losses += self._denoising_losses(latents, self.text(list(prompts[part])), drawing.steps)
        made = {"images": str(len(prompts)), "size": f"{size[0]}x{size[1]}", "steps": str(drawing.steps)}
        gradients = summed_gradients(self.unet, losses).halves() if differentiated else None
        self._store = Store(calibrations=Gathered(calibration, made, gradients))

    def forget(self) -> None:
        """Drop what criteria have gathered of the weights; the calibration in force stays."""
        self._store = Store(calibrations=self._store.calibrations)

    def _denoising_losses(self, latents: Tensor, context: Tensor, steps: int) -> Iterator[Callable[[], Tensor]]:
        """Of images noised to each step, the mean squared error of the UNet's prediction of v."""
        generator, schedule = torch.Generator().manual_seed(0), alphas_cumprod()
        for time in torch.linspace(0, len(schedule) - 1, steps).round().long():
            signal, noisy = schedule[time].sqrt(), (1.0 - schedule[time]).sqrt()
            noise = torch.randn(latents.shape, generator=generator).to(latents)
            given, target = signal * latents + noisy * noise, signal * noise - noisy * latents
            times = time.to(self._device).expand(len(latents))
            yield partial(self._loss, given, times, context, target)

    def _loss(self, given: Tensor, times: Tensor, context: Tensor, target: Tensor) -> Tensor:
        return nn.functional.mse_loss(self.unet(given, times, context), target)

    def _decoded(self, latents: Tensor) -> list[NDArray[np.uint8]]:
        images = (self.vae.decode(latents).permute(0, 2, 3, 1) + 1) * 127.5
        return list(images.round().clamp(0, 255).byte().cpu().numpy())

    def _sample(
        self, prompts: Sequence[str], seeds: Sequence[int], size: tuple[int, int], run: Run | CalibrationRun | None,
        drawing: Drawing,
    ) -> Tensor:  # fmt: skip
        """Latents ``[images, channels, height, width]``."""
        shape = (LATENT_CHANNELS, size[0] // FACTOR, size[1] // FACTOR)
        noise = torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
        context = torch.cat([self.text(list(prompts)), self.text([""] * len(prompts))])
        denoiser = _Denoiser(self.unet, run, context, drawing).to(self._device)
        sigmas = denoiser.get_sigmas(drawing.steps)
        start = noise.to(self._device) * sigmas[0]
        latents: Tensor = getattr(sampling, f"sample_{drawing.sampler}")(denoiser, start, sigmas, disable=True)
        if run is not None and run.refusals:
            raise RuntimeError(run.refusals[0])
        return latents
