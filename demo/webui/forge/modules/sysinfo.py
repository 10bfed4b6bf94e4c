"""The way settings are changed in this host."""

from __future__ import annotations

from typing import Any

from standin_flavour import set_config  # noqa: F401


def get_config() -> dict[str, Any]:
    from modules import shared

    return dict(shared.opts.data)
