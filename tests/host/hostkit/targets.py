"""The WebUIs the suite runs against, and what each of them offers."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hostkit.checkpoints import Checkpoint, read_checkpoint
from hostkit.client import Client, HostError
from hostkit.server import free_port, make_data_folder, start

HERE = Path(__file__).resolve().parent.parent
REPOSITORY = HERE.parent.parent
EXTENSIONS = {
    "cr-diff": REPOSITORY,
    "crdiff-test-faults": HERE / "fault_extension",
    "crdiff-test-reference": HERE / "reference_extension",
}
SETTINGS: dict[str, object] = {
    "live_previews_enable": False,
    "auto_launch_browser": "Disable",
    "samples_format": "png",
    # Pictures alone in answers, without a grid in front of a batch.
    "return_grid": False,
}
STANDIN_FLAVOURS = ("a1111", "forge")


@dataclass
class Target:
    """A running WebUI.

    Attributes:
        name: for messages.
        client: its API.
        standin: whether it is the stand-in of this repository, in which everything has to run.
        forge: whether it keeps its model in ``forge_objects``.
        checkpoints: those this suite knows how to use.
        loras: names of the LoRAs, by the layout they were made for.
        samplers: names.
        scripts: names of the always-on and selectable scripts of txt2img.
    """

    name: str
    client: Client
    standin: bool
    flags: tuple[str, ...] = ()
    forge: bool = field(init=False)
    checkpoints: list[Checkpoint] = field(init=False)
    loras: list[str] = field(init=False)
    samplers: list[str] = field(init=False)
    scripts: list[str] = field(init=False)

    def __post_init__(self) -> None:
        client = self.client
        self.forge = "forge_unet_storage_dtype" in client.options()
        entries = [read_checkpoint(entry) for entry in client.get("/sdapi/v1/sd-models")]
        self.checkpoints = sorted((entry for entry in entries if entry), key=lambda entry: entry.title)
        self.samplers = [entry["name"] for entry in client.get("/sdapi/v1/samplers")]
        self.scripts = client.get("/sdapi/v1/scripts")["txt2img"]
        try:
            # A LoRA for SDXL is no use to the SD1.5 checkpoints, and names are all the API tells of every host.
            self.loras = sorted(e["name"] for e in client.get("/sdapi/v1/loras") if "xl" not in e["name"].lower())
        except HostError:
            self.loras = []

    @property
    def exact(self) -> bool:
        """Whether an image is the reference's to the last bit.

        AUTOMATIC1111 mixes raw predictions in both implementations. Forge's hook mixes denoised latents,
        x - sigma * prediction, and the reference raw predictions: equal on paper, but not in float32's last bits.
        """
        return not self.forge


def wanted_targets() -> Sequence[str]:
    """Names of the targets this test run has: one WebUI named by the environment, else the stand-in's flavours."""
    if os.environ.get("WEBUI_URL") or os.environ.get("WEBUI_ROOT"):
        return ["webui"]
    return [f"standin-{flavour}" for flavour in STANDIN_FLAVOURS]


@contextmanager
def running(name: str, folder: Path, flags: Sequence[str] = ()) -> Iterator[Target]:
    """A target, started unless it is one to attach to.

    Args:
        name: one of ``wanted_targets()``.
        folder: an empty folder for what the WebUI writes.
        flags: further command line flags.
    """
    url = os.environ.get("WEBUI_URL")
    if name == "webui" and url:
        yield Target(url, Client(url), standin=False)
        return
    port = free_port()
    data = folder / "data"
    make_data_folder(data, EXTENSIONS if name == "webui" else {}, SETTINGS)
    if name == "webui":
        root = Path(os.environ["WEBUI_ROOT"]).resolve()
        command = _installed_command(root, data, port)
    else:
        root = REPOSITORY
        command = _standin_command(name.removeprefix("standin-"), folder, data, port)
    server = start([*command, *flags], root, port, folder / "webui.log")
    try:
        # A picture waits for the first checkpoint, which loads in the background. A setting does not, and two loads at
        # a time leave AUTOMATIC1111 with half a model.
        server.client.draw({"steps": 1, "width": 64, "height": 64, "save_images": False})
        yield Target(str(root) if name == "webui" else name, server.client, name != "webui", tuple(flags))
    finally:
        server.stop()


def can_restart(name: str) -> bool:
    """Whether the suite may start a second instance of the target."""
    return name != "webui" or not os.environ.get("WEBUI_URL")


def _installed_command(root: Path, data: Path, port: int) -> list[str]:
    places = [root / "venv" / "bin" / "python", root / "venv" / "Scripts" / "python.exe"]
    python = os.environ.get("WEBUI_PYTHON") or next((str(place) for place in places if place.exists()), None)
    if python is None:
        raise RuntimeError(f"no venv in {root}: set WEBUI_PYTHON to the Python that runs this WebUI")
    models = root / "models"
    folders = {"data-dir": data, "ckpt-dir": models / "Stable-diffusion", "lora-dir": models / "Lora"}
    command = [python, "launch.py", "--port", str(port), "--api"]
    command += ["--skip-prepare-environment", "--no-download-sd-model"]
    for flag, place in folders.items():
        command += [f"--{flag}", str(place)]
    return command + shlex.split(os.environ.get("WEBUI_ARGS", ""))


def _standin_command(flavour: str, folder: Path, data: Path, port: int) -> list[str]:
    command: list[Any] = [sys.executable, "demo/webui/launch.py", "--host-flavour", flavour, "--port", port]
    command += ["--models", folder / "models", "--data", data, "--api"]
    for extension in EXTENSIONS.values():
        command += ["--extension", extension]
    return [str(part) for part in command]
