"""``python -m crdiff calibrate``: calibrates a checkpoint through a running WebUI, from the command line."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from crdiff.calibration.hessians import DIAGONALS, HESSIANS, NO_HESSIANS
from crdiff.calibration.remote import calibrate
from crdiff.search.options import (
    add_sampling_options,
    add_webui_options,
    read_prompts,
    sampling_request,
    stopping,
    with_checkpoint,
)
from crdiff.search.remote import WebUI

HELP = "calibrate a checkpoint through a running WebUI, for criteria that need it"

DESCRIPTION = """\
Draw plain images of a checkpoint and keep what its layers see, which some criteria need to know. A WebUI with this
extension, started with --api, draws; the calibration is one job in its queue, and no image is saved.

Ctrl-C stops and keeps what the images drawn so far have shown."""

EXAMPLES = """\
examples:
  python -m crdiff calibrate
  python -m crdiff calibrate --images 32 --hessians --checkpoint sd_xl_base_1.0
  python -m crdiff calibrate --prompts prompts.txt --size 768x768 --url http://127.0.0.1:7861"""

_IMAGES = 16
_RESERVED = ("calibration", "prompt", "seed", "width", "height")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_webui_options(parser, "calibrate")
    images = parser.add_argument_group("the images")
    images.add_argument("--images", type=int, default=_IMAGES, help="how many to draw (default: %(default)s)")
    images.add_argument(
        "--prompts", type=Path, metavar="FILE", help="one prompt per line (default: 64 neutral ones of CR-Diff)"
    )
    images.add_argument("--size", metavar="HEIGHTxWIDTH", help="(default: the size the model was trained at)")
    images.add_argument("--seed", type=int, default=1, help="of the first image (default: %(default)s)")
    add_sampling_options(images)
    parser.add_argument(
        "--hessians", nargs="?", const=DIAGONALS, default=NO_HESSIANS, choices=HESSIANS,
        help="gather Hessians too, which take much memory: their diagonals, or whole for obs-diff and heads",
    )  # fmt: skip
    parser.add_argument(
        "--gradients", action="store_true",
        help="gather gradients too, as taylor needs: about as long again, and memory for those of all weights",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Run the command.

    Returns:
        The exit status: 0, 130 if it was stopped, 2 if it failed.
    """
    wanted: dict[str, Any] = {"images": arguments.images, "size": arguments.size, "seed": arguments.seed}
    wanted["hessians"], wanted["gradients"] = arguments.hessians, arguments.gradients
    if arguments.prompts is not None:
        wanted["prompts"] = read_prompts(arguments.prompts)
    request = with_checkpoint(sampling_request(arguments, _RESERVED), arguments.checkpoint)
    webui = WebUI(arguments.url, arguments.auth)
    with stopping() as stop:
        answer = calibrate(webui, request, wanted, stop.is_set)
    return {"done": 0, "stopped": 130}.get(answer["state"], 2)
