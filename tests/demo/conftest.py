"""The demo as `make demo` starts it, on either gradio, with a small random checkpoint in the trained one's place."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from browser.conftest import HostKind, Server, _free_port, host_page, page  # noqa: F401

from demo.train.recipe import model_config

ROOT = Path(__file__).resolve().parents[2]
KINDS = (HostKind("a1111", 4), HostKind("a1111", 3))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from common.checkpoints import write_random  # importable once `demo` is

    return write_random(tmp_path_factory.mktemp("checkpoint"), "random", model_config(1.0), 3, torch.float16)


def start(kind: HostKind, folder: Path, checkpoint: Path) -> Server:
    log_file = folder / "server.log"
    port = _free_port()
    command = [str(kind.python), "-W", "ignore", "-m", "demo", "--port", str(port), "--checkpoint", str(checkpoint)]
    command += ["--models", str(folder / "models"), "--data", str(folder / "data"), "--host-flavour", kind.flavour]
    environment = dict(os.environ, PYTHONUNBUFFERED="1", GRADIO_TEMP_DIR=str(folder / "gradio"), PYTHONPATH="")
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=ROOT)
    return Server(kind, f"http://127.0.0.1:{port}", folder / "data", log_file, process)


@pytest.fixture(scope="session")
def servers(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Server]]:
    """One for each gradio; they start side by side."""
    started = {kind.gradio: start(kind, tmp_path_factory.mktemp(f"demo-{kind}"), checkpoint) for kind in KINDS}
    try:
        for server in started.values():
            server.wait_until_up()
        yield started
    finally:
        for server in started.values():
            server.stop()


@pytest.fixture(scope="session")
def server(servers: dict[int, Server]) -> Server:
    return servers[4]
