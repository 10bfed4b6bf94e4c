"""The hub of the host: options, state, the model, and the things extensions look up."""

from __future__ import annotations

import sys
import types
from typing import Any

from modules import devices, options, shared_cmd_options, util
from modules.paths_internal import (  # noqa: F401
    data_path, default_output_dir, extensions_builtin_dir, extensions_dir, models_path, script_path,
)

cmd_opts = shared_cmd_options.cmd_opts
parser = shared_cmd_options.parser
batch_cond_uncond = True
parallel_processing_allowed = True
config_filename = cmd_opts.ui_settings_file
hide_dirs = {"visible": not cmd_opts.hide_ui_dir_config}
demo: Any = None
device = devices.device
weight_load_location = None
xformers_available = False
hypernetworks: dict[str, str] = {}
loaded_hypernetworks: list[Any] = []
face_restorers: list[Any] = []
interrogator: Any = None
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
OptionHTML = options.OptionHTML
options_section = options.options_section
natural_sort_key = util.natural_sort_key
listfiles = util.listfiles
html_path = util.html_path
walk_files = util.walk_files


class _UpscalerData:
    def __init__(self, name: str) -> None:
        self.name = name
        self.data_path = None
        self.scale = 4


sd_upscalers = [_UpscalerData("None"), _UpscalerData("Lanczos"), _UpscalerData("Nearest")]


class _Styles:
    """No style files: prompts pass through."""

    def __init__(self) -> None:
        self.styles: dict[str, Any] = {}

    def apply_styles_to_prompt(self, prompt: str, styles: list[str]) -> str:
        return prompt

    def apply_negative_styles_to_prompt(self, prompt: str, styles: list[str]) -> str:
        return prompt

    def get_style_prompts(self, styles: list[str]) -> list[str]:
        return []

    def get_negative_style_prompts(self, styles: list[str]) -> list[str]:
        return []


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


class _NoMemoryMonitor:
    disabled = True


prompt_styles = _Styles()
total_tqdm = _TotalProgress()
mem_mon = _NoMemoryMonitor()


def list_checkpoint_tiles(use_short: bool = False) -> list[str]:
    from modules import sd_models

    return sd_models.checkpoint_tiles(use_short)


def refresh_checkpoints() -> None:
    from modules import sd_models

    sd_models.list_models()


def list_samplers() -> list[Any]:
    from modules import sd_samplers

    return sd_samplers.all_samplers


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
restricted_opts = shared_options.restricted_opts
opts = options.Options(options_templates, restricted_opts)
opts.load(config_filename)
state = shared_state.State()
