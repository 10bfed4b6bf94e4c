"""Starting a stand-in host in this interpreter.

``start_host`` loads the extensions and builds the UI, without a page unless asked, as the real hosts do. The host that
it returns can be called directly, and its ``app`` can be served. A process can hold one host.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

from common import config as _config
from common.config import WEBUI_DIR, HostConfig
from common.running_host import Host

_running: Host | None = None


def start_host(flavour: str = "a1111", models: Path | str | None = None, data: Path | str | None = None,
               extensions: list[Path | str] | tuple[Path | str, ...] = (), **settings: Any) -> Host:
    """Starts a host; a second call in the process is an error. ``settings``: see ``HostConfig``."""
    global _running
    if _running is not None:
        raise RuntimeError("This process runs a stand-in host already.")
    config = HostConfig(flavour=flavour, models=models, data=data, extensions=[Path(x) for x in extensions], **settings)
    _config.configure(config)
    for entry in (str(WEBUI_DIR), str(config.root)):
        if entry in sys.path:
            sys.path.remove(entry)
        sys.path.insert(0, entry)
    for folder in (config.models / "Stable-diffusion", config.models / "Lora", config.data / "extensions"):
        folder.mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore", category=UserWarning, module="gradio")
    # Sampling of models this small is slowed down by more threads than one.
    import torch

    torch.set_num_threads(1)
    _running = _start(config)
    return _running


def load_extensions() -> None:
    """Scripts, samplers, checkpoints and networks, in the hosts' order."""
    import standin_flavour as flavour
    from modules import extensions, extra_networks, scripts, sd_models, sd_samplers, shared

    sd_samplers.set_samplers()
    extensions.list_extensions()
    sd_models.list_models()
    scripts.load_scripts()
    flavour.after_scripts_loaded()
    if flavour.LOADS_MODEL_AT_START and sd_models.checkpoints_list:
        shared.sd_model  # noqa: B018  (the look loads it)
    extra_networks.initialize()


def build_app() -> tuple[Any, Any, Any]:
    """The UI, the API and the app, with the callbacks around them in the hosts' order."""
    from fastapi import FastAPI

    from modules import call_queue, progress, script_callbacks, shared, ui
    from modules.api.api import Api

    script_callbacks.before_ui_callback()
    shared.demo = ui.create_ui()
    app = FastAPI()
    progress.setup_progress_api(app)
    api = Api(app, call_queue.queue_lock)
    script_callbacks.app_started_callback(shared.demo, app)
    return shared.demo, app, api


def _start(config: HostConfig) -> Host:
    import standin_flavour as flavour
    from common import ui_gradio  # noqa: F401  (changes gradio, and must come before any script)
    from modules import shared

    flavour.configure_settings(config)
    if config.background:
        flavour.start_background()
    load_extensions()
    demo, app, api = build_app()
    return Host(config=config, demo=demo, app=app, api=api, shared=shared)
