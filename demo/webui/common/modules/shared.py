"""The hub of the host: options, state, the model, and the things extensions look up."""

from __future__ import annotations

import sys
import types
from typing import Any

from modules import devices, options, shared_cmd_options
from modules.paths_internal import (  # noqa: F401
    data_path, default_output_dir, extensions_builtin_dir, extensions_dir, models_path, script_path,
)

cmd_opts = shared_cmd_options.cmd_opts
parser = shared_cmd_options.parser
batch_cond_uncond = True
parallel_processing_allowed = True
config_filename = cmd_opts.ui_settings_file
demo: Any = None
device = devices.device
settings_components: dict[str, Any] = {}
tab_names: list[str] = []

latent_upscale_default_mode = "Latent"
latent_upscale_modes = {
    "Latent": {"mode": "bilinear", "antialias": False},
    "Latent (antialiased)": {"mode": "bilinear", "antialias": True},
    "Latent (bicubic)": {"mode": "bicubic", "antialias": False},
    "Latent (bicubic antialiased)": {"mode": "bicubic", "antialias": True},
    "Latent (nearest)": {"mode": "nearest", "antialias": False},
    "Latent (nearest-exact)": {"mode": "nearest-exact", "antialias": False},
}

OptionInfo = options.OptionInfo
options_section = options.options_section


sd_upscalers = [types.SimpleNamespace(name=name) for name in ("None", "Lanczos", "Nearest")]


class _TotalProgress:
    """The console bar over all jobs, without the console."""

    def __init__(self) -> None:
        self.total: int | None = None
        self.done = 0

    def reset(self) -> None:
        self.done = 0

    def update(self) -> None:
        self.done += 1

    def updateTotal(self, new_total: int) -> None:
        self.total = new_total

    def clear(self) -> None:
        self.total, self.done = None, 0


total_tqdm = _TotalProgress()


class _Shared(types.ModuleType):
    """``shared.sd_model`` loads the model on first use in A1111, so it has to be a property of the module."""

    @property
    def sd_model(self) -> Any:
        from modules import sd_models

        return sd_models.model_data.get_sd_model()

    @sd_model.setter
    def sd_model(self, value: Any) -> None:
        from modules import sd_models

        sd_models.model_data.set_sd_model(value)


sys.modules[__name__].__class__ = _Shared

# The rest needs the module object above to exist: these modules import `shared` themselves.
from modules import shared_options, shared_state  # noqa: E402

options_templates = shared_options.options_templates
opts = options.Options(options_templates)
opts.load(config_filename)
state = shared_state.State(sys.modules[__name__])
