"""The LDM UNet of CR-Diff's benchmark, under a name of its own: a host must not import the extension it will load."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

from common.config import WEBUI_DIR

_spec = spec_from_file_location("common.nn.ldm", WEBUI_DIR.parents[1] / "crdiff" / "bench" / "unet.py")
_ldm: Any = sys.modules.setdefault(_spec.name, module_from_spec(_spec))
_spec.loader.exec_module(_ldm)

BasicTransformerBlock = _ldm.BasicTransformerBlock
CrossAttention = _ldm.CrossAttention
SpatialTransformer = _ldm.SpatialTransformer
UNetModel = _ldm.UNetModel
UNetShape = _ldm.UNetShape
timestep_embedding = _ldm.timestep_embedding
