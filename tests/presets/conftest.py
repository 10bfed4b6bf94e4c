"""An empty store of own presets."""

from __future__ import annotations

from pathlib import Path

import pytest
from own_presets import BUILT_IN

from crdiff.presets.store import PresetStore


@pytest.fixture
def store(tmp_path: Path) -> PresetStore:
    return PresetStore(tmp_path / "data" / "presets.json", reserved=BUILT_IN)
