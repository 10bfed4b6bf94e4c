"""The demo as `make demo` starts it, on either gradio, with a small random checkpoint in the trained one's place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from browser.conftest import host_page, opened, page  # noqa: F401
from standins import HostKind, Server, start

from demo.train.recipe import UNET, model_config


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained one's layout with one transformer block for each stack of them, and a narrower VAE."""
    from common.checkpoints import write_random  # importable once `demo` is

    shallow = replace(UNET, transformer_depth=(0, 1, 1), transformer_depth_middle=1)
    config = replace(model_config(1.0), unet=shallow, vae={"kind": "conv", "widths": [8, 12, 16], "scale": 1.0})
    return write_random(tmp_path_factory.mktemp("checkpoint"), "random", config, 3, torch.float16)


@pytest.fixture(scope="session")
def demo(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int], Server]]:
    """The running demo under a version of gradio, started when it is first asked for."""
    running: dict[int, Server] = {}

    def get(gradio: int) -> Server:
        if gradio not in running:
            folder = tmp_path_factory.mktemp(f"demo-{gradio}")
            arguments = ["-m", "demo", "--checkpoint", str(checkpoint), "--models", str(folder / "models")]
            running[gradio] = start(HostKind("a1111", gradio), folder, arguments)
            running[gradio].wait_until_up()
        return running[gradio]

    yield get
    for server in running.values():
        server.stop()


@pytest.fixture(scope="session")
def server(demo: Callable[[int], Server]) -> Server:
    return demo(4)
