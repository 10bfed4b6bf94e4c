"""The argument parser behind ``shared.cmd_opts``, and the extensions' ``preload.py``."""

from __future__ import annotations

import argparse
import importlib.util
import sys
import traceback

from common.config import HostConfig

_FLAGS = (
    "medvram", "medvram-sdxl", "lowvram", "no-half", "no-half-vae", "upcast-sampling", "api", "nowebui", "listen",
    "disable-nan-check", "no-prompt-history", "hide-ui-dir-config", "freeze-settings", "api-log", "opt-channelslast",
    "xformers", "disable-all-extensions", "disable-extra-extensions", "skip-install", "use-cpu-all", "ui-debug-mode",
    "no-gradio-queue", "loglevel-debug", "always-cpu", "disable-safe-unpickle",
)
_VALUES = (
    "ckpt", "ckpt-dir", "vae-dir", "text-encoder-dir", "theme", "subpath", "api-auth", "gradio-auth",
    "freeze-settings-in-sections", "freeze-specific-settings", "styles-file", "vae-path",
)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False, conflict_handler="resolve")
    for name in _FLAGS:
        parser.add_argument(f"--{name}", action="store_true")
    for name in _VALUES:
        parser.add_argument(f"--{name}", default=None)
    parser.add_argument("--port", type=int, default=None)
    parser.add_argument("--gradio-allowed-path", action="append", default=[])
    return parser


def preload_extensions(parser: argparse.ArgumentParser, config: HostConfig) -> None:
    """Runs ``preload(parser)`` of every extension; a failing one is reported and skipped."""
    for folder in config.extensions:
        path = folder / "preload.py"
        if not path.is_file():
            continue
        try:
            spec = importlib.util.spec_from_file_location("preload.py", path)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            if hasattr(module, "preload"):
                module.preload(parser)
        except Exception:
            print(f"*** Error running preload() for {path}", file=sys.stderr)
            traceback.print_exc()
