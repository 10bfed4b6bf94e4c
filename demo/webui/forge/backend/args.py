"""Settings of the backend that change while it runs."""

from __future__ import annotations

import types
from typing import Any

args = types.SimpleNamespace(cuda_stream=False, disable_gpu_warning=True, always_cpu=True)
dynamic_args: dict[str, Any] = {"embedding_dir": None, "emphasis_name": "original", "online_lora": False,
                                "forge_unet_storage_dtype": None}
