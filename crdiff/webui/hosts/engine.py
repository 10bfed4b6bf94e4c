"""The hook of every host that keeps its model in ``forge_objects``: Forge, Neo, reForge and Classic.

It is an instance override of ``unet.model.apply_model``, the innermost call that sees the UNet's inputs, so that
function wrappers, PAG, SAG and tiling compose with it whatever their order. The refiner and hires fix load a new
model in the middle of a run, so it is put in place at each denoiser call.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from crdiff.guidance.access import HostedRun
from crdiff.patching import Original, Patch
from crdiff.webui.hosts.arguments import doubled, fresh, repeated, taken_apart


def live_model(engine: Any) -> Any:
    """The object whose ``apply_model`` and ``diffusion_model`` the host draws with now."""
    return engine.forge_objects.unet.model


class EngineHook:
    """Keeps a run connected to the model of the moment."""

    def __init__(self, run: HostedRun) -> None:
        self._run = run
        self._model: Any = None
        self._patch: Patch | None = None

    def on_denoiser(self, denoiser: Any) -> None:
        """See DenoiserHook."""
        model = live_model(denoiser.inner_model.inner_model)
        if self._model is model:
            return
        self.close()

        def apply_model(original: Original, *args: Any, **kwargs: Any) -> torch.Tensor:
            x = args[0] if args else kwargs.get("x")
            if not isinstance(x, torch.Tensor):
                return original(*args, **kwargs)

            def once() -> torch.Tensor:
                result: torch.Tensor = original(*args, **fresh(kwargs))
                return result

            def twice() -> torch.Tensor:
                result: torch.Tensor = original(*repeated(args, len(x)), **doubled(kwargs, len(x)))
                return result

            context = kwargs.get("c_crossattn")
            context = context if isinstance(context, torch.Tensor) else None
            arguments = taken_apart(args, kwargs, x.device, lambda some, named: original(*some, **named))
            cells = x.shape[-2] * x.shape[-1]
            return self._run.predict(model.diffusion_model, once, x.device, context, twice, arguments, cells)

        self._model = model
        self._patch = Patch(model, "apply_model", apply_model)

    def close(self) -> None:
        """Leave the model as it was."""
        if self._patch is not None:
            self._patch.remove()
        self._model = self._patch = None


@contextmanager
def hooked_engine(run: HostedRun) -> Iterator[EngineHook]:
    """See Host.hooked."""
    hook = EngineHook(run)
    try:
        yield hook
    finally:
        hook.close()
