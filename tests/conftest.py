"""Shared by all tests: the repository's root is importable, as a host makes it for an extension."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

# Two cores are shared by everything that runs: more threads only make small tensors slower.
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Half of a host's start is compiling gradio, torch and transformers, unless an earlier one has left its bytecode. It
# is kept apart from the sources, which hosts must find as they are committed.
os.environ.setdefault("PYTHONPYCACHEPREFIX", str(ROOT / ".cache" / "bytecode"))
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.pycache_prefix = os.environ["PYTHONPYCACHEPREFIX"]
sys.dont_write_bytecode = False


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """One Chromium for all tests: playwright starts once only in a thread."""
    from browser.chromium import launch_options
    from playwright.sync_api import sync_playwright

    try:
        options = launch_options()
    except FileNotFoundError as missing:
        if os.environ.get("CRDIFF_REQUIRE_BROWSER"):
            raise
        pytest.skip(str(missing))
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(**options)
        yield opened
        opened.close()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With ``-n``, tests that share a running host stay together, others with their file's."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        parameters: dict[str, Any] = item.callspec.params if hasattr(item, "callspec") else {}
        host = parameters.get("target") or parameters.get("host_kind")
        if "servers" in getattr(item, "fixturenames", ()):  # all of a folder's hosts at once
            host = "servers"
        group = f"{item.path.parent.name}-{host}" if host else item.path.name
        item.add_marker(pytest.mark.xdist_group(group))
