"""What benchmarks are tried on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from crdiff.bench.random_model import PUBLISHED
from crdiff.models.unet import SD15, SDXL


@pytest.fixture
def shallow(monkeypatch):
    """UNets with the fewest blocks that have all groups: what is asserted of them does not depend on the depth."""
    for family in (SD15, SDXL):
        published = PUBLISHED[family]
        few = replace(
            published.shape, channel_mult=(1, 2), transformer_depth=(0, 1), transformer_depth_middle=1, num_res_blocks=1
        )
        monkeypatch.setitem(PUBLISHED, family, replace(published, shape=few))
