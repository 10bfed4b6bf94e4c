"""What a host is like once it has drawn an image, and nobody has searched yet."""

from __future__ import annotations

import sys
from typing import Any

ONLY_FOR_SEARCHES = ("crdiff.scoring.imagereward", "crdiff.scoring.clip", "optuna")


def loaded(host: Any) -> list[str]:
    """Draw an image; which of the modules that only a search needs are loaded."""
    host.txt2img(prompt="a small red house", seed=5, steps=1, width=64, height=64)
    return [name for name in ONLY_FOR_SEARCHES if name in sys.modules]
