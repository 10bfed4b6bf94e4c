"""Hosts in processes of their own, one for each configuration, shared by all tests of a run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
WEBUI = HERE.parents[1] / "demo" / "webui"
for folder in (str(WEBUI), str(HERE)):
    if folder not in sys.path:
        sys.path.insert(0, folder)

import inside  # noqa: E402
from common.checkpoints import write_standard_set  # noqa: E402
from common.process import HostProcess  # noqa: E402

PROBE = HERE / "probe_extension"


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the standard set of small checkpoints and LoRAs."""
    folder = tmp_path_factory.mktemp("models")
    write_standard_set(folder)
    return folder


@pytest.fixture(scope="session")
def host_process(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., HostProcess]]:
    """``host_process("forge", lowvram=True)``: started once, with the probe extension.

    ``.at_start`` is what it was like before anybody asked it for anything.
    """
    running: dict[Any, HostProcess] = {}

    def get(flavour: str, **settings: Any) -> HostProcess:
        key = (flavour, *sorted(settings.items()))
        if key not in running:
            data = tmp_path_factory.mktemp(f"data-{flavour}")
            process = HostProcess(flavour, models=models, data=data, extensions=[PROBE], **settings)
            process.at_start = process.run(inside.at_start)
            running[key] = process
        return running[key]

    yield get
    for process in running.values():
        process.close()


@pytest.fixture
def a1111(host_process: Callable[..., HostProcess]) -> HostProcess:
    return host_process("a1111")


@pytest.fixture
def forge(host_process: Callable[..., HostProcess]) -> HostProcess:
    return host_process("forge")


@pytest.fixture(params=["a1111", "forge"])
def either(request: pytest.FixtureRequest, host_process: Callable[..., HostProcess]) -> HostProcess:
    """The same test on both hosts."""
    return host_process(request.param)
