"""What the core's tests show of any UNet is shown on every host by `make test-all` alone."""

from __future__ import annotations

from typing import Any

import pytest


def full(*values: Any, **named: Any) -> Any:
    """A case of a parametrized test that is left to `make test-all`."""
    return pytest.param(*values, **named, marks=pytest.mark.full)
