"""Starting a WebUI as its user would, without touching what is installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hostkit.client import Client, HostError

_START_LIMIT_SECONDS = 600
_READY_LINE = "Startup time"
"""Every WebUI prints it last; AUTOMATIC1111 dies of a request that comes earlier."""

_OWN_FOLDERS = (".git", ".mypy_cache", ".ruff_cache", ".pytest_cache", "__pycache__", "node_modules")


@dataclass
class Server:
    """A WebUI that this process has started."""

    client: Client
    process: subprocess.Popen[bytes]
    log: Path

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def make_data_folder(folder: Path, extensions: Mapping[str, Path], settings: Mapping[str, object]) -> None:
    """A WebUI's data folder with these extensions in it, linked where the system allows links."""
    (folder / "extensions").mkdir(parents=True)
    for name, source in extensions.items():
        link = folder / "extensions" / name
        try:
            link.symlink_to(source, target_is_directory=True)
        except OSError:
            shutil.copytree(source, link, ignore=shutil.ignore_patterns(*_OWN_FOLDERS))
    (folder / "config.json").write_text(json.dumps(settings))


def start(command: Sequence[str], cwd: Path, port: int, log: Path) -> Server:
    """Start a WebUI and wait until it takes requests.

    Raises:
        RuntimeError: it ended, or did not come up in time; the message has the end of its log.
    """
    # With SD_WEBUI_RESTARTING the WebUI opens no browser window.
    environment = {"HF_HUB_OFFLINE": "1", **os.environ, "PYTHONUNBUFFERED": "1", "SD_WEBUI_RESTARTING": "1"}
    environment.pop("COMMANDLINE_ARGS", None)
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=cwd, env=environment, stdout=output, stderr=subprocess.STDOUT)
    server = Server(Client(f"http://127.0.0.1:{port}"), process, log)
    try:
        _wait(server)
    except BaseException:
        server.stop()
        raise
    return server


def _wait(server: Server) -> None:
    deadline = time.monotonic() + _START_LIMIT_SECONDS
    printed = False
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            raise RuntimeError(f"the WebUI ended while starting:\n{_tail(server.log)}")
        printed = printed or _READY_LINE in server.log.read_text(errors="replace")
        if printed and _answers(server.client):
            return
        time.sleep(0.3)
    raise RuntimeError(f"the WebUI did not come up:\n{_tail(server.log)}")


def _answers(client: Client) -> bool:
    try:
        client.get("/sdapi/v1/options")
    except (HostError, OSError):
        return False
    return True


def _tail(log: Path, lines: int = 30) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
