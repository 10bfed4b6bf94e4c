"""The callbacks an extension can register (``on_...``), how the host calls them, and the objects they are given.

A callback that raises is reported and passed over; whatever called it goes on. ``InterruptedException`` is a
``BaseException`` and passes through.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from modules import errors


@dataclass
class ImageSaveParams:
    image: Any
    p: Any
    filename: str
    pnginfo: dict


@dataclass
class CFGDenoiserParams:
    """What goes into one denoiser call; the host reads the fields back."""

    x: Any
    image_cond: Any
    sigma: Any
    sampling_step: int
    total_sampling_steps: int
    text_cond: Any
    text_uncond: Any
    denoiser: Any = None


@dataclass
class CFGDenoisedParams:
    """What came out, before guidance; not read back."""

    x: Any
    sampling_step: int
    total_sampling_steps: int
    inner_model: Any


@dataclass
class AfterCFGCallbackParams:
    """The guided result; the host reads ``x`` back."""

    x: Any
    sampling_step: int
    total_sampling_steps: int


@dataclass
class ImageGridLoopParams:
    imgs: list
    cols: int
    rows: int


@dataclass
class ScriptCallback:
    script: str
    callback: Callable


CATEGORIES = (
    "app_started", "model_loaded", "ui_tabs", "ui_settings", "before_image_saved", "image_saved",
    "cfg_denoiser", "cfg_denoised", "cfg_after_cfg", "before_component", "after_component", "image_grid",
    "infotext_pasted", "before_ui",
)
LAST_FIRST = ("before_ui",)
callback_map: dict[str, list[ScriptCallback]] = {f"callbacks_{name}": [] for name in CATEGORIES}


def clear_callbacks() -> None:
    for callbacks in callback_map.values():
        callbacks.clear()


def _caller() -> str:
    return next((x.filename for x in inspect.stack() if x.filename != __file__), "unknown file")


def _registrar(category: str) -> Callable:
    def register(callback: Callable, *, name: str | None = None) -> None:
        callback_map[f"callbacks_{category}"].append(ScriptCallback(_caller(), callback))

    return register


def _caller_of(category: str) -> Callable:
    def call(*args: Any, **kwargs: Any) -> list[Any]:
        results = []
        callbacks = callback_map[f"callbacks_{category}"]
        for c in reversed(callbacks) if category in LAST_FIRST else list(callbacks):
            try:
                results.append(c.callback(*args, **kwargs))
            except Exception:
                errors.report(f"Error executing callback {category}_callback for {c.script}", exc_info=True)
        return results

    return call


for _category in CATEGORIES:
    globals()[f"on_{_category}"] = _registrar(_category)
    globals()[f"{_category}_callback"] = _caller_of(_category)
_ui_tabs: Callable = globals()["ui_tabs_callback"]


def ui_tabs_callback() -> list:
    return [tab for tabs in _ui_tabs() for tab in tabs or []]
