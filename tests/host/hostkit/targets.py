"""The WebUIs the suite runs against, and what each of them offers."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from standins import HOSTS, SETTINGS, free_port, start_standin

from hostkit.checkpoints import Checkpoint, read_checkpoint
from hostkit.client import Client, HostError, Payload
from hostkit.server import make_data_folder, start

HERE = Path(__file__).resolve().parent.parent
REPOSITORY = HERE.parent.parent
EXTENSIONS = {
    "cr-diff": REPOSITORY,
    "crdiff-test-faults": HERE / "fault_extension",
    "crdiff-test-reference": HERE / "reference_extension",
}
_NEOS_SETTINGS = {"VERSION_UID": "PY313", "show_refiner": True, "refiner_use_steps": True}
"""Without the first Neo takes the settings for those of a version before it and asks at the console what to do; the
others make its refiner what it is elsewhere."""
STANDINS = {f"standin-{kind.flavour}": kind for kind in HOSTS}


@dataclass
class Target:
    """A running WebUI.

    Attributes:
        name: for messages.
        client: its API.
        standin: whether it is the stand-in of this repository, in which everything has to run.
        forge: whether it keeps its model in ``forge_objects``, as all of Forge's family do.
        storage: whether the type that weights are stored in is a setting of it, as in Forge and Neo.
        hires: an upscaler, in the latent space where it has one, as all but Neo, and a strength at which both passes of
            hires fix are seen in the image.
        checkpoints: those this suite knows how to use.
        loras: names of the LoRAs, by the layout they were made for.
        samplers: names.
        scripts: names of the always-on and selectable scripts of txt2img.
    """

    name: str
    client: Client
    standin: bool
    forge: bool = field(init=False)
    storage: bool = field(init=False)
    hires: Payload = field(init=False)
    checkpoints: list[Checkpoint] = field(init=False)
    loras: list[str] = field(init=False)
    samplers: list[str] = field(init=False)
    scripts: list[str] = field(init=False)

    def __post_init__(self) -> None:
        client = self.client
        # An image waits for the first checkpoint, which loads in the background. A setting does not, and two loads at
        # a time leave AUTOMATIC1111 with half a model.
        client.draw({"steps": 1, "width": 64, "height": 64, "save_images": False})
        self.forge = client.get("/crdiff-test/v1/host")["forge_objects"]
        self.storage = "forge_unet_storage_dtype" in client.options()
        latent = self.standin or client.get("/sdapi/v1/latent-upscale-modes")
        upscaler, strength = ("Latent", 0.8) if latent else ("None", 0.3)
        self.hires = {"hr_upscaler": upscaler, "denoising_strength": strength}
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
    return list(STANDINS)


@contextmanager
def running(name: str, folder: Path, flags: Sequence[str] = ()) -> Iterator[Target]:
    """A target, started unless it is one to attach to.

    Args:
        name: one of ``wanted_targets()``.
        folder: an empty folder for what the WebUI writes.
        flags: further command line flags.
    """
    url = os.environ.get("WEBUI_URL")
    if name in STANDINS:
        standin = start_standin(STANDINS[name], folder, folder / "models", flags)
        try:
            standin.wait_until_up()
            yield Target(name, Client(standin.url), standin=True)
        finally:
            standin.stop()
    elif url:
        yield Target(url, Client(url), standin=False)
    else:
        root = Path(os.environ["WEBUI_ROOT"]).resolve()
        port, data = free_port(), folder / "data"
        make_data_folder(data, EXTENSIONS, {**SETTINGS, **_NEOS_SETTINGS})
        server = start([*_installed_command(root, data, port), *flags], root, port, folder / "webui.log")
        try:
            yield Target(str(root), server.client, standin=False)
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
    folders = {"ckpt-dir": models / "Stable-diffusion", "lora-dir": models / "Lora"}
    known = (root / "modules" / "cmd_args.py").read_text(encoding="utf-8")
    command = [python, "launch.py", "--port", str(port), "--api", "--skip-prepare-environment"]
    command += ["--no-download-sd-model"] if "--no-download-sd-model" in known else []
    command += ["--data-dir", str(data)]
    for flag, place in folders.items():
        # Neo takes several folders of each kind.
        command += [f"--{flag}s" if f'"--{flag}s"' in known else f"--{flag}", str(place)]
    return command + shlex.split(os.environ.get("WEBUI_ARGS", ""))
