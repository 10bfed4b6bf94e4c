"""Both flavours of the stand-in host with this extension, shared by all tests of the search."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
for folder in (str(ROOT / "demo" / "webui"), str(HERE)):
    if folder not in sys.path:
        sys.path.insert(0, folder)

import first_image  # noqa: E402
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
    """``.loaded_at_start`` is what of a search it had loaded before the first one."""
    data = tmp_path_factory.mktemp(f"data-{target}")
    (data / "crdiff").mkdir()
    (data / "crdiff" / "score.py").write_text(SCORE, encoding="utf-8")
    with HostProcess(target, models=models, data=data, extensions=[ROOT]) as process:
        process.data = data
        process.loaded_at_start = process.run(first_image.loaded)
        yield process
