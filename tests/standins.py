"""Stand-in hosts in processes of their own, for the tests that talk to a host from outside."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
START_S = 600
SETTINGS: dict[str, object] = {
    "live_previews_enable": False,
    "auto_launch_browser": "Disable",
    "samples_format": "png",
    # Images alone in answers, without a grid in front of a batch.
    "return_grid": False,
}


@dataclass(frozen=True)
class HostKind:
    """A flavour of the stand-in and the gradio it runs on."""

    flavour: str
    gradio: int

    def __str__(self) -> str:
        return f"{self.flavour}-gradio{self.gradio}"

    @property
    def python(self) -> Path:
        given = os.environ.get(f"CRDIFF_PYTHON_GRADIO{self.gradio}")
        folder = ".venv" if self.gradio == 4 else ".venv-gradio3"
        return Path(given) if given else ROOT / folder / "bin" / "python"


HOSTS = (HostKind("a1111", 3), HostKind("forge", 4))
"""As the hosts themselves are."""
OTHERS = (HostKind("forge", 3), HostKind("a1111", 4))


@dataclass
class Server:
    """A stand-in host in a process of its own."""

    kind: HostKind
    url: str
    data: Path
    log_file: Path
    process: subprocess.Popen[bytes]

    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def get(self, path: str) -> Any:
        return json.loads(self.download(path))

    def download(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            content: bytes = answer.read()
        return content

    def post(self, path: str, body: Any) -> Any:
        data = json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.loads(answer.read())

    def wait_until_up(self) -> None:
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            try:
                urllib.request.urlopen(self.url, timeout=5).close()
                return
            except OSError:
                time.sleep(0.2)
        raise RuntimeError(f"the stand-in {self.kind} did not start:\n{self.log()[-5000:]}")

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start(kind: HostKind, folder: Path, arguments: list[str], **environment: str) -> Server:
    """Start a stand-in host; ``wait_until_up`` tells when it answers.

    Args:
        kind: its flavour and gradio.
        folder: for its data, its log and gradio's files.
        arguments: what comes after ``python``, such as ``["-m", "demo"]``, without port, data and flavour.
        environment: further variables.
    """
    port = free_port()
    data, log_file = folder / "data", folder / "server.log"
    command = [str(kind.python), "-W", "ignore", *arguments, "--host-flavour", kind.flavour, "--port", str(port)]
    # gradio 4 asks matplotlib for its backend at every event, which loads all of pyplot unless one is named.
    variables = {
        "PYTHONUNBUFFERED": "1",
        "MPLBACKEND": "agg",
        "GRADIO_TEMP_DIR": str(folder / "gradio"),
        "PYTHONPATH": "",
    }
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [*command, "--data", str(data)], stdout=log, stderr=subprocess.STDOUT, cwd=ROOT,
            env={**os.environ, **variables, **environment},
        )  # fmt: skip
    return Server(kind, f"http://127.0.0.1:{port}", data, log_file, process)


def start_standin(kind: HostKind, folder: Path, models: Path, flags: Sequence[str] = ()) -> Server:
    """The stand-in with its page, this extension and those that tests/host looks into it with."""
    (folder / "data").mkdir()
    (folder / "data" / "config.json").write_text(json.dumps(SETTINGS), encoding="utf-8")
    arguments = [str(ROOT / "demo" / "webui" / "launch.py"), "--models", str(models), "--ui", "--api", *flags]
    for extension in (ROOT, *sorted((ROOT / "tests" / "host").glob("*_extension"))):
        arguments += ["--extension", str(extension)]
    # Where nobody listens: no test downloads a model.
    return start(kind, folder, arguments, HF_ENDPOINT="http://127.0.0.1:9")


def write_models(folder: Path) -> None:
    """The standard set of small random checkpoints and LoRAs, by a process that can import the stand-in's modules."""
    code = "import sys; from pathlib import Path; from common import checkpoints; "
    code += "checkpoints.write_standard_set(Path(sys.argv[1]))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "demo" / "webui")}
    subprocess.run([sys.executable, "-c", code, str(folder)], env=environment, check=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
