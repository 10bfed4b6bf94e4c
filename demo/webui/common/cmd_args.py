"""The argument parser behind ``shared.cmd_opts``, and the extensions' ``preload.py``."""

from __future__ import annotations

import argparse
import importlib.util
import sys
import traceback

from common.config import HostConfig

_FLAGS = ("api", "medvram", "lowvram", "no-half", "no-prompt-history", "skip-install")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False, conflict_handler="resolve")
    for name in _FLAGS:
        parser.add_argument(f"--{name}", action="store_true")
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
