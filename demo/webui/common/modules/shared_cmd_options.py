"""The command line options, as far as extensions look at them."""

from __future__ import annotations

import os

from common import config as _config
from common.cmd_args import build_parser, preload_extensions

_active = _config.current()
parser = build_parser()
preload_extensions(parser, _active)
cmd_opts, _unknown = parser.parse_known_args(_active.arguments)
if _unknown:
    print(f"Ignored arguments: {' '.join(_unknown)}")

cmd_opts.port = _active.port
cmd_opts.medvram = _active.medvram
cmd_opts.lowvram = _active.lowvram
cmd_opts.no_half = not _active.half
cmd_opts.precision = "half" if _active.half else "full"
cmd_opts.data_dir = str(_active.data)
cmd_opts.models_dir = str(_active.models)
cmd_opts.ui_settings_file = os.path.join(cmd_opts.data_dir, "config.json")
cmd_opts.lora_dir = os.path.join(cmd_opts.models_dir, "Lora")
