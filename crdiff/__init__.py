"""CR-Diff: cross-resolution diffusion through block-wise pruning and pruned output amplification.

It reads as the method reads (arXiv 2604.05524): ``settings`` -> ``plan`` for a model and a size -> ``pruning``, a
criterion's view of the live weights -> ``guidance``, the passes of a step -> ``method``, their mix. Nothing here
imports a WebUI or gradio; ``crdiff.webui`` alone does.

For any torch UNet, without a WebUI::

    from crdiff import PlainAccess, Run, Settings, Size, plan_for

and in a pipeline of diffusers ``with crdiff.applied(pipe): ...``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crdiff.guidance.access import PlainAccess
    from crdiff.guidance.run import Run
    from crdiff.method.schedule import Position
    from crdiff.pipelines import applied
    from crdiff.plan import plan_for
    from crdiff.presets.library import PresetLibrary
    from crdiff.presets.size import Size
    from crdiff.settings import Settings

__version__ = "1.0.0"
__all__ = ["PlainAccess", "Position", "PresetLibrary", "Run", "Settings", "Size", "applied", "plan_for"]

# Imported when asked for, so that what needs no torch does not wait for it.
_PLACES = {
    "PlainAccess": "crdiff.guidance.access",
    "Position": "crdiff.method.schedule",
    "PresetLibrary": "crdiff.presets.library",
    "Run": "crdiff.guidance.run",
    "Settings": "crdiff.settings",
    "Size": "crdiff.presets.size",
    "applied": "crdiff.pipelines",
    "plan_for": "crdiff.plan",
}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
