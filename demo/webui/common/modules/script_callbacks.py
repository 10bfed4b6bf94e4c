"""The callbacks an extension can register, and the objects they are given.

A callback that raises is reported and passed over; whatever called it goes on. ``InterruptedException`` is a
``BaseException`` and passes through.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from modules import errors, extensions, shared, util


class ImageSaveParams:
    def __init__(self, image: Any, p: Any, filename: str, pnginfo: dict) -> None:
        self.image = image
        self.p = p
        self.filename = filename
        self.pnginfo = pnginfo


class ExtraNoiseParams:
    def __init__(self, noise: Any, x: Any, xi: Any) -> None:
        self.noise = noise
        self.x = x
        self.xi = xi


class CFGDenoiserParams:
    """What goes into one denoiser call; the host reads the fields back."""

    def __init__(self, x: Any, image_cond: Any, sigma: Any, sampling_step: int, total_sampling_steps: int,
                 text_cond: Any, text_uncond: Any, denoiser: Any = None) -> None:
        self.x = x
        self.image_cond = image_cond
        self.sigma = sigma
        self.sampling_step = sampling_step
        self.total_sampling_steps = total_sampling_steps
        self.text_cond = text_cond
        self.text_uncond = text_uncond
        self.denoiser = denoiser


class CFGDenoisedParams:
    """What came out, before guidance; not read back."""

    def __init__(self, x: Any, sampling_step: int, total_sampling_steps: int, inner_model: Any) -> None:
        self.x = x
        self.sampling_step = sampling_step
        self.total_sampling_steps = total_sampling_steps
        self.inner_model = inner_model


class AfterCFGCallbackParams:
    """The guided result; the host reads ``x`` back."""

    def __init__(self, x: Any, sampling_step: int, total_sampling_steps: int) -> None:
        self.x = x
        self.sampling_step = sampling_step
        self.total_sampling_steps = total_sampling_steps


class ImageGridLoopParams:
    def __init__(self, imgs: list, cols: int, rows: int) -> None:
        self.imgs = imgs
        self.cols = cols
        self.rows = rows


@dataclass
class ScriptCallback:
    script: str
    callback: Callable
    name: str = "unnamed"


CATEGORIES = (
    "app_started", "model_loaded", "ui_tabs", "ui_train_tabs", "ui_settings", "before_image_saved", "image_saved",
    "extra_noise", "cfg_denoiser", "cfg_denoised", "cfg_after_cfg", "before_component", "after_component",
    "image_grid", "infotext_pasted", "script_unloaded", "before_ui", "on_reload", "list_optimizers", "list_unets",
    "before_token_counter",
)
callback_map: dict[str, list[ScriptCallback]] = {f"callbacks_{name}": [] for name in CATEGORIES}
ordered_callbacks_map: dict[str, list[ScriptCallback]] = {}


def _caller() -> str:
    frames = [x.filename for x in inspect.stack() if x.filename != __file__]
    return frames[0] if frames else "unknown file"


def add_callback(callbacks: list[ScriptCallback], fun: Callable, *, name: str | None = None,
                 category: str = "unknown", filename: str | None = None) -> None:
    """Appends a callback under the name ``extension/file/category[/name]``, made unique by a number."""
    filename = filename or _caller()
    extension = extensions.find_extension(filename)
    owner = extension.canonical_name if extension else "base"
    wanted = "/".join(x for x in (owner, os.path.basename(filename), category, name) if x)
    taken = {x.name for x in callbacks}
    unique, index = wanted, 0
    while unique in taken:
        index += 1
        unique = f"{wanted}-{index}"
    callbacks.append(ScriptCallback(filename, fun, unique))


def sort_callbacks(category: str, unordered_callbacks: list[ScriptCallback], *,
                   enable_user_sort: bool = True) -> list[ScriptCallback]:
    """Load order, bent by the ``[callbacks/...]`` sections of the metadata files and by the user's settings."""
    by_name = {x.name: x for x in unordered_callbacks}
    after: dict[str, list[str]] = {name: [] for name in by_name}
    for extension in extensions.extensions:
        for order in extension.metadata.list_callback_order_instructions():
            if order.name not in by_name:
                continue
            after[order.name] += [x for x in order.after if x in by_name]
            for other in order.before:
                if other in by_name:
                    after[other].append(order.name)
    ordered = [by_name[name] for name in util.topological_sort(after)]
    if enable_user_sort:
        for name in reversed(getattr(shared.opts, f"prioritized_callbacks_{category}", [])):
            ordered.sort(key=lambda x: x.name != name)
    return ordered


def ordered_callbacks(category: str, unordered_callbacks: list[ScriptCallback] | None = None, *,
                      enable_user_sort: bool = True) -> list[ScriptCallback]:
    if unordered_callbacks is None:
        unordered_callbacks = callback_map.get(f"callbacks_{category}", [])
    if not enable_user_sort:
        return sort_callbacks(category, unordered_callbacks, enable_user_sort=False)
    known = ordered_callbacks_map.get(category)
    if known is None or len(known) != len(unordered_callbacks):
        known = ordered_callbacks_map[category] = sort_callbacks(category, unordered_callbacks)
    return known


