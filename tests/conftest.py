"""Shared by all tests: the repository's root is importable, as a host makes it for an extension."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from standins import HOSTS, HostKind, Server, start_standin, write_models

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


@pytest.fixture(scope="session")
def standard_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with the stand-in's standard set of small random checkpoints and LoRAs, written once."""
    folder = tmp_path_factory.mktemp("models")
    write_models(folder)
    return folder


@pytest.fixture(scope="session")
def standin(standard_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[HostKind], Server]]:
    """A running stand-in host of a kind, one for all tests of a worker that ask for it."""
    running: dict[HostKind, Server] = {}

    def get(kind: HostKind) -> Server:
        if kind not in running:
            running[kind] = start_standin(kind, tmp_path_factory.mktemp(str(kind)), standard_models)
            running[kind].wait_until_up()
        return running[kind]

    yield get
    for server in running.values():
        server.stop()


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
STANDIN = ("demo/webui", "crdiff/bench/unet.py", "tests/standin", "tests/browser/test_page.py", "requirements")
"""What the tests of the stand-in itself depend on."""
OTHER_TARGETS = {f"{prefix}{kind.flavour}" for kind in HOSTS[1:] for prefix in ("", "standin-")}
"""The stand-ins of tests/webui and tests/host in which what is marked ``one_host`` runs with ``--full`` alone."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="all tests, whole; so are those that are named by a path")


def pytest_configure(config: pytest.Config) -> None:
    """Chooses hypothesis' profile, and the order in which ``-n`` hands out tests: the one below.

    xdist's own starts with the groups of most tests, not with the longest.
    """
    if config.args_source is config.ArgsSource.ARGS and not hasattr(config, "workerinput"):
        config.option.full = True  # handed on to the workers of -n, which are told all paths
    if config.pluginmanager.hasplugin("hypothesispytest"):  # tests/host runs where there is none, too
        from hypothesis import settings

        settings.register_profile("full", deadline=None, max_examples=200)
        settings.register_profile("ci", deadline=None, max_examples=30, derandomize=True)
        settings.load_profile("full" if config.getoption("full") else "ci")
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_itemcollected(item: pytest.Item) -> None:
    """With ``-n``, tests that share a running host stay together, others with their file's.

    As soon as an item is there: xdist reads the groups in the hook in which items are sorted, before or after ours.
    """
    item.add_marker(pytest.mark.xdist_group(_host(item) or item.path.name))
    if item.path.parent.name == "standin":
        item.add_marker(pytest.mark.standin)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest folders first, without what only ``--full`` runs."""
    if not config.getoption("full"):
        left = {item for item in items if _left_to_full(item)}
        config.hook.pytest_deselected(items=list(left))
        items[:] = [item for item in items if item not in left]
    places = {folder: place for place, folder in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path.parent.name, len(LONG)))


def _left_to_full(item: pytest.Item) -> bool:
    if item.get_closest_marker("full") is not None:
        return True
    if item.get_closest_marker("one_host") is not None and _parameters(item).get("target") in OTHER_TARGETS:
        return True
    return item.get_closest_marker("standin") is not None and not _standin_changed()


@cache
def _standin_changed() -> bool:
    """Whether the stand-in host differs from the branch that this one is to land on; True if git cannot tell."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        landed = git("merge-base", "HEAD", os.environ.get("CRDIFF_BASE", "origin/HEAD"))
        if landed == git("rev-parse", "HEAD"):
            return True
        return bool(git("diff", "--name-only", landed, "--", *STANDIN))
    except (OSError, subprocess.CalledProcessError):
        return True


def _host(item: pytest.Item) -> str | None:
    """Which running host a test uses, if any."""
    folder = item.path.parent.name
    fixtures = getattr(item, "fixturenames", ())
    parameters = _parameters(item)
    if "demo" in fixtures:
        return "demo"
    if "host_kind" in parameters:
        return _standin(parameters["host_kind"])
    if folder == "host":
        kinds = [kind for kind in HOSTS if parameters.get("target") == f"standin-{kind.flavour}"]
        return _standin(kinds[0]) if kinds else "webui"
    named = [parameters[name] for name in ("target", "either") if name in parameters]
    named += [name for name in ("a1111", "forge") if name in fixtures]
    return f"{folder}-{named[0]}" if named else None


def _parameters(item: pytest.Item) -> dict[str, Any]:
    return item.callspec.params if hasattr(item, "callspec") else {}


def _standin(kind: HostKind) -> str:
    return f"standin-{kind}"
