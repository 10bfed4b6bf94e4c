"""What is particular about this host, without importing it."""

from __future__ import annotations

from typing import Any

NAME = "forge"
VERSION = "f2.0.1v1.10.1-previous-669-gdfdcbab6"
SORTS_SCRIPT_UI = True
KEEPS_SCRIPT_DIRS_ON_PATH = True
LOADS_MODEL_AT_START = False
# This host answers an exception with the web framework's bare 500.
API_ERROR_TEXT_KEY = "message"
EXTRA_OPTIONS: dict[str, Any] = {"forge_unet_storage_dtype": "Automatic"}


def infotext_entries(p: Any) -> dict[str, Any]:
    from modules.shared import opts

    entries: dict[str, Any] = {}
    if opts.forge_unet_storage_dtype != "Automatic":
        entries["Diffusion in Low Bits"] = opts.forge_unet_storage_dtype
    return entries


def result_of_job(result: Any) -> list:
    """A job that failed in the main thread gives nothing, and its exception waits there."""
    from modules_forge import main_thread

    if result is None and main_thread.last_exception is not None:
        raise main_thread.last_exception
    return list(result)


def set_config(req: dict[str, Any], is_api: bool = False, run_callbacks: bool = True, save_config: bool = True) -> None:
    """The checkpoint has a way of its own; all else is set as it is."""
    from modules import sd_models, shared
    from modules_forge import main_entry

    refresh = False
    for key, value in req.items():
        if value == shared.opts.data.get(key):
            continue
        if key == "sd_model_checkpoint":
            if value is not None and value not in sd_models.checkpoint_aliases:
                raise RuntimeError(f"model {value!r} not found")
            refresh |= main_entry.checkpoint_change(value, save=False, refresh=False)
        else:
            shared.opts.set(key, value, is_api=is_api, run_callbacks=run_callbacks)
    if refresh:
        main_entry.refresh_model_loading_parameters()
    if save_config:
        shared.opts.save(shared.config_filename)


def configure_settings(config: Any) -> None:
    """Settings that come from the command line."""
    from modules import shared

    if config.fp8:
        shared.opts.data["forge_unet_storage_dtype"] = "float8-e4m3fn"


def after_scripts_loaded() -> None:
    """Nothing is loaded at start: the first job finds what to load in the loading parameters."""
    from modules import sd_models, shared
    from modules_forge import main_entry

    if sd_models.checkpoints_list:
        if shared.opts.sd_model_checkpoint is None:
            shared.opts.set("sd_model_checkpoint", next(iter(sd_models.checkpoints_list.values())).name)
        main_entry.refresh_model_loading_parameters()
    shared.opts.onchange("forge_unet_storage_dtype", main_entry.refresh_model_loading_parameters, call=False)


def start_background() -> None:
    """Stands in for the main thread of the launched host."""
    import threading

    from modules_forge import main_thread

    threading.Thread(target=main_thread.loop, name="standin-main-thread", daemon=True).start()


def serve_main_thread() -> None:
    from modules_forge import main_thread

    main_thread.loop()
