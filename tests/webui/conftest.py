"""Both flavours of the stand-in host with this extension, shared by all tests of the search."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
WEBUI = str(ROOT / "demo" / "webui")
if WEBUI not in sys.path:
    sys.path.insert(0, WEBUI)

from common.checkpoints import write_random  # noqa: E402
from common.process import HostProcess  # noqa: E402

SCORE = """
import json
import numpy
from pathlib import Path

LOG = Path(__file__).with_name("score.log")
HIGHEST = 0.0

with Path(__file__).with_name("loads.log").open("a") as loads:
    loads.write("loaded ")

def close():
    with Path(__file__).with_name("loads.log").open("a") as loads:
        loads.write("closed ")

def score(images, prompt):
    '''Dark images are better.'''
    with LOG.open("a") as log:
        log.write(json.dumps([prompt, [image.size for image in images]]) + "\\n")
    if Path(__file__).with_name("broken").exists():
        raise RuntimeError("the scorer is broken")
    return [-float(numpy.asarray(image).mean()) / 255 for image in images]
"""


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate("ab"):
        write_random(folder, f"sd1-{name}", "sd1", seed)
    return folder


@pytest.fixture(scope="session", params=["a1111", "forge"])
def target(request: pytest.FixtureRequest) -> str:
    """The host's flavour; its name keeps the tests of one host on one worker."""
    return request.param


@pytest.fixture(scope="session")
def host(target: str, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    data = tmp_path_factory.mktemp(f"data-{target}")
    (data / "crdiff").mkdir()
    (data / "crdiff" / "score.py").write_text(SCORE, encoding="utf-8")
    with HostProcess(target, models=models, data=data, extensions=[ROOT]) as process:
        process.data = data
        yield process


@pytest.fixture
def fresh_host(target: str, models: Path, tmp_path: Path) -> Iterator[Any]:
    """One that no other test has used."""
    with HostProcess(target, models=models, data=tmp_path, extensions=[ROOT]) as process:
        yield process
