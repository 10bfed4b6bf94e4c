"""The public face of the paths."""

from __future__ import annotations

from modules.paths_internal import (  # noqa: F401
    cwd, data_path, default_output_dir, extensions_builtin_dir, extensions_dir, models_path, script_path,
)

paths: dict[str, str] = {}
