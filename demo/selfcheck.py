"""``python -m demo --selfcheck``: starts the demo on a free port and draws by the API and in a browser.

The exit status is 0 if both worked; every fault is one sentence.
"""

from __future__ import annotations

import base64
import io
import json
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from PIL import Image

from demo import score
from demo.browse import NoBrowserError, compare_in_browser
from demo.prepare import CHECKPOINT, CRITERION, PRESETS
from demo.running import StartError, running
from demo.scenes.scene import OTHER_SIZES, judging_scenes

ANSWER_S = 300
HEIGHT, WIDTH = OTHER_SIZES[0]
"""The size that is drawn: not the model's own."""

IMAGES = 8
"""Of each variant of the comparison."""

RATIOS = {"enabled": True, "down": 0.3, "mid": 0.3, "up": 0.3}
"""CR-Diff's settings where the demo has no presets to look up."""


class CheckError(Exception):
    """What is wrong, in one sentence."""


def selfcheck(python: Path, checkpoint: Path, arguments: list[str]) -> int:
    """Run everything against a demo of its own, in temporary folders; the exit status.

    Args:
        python: the interpreter for the demo, which decides the version of gradio.
        checkpoint: the model; random ones are used where it is missing.
        arguments: for the demo.
    """
    if not checkpoint.is_file():
        print(f"{checkpoint} is missing: the images come from random weights.", flush=True)
    arguments = ["--checkpoint", str(checkpoint), *arguments]
    with tempfile.TemporaryDirectory(prefix="crdiff-demo-") as folder:
        print("Starting the demo in temporary folders; a minute or two on a busy machine.", flush=True)
        try:
            with running(python, Path(folder), arguments) as url:
                faults = check(url, _settings(checkpoint))
        except (CheckError, StartError) as error:
            faults = [str(error)]
    for fault in faults:
        print(f"FAILED: {fault}", flush=True)
    if not faults:
        print("The demo works.", flush=True)
    return 1 if faults else 0


def _settings(checkpoint: Path) -> dict[str, Any]:
    """CR-Diff's: Auto with the page's criterion where the demo's presets are for this checkpoint."""
    return {"enabled": True, "criterion": CRITERION} if checkpoint == CHECKPOINT and PRESETS.is_file() else RATIOS


def check(url: str, settings: dict[str, Any]) -> list[str]:
    """Draw by the API with CR-Diff's ``settings`` and in the browser, print what came of it; what is wrong."""
    faults = []
    print(f"It answers at {url}. Drawing by its API.", flush=True)
    try:
        check_api(url, settings)
    except CheckError as error:
        faults.append(f"API: {error}")
    print("Pressing Compare in a headless browser.", flush=True)
    try:
        shown = compare_in_browser(url, HEIGHT, WIDTH, IMAGES, ANSWER_S)
    except NoBrowserError as error:
        return [*faults, f"browser: {error}"]
    for line in shown.lines:
        print(f"browser: {line}", flush=True)
    return [*faults, *(f"browser: {fault}" for fault in shown.faults)]


def check_api(url: str, settings: dict[str, Any]) -> None:
    """One image by the API, with CR-Diff.

    Raises:
        CheckError: no image, not of the size, or drawn without CR-Diff.
    """
    prompt = judging_scenes(1)[0].caption()
    request = {
        "prompt": prompt, "seed": 1, "steps": 20, "cfg_scale": 3, "height": HEIGHT, "width": WIDTH,
        "sampler_name": "Euler", "alwayson_scripts": {"cr-diff": {"args": [settings]}},
    }  # fmt: skip
    started = time.monotonic()
    answer = _post(f"{url}/sdapi/v1/txt2img", request)
    seconds = time.monotonic() - started
    try:
        image = Image.open(io.BytesIO(base64.b64decode(answer["images"][0])))
        infotext = json.loads(answer["info"])["infotexts"][0]
    except (KeyError, IndexError, OSError, ValueError) as error:
        raise CheckError(f"the answer holds no image with its text ({type(error).__name__}: {error})") from None
    judged = f", score {score.score([image], prompt)[0]:.2f}" if score.WEIGHTS.is_file() else ""
    print(f"API: {image.height}x{image.width}, {seconds:.1f} s{judged}", flush=True)
    print(f"API: {infotext.splitlines()[0]}", flush=True)
    if image.size != (WIDTH, HEIGHT):
        raise CheckError(f"the image is {image.height}x{image.width}, not {HEIGHT}x{WIDTH}")
    if "CR-Diff note" in infotext or "CR-Diff source" not in infotext:
        raise CheckError(f"CR-Diff did not act: {infotext.splitlines()[-1]}")


def _post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        raise CheckError(f"status {error.code}: {error.read(500).decode(errors='replace')}") from None
    except (OSError, ValueError) as error:
        raise CheckError(f"no answer ({error})") from None
