"""What is particular about this host, without importing it."""

from __future__ import annotations

import threading
from typing import Any

NAME = "a1111"
VERSION = "v1.10.1"
SORTS_SCRIPT_UI = False
KEEPS_SCRIPT_DIRS_ON_PATH = False
LOADS_MODEL_AT_START = True
API_ERROR_TEXT_KEY = "errors"
EXTRA_OPTIONS: dict[str, Any] = {}


def infotext_entries(p: Any) -> dict[str, Any]:
    return {}


def result_of_job(result: Any) -> list:
    return list(result)


def set_config(req: dict[str, Any]) -> None:
    """POST /options: all or nothing only as far as the checkpoint's name goes."""
    from modules import sd_models, shared

    name = req.get("sd_model_checkpoint")
    if name is not None and name not in sd_models.checkpoint_aliases:
        raise RuntimeError(f"model {name!r} not found")
    for key, value in req.items():
        shared.opts.set(key, value, is_api=True)
    shared.opts.save(shared.config_filename)


def configure_settings(config: Any) -> None:
    """Settings that come from the command line, and what changing a setting does."""
    from modules import call_queue, sd_models, shared

    if config.fp8:
        shared.opts.data["fp8_storage"] = "Enable"
    reload = call_queue.wrap_queued_call(lambda: sd_models.reload_model_weights())
    shared.opts.onchange("sd_model_checkpoint", reload, call=False)
    forced = call_queue.wrap_queued_call(lambda: sd_models.reload_model_weights(forced_reload=True))
    for name in ("fp8_storage", "cache_fp16_weight"):
        shared.opts.onchange(name, forced, call=False)


def after_scripts_loaded() -> None:
    from modules import sd_unet  # noqa: F401  (patches the classes)


def start_background() -> None:
    """This host does its work in the threads that ask for it."""


def serve_main_thread() -> None:
    """The main thread has nothing to do."""
    threading.Event().wait()
