"""Tests that need a GPU; elsewhere the graphs' logic is tested against a stand-in (tests/core/test_core_graphs.py)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def _cuda() -> Iterator[None]:
    if not torch.cuda.is_available():
        pytest.skip("this machine has no GPU that PyTorch can use through CUDA")
    with torch.no_grad():
        yield
    torch.cuda.empty_cache()
