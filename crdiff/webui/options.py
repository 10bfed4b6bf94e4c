"""CR-Diff's page in the host's settings."""

from __future__ import annotations

import logging
from typing import Any

from crdiff.pruning.copies import CopyPolicy

_SECTION = ("crdiff", "CR-Diff")
_LOG_LEVELS = ["ERROR", "WARNING", "INFO", "DEBUG"]
_DEFAULT_LOG_LEVEL = "WARNING"

ADETAILER = "crdiff_in_adetailer"
DISK_CACHE = "crdiff_disk_cache"
LOG_LEVEL = "crdiff_log_level"
COPIES = "crdiff_kept_weights"
GRAPHS = "crdiff_cuda_graphs"
_GRAPHS_AUTO, _GRAPHS_OFF = "auto", "off"


def add_options() -> None:
    """Register the settings page with the host."""
    import gradio as gr

    from modules import shared

    shared.opts.add_option(
        ADETAILER,
        shared.OptionInfo(False, "Act in ADetailer's inner runs too", gr.Checkbox, section=_SECTION).info(
            "list cr-diff among the scripts to apply in ADetailer's own settings too; doubles the UNet time of each run"
        ),
    )
    shared.opts.add_option(
        DISK_CACHE,
        shared.OptionInfo(True, "Keep checkpoints' magnitude profiles on disk", gr.Checkbox, section=_SECTION).info(
            "under 1 MB for each fp16 checkpoint, in the crdiff folder of the data path; saves one UNet pass after a "
            "restart; takes effect at the next start"
        ),
    )
    shared.opts.add_option(
        COPIES,
        shared.OptionInfo(
            CopyPolicy.AUTO.value,
            "Pruned copies of layers during a run",
            gr.Radio,
            {"choices": [policy.value for policy in CopyPolicy]},
            section=_SECTION,
        ).info(
            "auto: of as many layers as free memory allows; never: each layer is pruned on each use, a little slower; "
            "always: of all layers, 3.1 GB for SDXL in fp16, 0.4 GB for SD1.x. Freed after each run"
        ),
    )
    shared.opts.add_option(
        GRAPHS,
        shared.OptionInfo(
            _GRAPHS_AUTO,
            "CUDA graphs",
            gr.Radio,
            {"choices": [_GRAPHS_AUTO, _GRAPHS_OFF]},
            section=_SECTION,
        ).info(
            "auto: after a run's first steps both passes are launched as one graph where the GPU and the model allow "
            "it, for the same image in less time; off: never, which saves the memory of a pass"
        ),
    )
    shared.opts.add_option(
        LOG_LEVEL,
        shared.OptionInfo(
            _DEFAULT_LOG_LEVEL,
            "Log level",
            gr.Radio,
            {"choices": _LOG_LEVELS},
            onchange=apply_log_level,
            section=_SECTION,
        ).info("INFO prints the sparsity reached in each group"),
    )


def option(name: str, default: Any) -> Any:
    """A setting's value; its default before the page is registered."""
    from modules import shared

    return getattr(shared.opts, name, default)


def copy_policy() -> CopyPolicy:
    """Whether pruned copies are kept; a value nobody offers counts as the default."""
    chosen = option(COPIES, CopyPolicy.AUTO.value)
    return CopyPolicy(chosen) if chosen in [policy.value for policy in CopyPolicy] else CopyPolicy.AUTO


def graphs() -> bool:
    """Whether steps may be captured in CUDA graphs."""
    return bool(option(GRAPHS, _GRAPHS_AUTO) != _GRAPHS_OFF)


def apply_log_level() -> None:
    """Set the extension's logger to the level chosen in the settings."""
    level = option(LOG_LEVEL, _DEFAULT_LOG_LEVEL)
    logger = logging.getLogger("crdiff")
    logger.setLevel(level if level in _LOG_LEVELS else _DEFAULT_LOG_LEVEL)
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("[CR-Diff] %(message)s"))
        logger.addHandler(handler)
        logger.propagate = False
