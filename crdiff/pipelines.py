"""CR-Diff in a pipeline of diffusers.

    with crdiff.applied(pipe, preset="auto", k=1.5) as guided:
        image = pipe(prompt, height=400, width=560).images[0]
    print(*guided.report)

Nothing of diffusers is imported: what is asked of a pipeline are its ``unet``, ``scheduler`` and ``vae_scale_factor``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from crdiff.errors import UnsupportedModelError
from crdiff.guidance.adapters import AdaptedAccess
from crdiff.guidance.run import Run
from crdiff.method.schedule import Position
from crdiff.patching import Patch
from crdiff.plan import plan_for
from crdiff.presets.library import PresetLibrary
from crdiff.presets.size import Size
from crdiff.pruning.store import Store
from crdiff.settings import Settings


@contextmanager
def applied(
    pipe: Any,
    *,
    sha256: str | None = None,
    library: PresetLibrary | None = None,
    store: Store | None = None,
    **settings: Any,
) -> Iterator[Guided]:
    """Within the block every image of the pipeline is drawn with CR-Diff; after it the UNet is as it was.

    Args:
        pipe: a pipeline with a UNet, such as StableDiffusionXLPipeline.
        sha256: of the checkpoint's file, by which presets are looked up besides the family.
        library: where presets are looked up; None takes the built-in ones.
        store: what criteria have gathered of this pipeline's weights, to go on with in the next block; None forgets it.
        settings: fields of Settings, such as ``preset``, ``down``, ``mid``, ``up``, ``k``, ``mode`` or ``criterion``;
            ratios alone mean ``custom``. ``enabled=False`` leaves the pipeline alone.

    Raises:
        SettingsError: one of the settings cannot be used.
        UnsupportedModelError: the pipeline has no UNet whose layers could be pruned; when its call begins, if the UNet
            has been changed within the block.
    """
    wanted = Settings.from_dict({"enabled": True, **settings})
    unet = getattr(pipe, "unet", None)
    if not isinstance(unet, torch.nn.Module):
        raise UnsupportedModelError(f"CR-Diff needs a pipeline with a UNet; {type(pipe).__name__} has none.")
    _check(unet)
    guided = Guided(pipe, unet, wanted, sha256, library, store)
    patch = Patch(unet, "forward", guided.call) if wanted.enabled else None
    try:
        yield guided
    finally:
        if patch is not None:
            patch.remove()
        guided.close()


class Guided:
    """The images of one block; see ``applied``, which makes it."""

    def __init__(
        self,
        pipe: Any,
        unet: torch.nn.Module,
        settings: Settings,
        sha256: str | None,
        library: PresetLibrary | None,
        store: Store | None,
    ) -> None:
        self._pipe, self._unet, self._settings, self._library = pipe, unet, settings, library
        self._checkpoint = (str(getattr(pipe, "name_or_path", "") or "model"), sha256)
        self._access = AdaptedAccess(unet, *self._checkpoint)
        self._store = Store() if store is None else store
        self._run: Run | None = None
        self._size: Size | None = None
        self._schedule: torch.Tensor | None = None
        self._timesteps: list[float] = []
        self._first = self._index = 0
        self._position: Position | None = None
        self._said: list[str] = []
        self._refused: list[str] = []

    @property
    def report(self) -> tuple[str, ...]:
        """A sentence about every call of the pipeline so far: what it was drawn with, or why it was not."""
        return (*self._said, *self._sentences())

    @property
    def refusals(self) -> tuple[str, ...]:
        """Why calls, or parts of them, were drawn without CR-Diff though it was to act, in sentences."""
        return (*self._refused, *(self._run.refusals if self._run else ()))

    def call(self, original: Callable[..., Any], sample: torch.Tensor, timestep: Any, *args: Any, **kwargs: Any) -> Any:
        """The UNet's forward: its output with the amplified prediction in it."""
        run = self._at(sample, timestep)
        outputs: list[Any] = []

        def forward() -> torch.Tensor:
            outputs.append(original(sample, timestep, *args, **kwargs))
            prediction: torch.Tensor = outputs[-1][0]
            return prediction

        # The UNet's forward scales its LoRAs by it, and unscales them at its end.
        self._access.scale = (kwargs.get("cross_attention_kwargs") or {}).get("scale", 1.0)
        context = kwargs.get("encoder_hidden_states", args[0] if args else None)
        cells = sample.shape[-2] * sample.shape[-1]
        prediction = run.predict(self._unet, forward, sample.device, context, cells=cells)
        last = outputs[-1]
        return (prediction, *last[1:]) if isinstance(last, tuple) else type(last)(sample=prediction)

    def close(self) -> None:
        """End the run under way."""
        if self._run is not None:
            self._said += self._sentences()
            self._refused += self._run.refusals
            self._run.close()
            self._run = None

    def _at(self, sample: torch.Tensor, timestep: Any) -> Run:
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
        self.close()
        _check(self._unet)
        self._access = AdaptedAccess(self._unet, *self._checkpoint)
        # Set at the beginning of each call of a pipeline, as a new tensor.
        self._schedule, self._timesteps = schedule, schedule.tolist()
        self._first = self._index = self._timesteps.index(now) if now in self._timesteps else 0
        height, width = (side * self._pipe.vae_scale_factor for side in sample.shape[-2:])
        self._size = Size(height, width)
        self._run = Run(plan_for(self._settings, self._size, self._library), self._access, self._store)
        self._position = None

    def _sentences(self) -> list[str]:
        if self._run is None:
            return []
        found = [
            f"{self._size}: {one.family.label}, {one.plan.origin}, down/mid/up {one.ratios}, k {one.plan.k:g}."
            for one in self._run.applied
        ]
        refused = [f"{self._size}: {sentence} Drawn without CR-Diff." for sentence in self._run.refusals]
        adapted = self._run.adapted
        found += [] if adapted is None else [f"{self._size}: {', '.join(adapted.adaptations)}."]
        idle = self._run.inaction
        return found + refused + ([] if idle is None else [f"{self._size}: {idle}"])


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