def enumerate_callbacks() -> Any:
    for category, callbacks in callback_map.items():
        yield category.removeprefix("callbacks_"), callbacks


def clear_callbacks() -> None:
    for callbacks in callback_map.values():
        callbacks.clear()
    ordered_callbacks_map.clear()


def _run(category: str, *args: Any, reverse: bool = False, **kwargs: Any) -> list[Any]:
    results = []
    callbacks = ordered_callbacks(category)
    for c in reversed(callbacks) if reverse else callbacks:
        try:
            results.append(c.callback(*args, **kwargs))
        except Exception:
            errors.report(f"Error executing callback {category}_callback for {c.script}", exc_info=True)
    return results


def app_started_callback(demo: Any, app: Any) -> None:
    _run("app_started", demo, app)


def app_reload_callback() -> None:
    _run("on_reload")


def model_loaded_callback(sd_model: Any) -> None:
    _run("model_loaded", sd_model)


def ui_tabs_callback() -> list:
    return [tab for tabs in _run("ui_tabs") for tab in tabs or []]


def ui_train_tabs_callback(params: Any) -> None:
    _run("ui_train_tabs", params)


def ui_settings_callback() -> None:
    _run("ui_settings")


def before_image_saved_callback(params: ImageSaveParams) -> None:
    _run("before_image_saved", params)


def image_saved_callback(params: ImageSaveParams) -> None:
    _run("image_saved", params)


def extra_noise_callback(params: ExtraNoiseParams) -> None:
    _run("extra_noise", params)


def cfg_denoiser_callback(params: CFGDenoiserParams) -> None:
    _run("cfg_denoiser", params)


def cfg_denoised_callback(params: CFGDenoisedParams) -> None:
    _run("cfg_denoised", params)


def cfg_after_cfg_callback(params: AfterCFGCallbackParams) -> None:
    _run("cfg_after_cfg", params)


def before_component_callback(component: Any, **kwargs: Any) -> None:
    _run("before_component", component, **kwargs)


def after_component_callback(component: Any, **kwargs: Any) -> None:
    _run("after_component", component, **kwargs)


def image_grid_callback(params: ImageGridLoopParams) -> None:
    _run("image_grid", params)


def infotext_pasted_callback(infotext: str, params: dict[str, Any]) -> None:
    _run("infotext_pasted", infotext, params)


def script_unloaded_callback() -> None:
    _run("script_unloaded", reverse=True)


def before_ui_callback() -> None:
    _run("before_ui", reverse=True)


def list_optimizers_callback() -> list:
    found: list = []
    _run("list_optimizers", found)
    return found


def list_unets_callback() -> list:
    found: list = []
    _run("list_unets", found)
    return found


def before_token_counter_callback(params: Any) -> None:
    _run("before_token_counter", params)


def _remove(matches: Callable[[ScriptCallback], bool]) -> None:
    for callbacks in (*callback_map.values(), *ordered_callbacks_map.values()):
        callbacks[:] = [c for c in callbacks if not matches(c)]


def remove_current_script_callbacks() -> None:
    filename = _caller()
    if filename != "unknown file":
        _remove(lambda c: c.script == filename)


def remove_callbacks_for_function(callback_func: Callable) -> None:
    _remove(lambda c: c.callback == callback_func)


def _registrar(category: str) -> Callable:
    def register(callback: Callable, *, name: str | None = None) -> None:
        add_callback(callback_map[f"callbacks_{category}"], callback, name=name, category=category)

    register.__doc__ = f"Registers a callback of the category {category}."
    return register


on_app_started = _registrar("app_started")
on_before_reload = _registrar("on_reload")
on_model_loaded = _registrar("model_loaded")
on_ui_tabs = _registrar("ui_tabs")
on_ui_train_tabs = _registrar("ui_train_tabs")
on_ui_settings = _registrar("ui_settings")
on_before_image_saved = _registrar("before_image_saved")
on_image_saved = _registrar("image_saved")
on_extra_noise = _registrar("extra_noise")
on_cfg_denoiser = _registrar("cfg_denoiser")
on_cfg_denoised = _registrar("cfg_denoised")
on_cfg_after_cfg = _registrar("cfg_after_cfg")
on_before_component = _registrar("before_component")
on_after_component = _registrar("after_component")
on_image_grid = _registrar("image_grid")
on_infotext_pasted = _registrar("infotext_pasted")
on_script_unloaded = _registrar("script_unloaded")
on_before_ui = _registrar("before_ui")
on_list_optimizers = _registrar("list_optimizers")
on_list_unets = _registrar("list_unets")
on_before_token_counter = _registrar("before_token_counter")
