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


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Small tensors are fastest on one thread, and bits compare only between runs on the same number of threads."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# Folders whose tests take longest, longest first: with ``-n``, what starts last should be short.
LONG = ("host", "browser", "demo", "webui", "standin")


def pytest_configure(config: pytest.Config) -> None:
    """With ``-n``, keep the order below: xdist's own starts with the groups of most tests, not with the longest."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_itemcollected(item: pytest.Item) -> None:
    """With ``-n``, tests that share a running host stay together, others with their file's.

    As soon as an item is there: xdist reads the groups in the hook in which items are sorted, before or after ours.
    """
    host = _host(item)
    item.add_marker(pytest.mark.xdist_group(f"{item.path.parent.name}-{host}" if host else item.path.name))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest folders first."""
    places = {folder: place for place, folder in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path.parent.name, len(LONG)))


def _host(item: pytest.Item) -> object:
    """Which running host a test uses, if any."""
    fixtures = getattr(item, "fixturenames", ())
    if "servers" in fixtures:  # all of a folder's hosts at once
        return "servers"
    parameters: dict[str, Any] = item.callspec.params if hasattr(item, "callspec") else {}
    for name in ("target", "host_kind", "either", "host"):
        if name in parameters:
            return parameters[name]
    return next((name for name in ("a1111", "forge") if name in fixtures), None)
