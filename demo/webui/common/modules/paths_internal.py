"""Where things lie. ``script_path`` is the flavour's root, everything a user owns lies under the data folder."""

from __future__ import annotations

import os

from common import config as _config

_active = _config.current()

script_path = str(_active.root)
data_path = str(_active.data)
models_path = str(_active.models)
extensions_dir = os.path.join(data_path, "extensions")
extensions_builtin_dir = os.path.join(script_path, "extensions-builtin")
default_output_dir = os.path.join(data_path, "outputs")
cwd = os.getcwd()
