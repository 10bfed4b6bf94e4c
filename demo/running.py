"""A demo WebUI in a process of its own, for programs that drive it."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
START_S = 600


class StartError(Exception):
    """The demo did not start; one sentence says why."""


@contextmanager
def running(python: Path, folder: Path, arguments: list[str]) -> Iterator[str]:
    """Start a demo on a free port; its address.

    Args:
        python: the interpreter for the demo, which decides the version of gradio.
        folder: for its models, data and log.
        arguments: further ones, as ``python -m demo`` takes them.

    Raises:
        StartError: it did not start.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(python), "-W", "ignore", "-m", "demo", "--port", str(port), *arguments]
    command += ["--models", str(folder / "models"), "--data", str(folder / "data")]
    environment = {**os.environ, "GRADIO_TEMP_DIR": str(folder / "gradio"), "PYTHONUNBUFFERED": "1"}
    log = folder / "demo.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + START_S
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > end:
                lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
                raise StartError(f"the demo did not start: {lines[-1] if lines else 'it said nothing'}")
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except OSError:
        return False
    return True
