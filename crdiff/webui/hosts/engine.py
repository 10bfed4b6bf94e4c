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

from crdiff.guidance.run import SamplingRun
from crdiff.webui.hosts.doubling import repeated
from crdiff.webui.hosts.replacement import Original, Replacement


def live_model(engine: Any) -> Any:
    """The object whose ``apply_model`` and ``diffusion_model`` the host draws with now."""
    return engine.forge_objects.unet.model


def _fresh(values: dict[str, Any]) -> dict[str, Any]:
    """The arguments of one pass: the UNet empties ``control``'s lists and writes into ``transformer_options``."""
    fresh = dict(values)
    control = fresh.get("control")
    if isinstance(control, dict):
        fresh["control"] = {name: list(parts) if isinstance(parts, list) else parts for name, parts in control.items()}
    options = fresh.get("transformer_options")
    if isinstance(options, dict):
        fresh["transformer_options"] = dict(options)
    return fresh


def _doubled(values: dict[str, Any], rows: int) -> dict[str, Any]:
    """The arguments of one pass of all rows twice. The options name the conditions and their rows in lists."""
    twice: dict[str, Any] = repeated(_fresh(values), rows)
    options = twice.get("transformer_options")
    if isinstance(options, dict):
        if isinstance(options.get("cond_or_uncond"), list):
            options["cond_or_uncond"] = options["cond_or_uncond"] * 2
        for name in ("cond_indices", "uncond_indices"):
            if isinstance(options.get(name), list):
                options[name] = options[name] + [row + rows for row in options[name]]
    return twice


class EngineHook:
    """Keeps a run connected to the model of the moment."""

    def __init__(self, run: SamplingRun) -> None:
        self._run = run
        self._model: Any = None
        self._replacement: Replacement | None = None

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
                result: torch.Tensor = original(*args, **_fresh(kwargs))
                return result

            def doubled() -> torch.Tensor:
                result: torch.Tensor = original(*repeated(args, len(x)), **_doubled(kwargs, len(x)))
                return result

            context = kwargs.get("c_crossattn")
            context = context if isinstance(context, torch.Tensor) else None
            return self._run.predict(model.diffusion_model, once, x.device, context, doubled)

        self._model = model
        self._replacement = Replacement(model, "apply_model", apply_model)

    def close(self) -> None:
        """Leave the model as it was."""
        if self._replacement is not None:
            self._replacement.retire()
        self._model = self._replacement = None


@contextmanager
def hooked_engine(run: SamplingRun) -> Iterator[EngineHook]:
    """See Host.hooked."""
    hook = EngineHook(run)
    try:
        yield hook
    finally:
        hook.close()
