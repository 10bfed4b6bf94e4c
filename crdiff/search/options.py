"""What commands that work through a running WebUI have in common: options, and reading what these name."""

from __future__ import annotations

import argparse
import json
import os
import signal
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crdiff import checks
from crdiff.errors import SettingsError

_AUTH = "CRDIFF_AUTH"


def add_webui_options(parser: argparse.ArgumentParser, purpose: str) -> Any:
    """Where the WebUI is, and its checkpoint.

    Args:
        parser: of the command.
        purpose: what the checkpoint is for.

    Returns:
        The group of options.
    """
    webui = parser.add_argument_group("the WebUI")
    webui.add_argument("--url", default="http://127.0.0.1:7860", help="its address (default: %(default)s)")
    webui.add_argument(
        "--auth",
        metavar="USER:PASSWORD",
        default=os.environ.get(_AUTH),
        help=f"of its --api-auth (default: the environment variable {_AUTH})",
    )
    webui.add_argument("--checkpoint", metavar="NAME", help=f"the checkpoint to {purpose} (default: the selected one)")
    return webui


def add_sampling_options(group: Any) -> None:
    """How images are drawn."""
    group.add_argument("--steps", type=int, default=30, help="(default: %(default)s)")
    group.add_argument("--cfg-scale", type=float, default=7.5, help="(default: %(default)s)")
    group.add_argument("--sampler", metavar="NAME", help="(default: the WebUI's)")
    group.add_argument("--negative-prompt", default="", metavar="TEXT")
    group.add_argument("--request", type=Path, metavar="FILE", help="further fields of the txt2img request, as JSON")


def sampling_request(arguments: argparse.Namespace, reserved: Collection[str]) -> dict[str, Any]:
    """The txt2img request of these options.

    Args:
        arguments: of the command.
        reserved: fields that the command sets by itself.

    Raises:
        SettingsError: a value that cannot be used, or a file that cannot be read.
    """
    checks.integer("--steps", arguments.steps, 1)
    checks.number("--cfg-scale", arguments.cfg_scale)
    request: dict[str, Any] = {"steps": arguments.steps, "cfg_scale": arguments.cfg_scale}
    request["negative_prompt"] = arguments.negative_prompt
    if arguments.sampler:
        request["sampler_name"] = arguments.sampler
    return request if arguments.request is None else request | _read_request(arguments.request, reserved)


def with_checkpoint(request: dict[str, Any], name: str | None) -> dict[str, Any]:
    """A txt2img request for a checkpoint; None is the selected one."""
    if name is None:
        return request
    return {**request, "override_settings": {**request.get("override_settings", {}), "sd_model_checkpoint": name}}


def read_prompts(path: Path) -> tuple[str, ...]:
    """The lines of a text file, each once, without empty ones.

    Raises:
        SettingsError: it is not UTF-8, or has no prompt.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: the file is not UTF-8 text (byte {error.start}).") from None
    prompts = tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not prompts:
        raise SettingsError(f"{path}: there is no prompt in this file.")
    return prompts


def _read_request(path: Path, reserved: Collection[str]) -> dict[str, Any]:
    try:
        request = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise SettingsError(f"{path}: this is not JSON ({error}).") from None
    if not isinstance(request, dict):
        raise SettingsError(f"{path}: the txt2img request must be a JSON object.")
    for key in reserved:
        if key in request:
            raise SettingsError(f"{path}: {key} is set by the command itself.")
    return request


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """Set by the first Ctrl-C; a second one ends at once."""
    stop = threading.Event()
    before: dict[int, Any] = {}

    def ask(number: int, frame: Any) -> None:
        stop.set()
        signal.signal(number, before[number])

    for number in (int(signal.SIGINT), int(signal.SIGTERM)):
        before[number] = signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
