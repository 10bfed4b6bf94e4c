"""The UNet calls of a pipeline of diffusers, handed to a run that is told which step each is of.

Nothing of diffusers is imported: what is asked of a pipeline are its ``unet``, ``scheduler`` and ``vae_scale_factor``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch

from crdiff.errors import UnsupportedModelError
from crdiff.guidance.access import HostedRun
from crdiff.guidance.adapters import AdaptedAccess
from crdiff.method.schedule import Position
from crdiff.patching import Patch
from crdiff.presets.size import Size


class SteppedRun(HostedRun, Protocol):
    """A run, such as ``Run``, which see."""

    position: Position


BeginRun = Callable[[Size, AdaptedAccess], SteppedRun]
"""Makes the run of an image of a size, and ends the one before it."""


class PipelineHook:
    """Finds each image that a pipeline begins, and where in its schedule each call of the UNet stands.

    Args:
        pipe: a pipeline with a UNet.
        begin: makes a run for each image.
        sha256: of the checkpoint's file.

    Raises:
        UnsupportedModelError: it has no UNet whose layers could be pruned; when an image begins, if the UNet has been
            changed meanwhile.
    """

    def __init__(self, pipe: Any, begin: BeginRun, sha256: str | None = None) -> None:
        unet = getattr(pipe, "unet", None)
        if not isinstance(unet, torch.nn.Module):
            raise UnsupportedModelError(f"CR-Diff needs a pipeline with a UNet; {type(pipe).__name__} has none.")
        _check(unet)
        self._pipe, self._unet, self._begin_run = pipe, unet, begin
        self._checkpoint = (str(getattr(pipe, "name_or_path", "") or "model"), sha256)
        self._access = self.access()
        self._run: SteppedRun | None = None
        self._inside = False
        self._schedule: torch.Tensor | None = None
        self._timesteps: list[float] = []
        self._first = self._index = 0
        self._position: Position | None = None

    def access(self) -> AdaptedAccess:
        """The UNet with the LoRAs that it has now."""
        return AdaptedAccess(self._unet, *self._checkpoint)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Within it the UNet's calls go to runs; after it the UNet is as it was."""
        # accelerate, which offloads models, keeps a forward there and puts its own around it anew after each image.
        inside = "_old_forward" in vars(self._unet)
        patch = Patch(self._unet, "_old_forward" if inside else "forward", self._call)
        try:
            yield
        finally:
            patch.remove()
            self._run = None

    def _call(
        self, original: Callable[..., Any], sample: torch.Tensor, timestep: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """The UNet's forward: its output with the run's prediction in it."""
        if self._inside:
            return original(sample, timestep, *args, **kwargs)
        run = self._at(sample, timestep)
        outputs: list[Any] = []
        outer = self._unet.forward

        def forward() -> torch.Tensor:
            # A run may look on at the UNet's forward.
            inner = original if self._unet.forward is outer else self._unet.forward
            outputs.append(inner(sample, timestep, *args, **kwargs))
            prediction: torch.Tensor = outputs[-1][0]
            return prediction

        # The UNet's forward scales its LoRAs by it, and unscales them at its end.
        self._access.scale = (kwargs.get("cross_attention_kwargs") or {}).get("scale", 1.0)
        context = kwargs.get("encoder_hidden_states", args[0] if args else None)
        cells = sample.shape[-2] * sample.shape[-1]
        self._inside = True
        try:
            prediction = run.predict(self._unet, forward, sample.device, context, cells=cells)
        finally:
            self._inside = False
        last = outputs[-1]
        return (prediction, *last[1:]) if isinstance(last, tuple) else type(last)(sample=prediction)

    def _at(self, sample: torch.Tensor, timestep: Any) -> SteppedRun:
        """The run of this call, which stands where the scheduler's timesteps say."""
        now = float(torch.as_tensor(timestep).flatten()[0])
        schedule = self._pipe.scheduler.timesteps
        same = self._run is not None and schedule is self._schedule
        if same and self._timesteps[self._index] != now:
            later = [at for at in range(self._index, len(self._timesteps)) if self._timesteps[at] == now]
            same, self._index = bool(later), later[0] if later else 0
        if not same or self._run is None:
            self._begin(sample, schedule, now)
        assert self._run is not None
        # Image to image and the like take only the last of the scheduler's timesteps.
        count = getattr(self._pipe, "_num_timesteps", None) or len(self._timesteps) - self._first
        position = Position(min(self._index - self._first, count - 1), count)
        if position != self._position:
            self._run.position = self._position = position
        return self._run

    def _begin(self, sample: torch.Tensor, schedule: torch.Tensor, now: float) -> None:
        self._run = None  # should the next one not begin
        _check(self._unet)
        self._access = self.access()
        # Set at the beginning of each call of a pipeline, as a new tensor.
        self._schedule, self._timesteps = schedule, schedule.tolist()
        self._first = self._index = self._timesteps.index(now) if now in self._timesteps else 0
        height, width = (side * self._pipe.vae_scale_factor for side in sample.shape[-2:])
        self._run = self._begin_run(Size(height, width), self._access)
        self._position = None


def _check(unet: torch.nn.Module) -> None:
    """Raises UnsupportedModelError for a UNet some of whose layers would be passed over in silence."""
    for module in (unet, *unet.modules()):
        if hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None:
            reason = "a compiled UNet does not call the layers that it prunes; leave out torch.compile"
        elif getattr(module, "fused_projections", False):
            reason = "its queries, keys and values are fused; call unfuse_qkv_projections() first"
        elif any(parameter.is_meta for parameter in module.parameters(recurse=False)):
            reason = "its weights are elsewhere between its calls; use enable_model_cpu_offload() instead"
        else:
            continue
        raise UnsupportedModelError(f"CR-Diff cannot prune this UNet: {reason}.")
