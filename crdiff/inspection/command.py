"""``python -m crdiff inspect``: its options and what it prints."""

from __future__ import annotations

import argparse
from pathlib import Path

from crdiff.method.schedule import EXAMPLE

HELP = "show what a checkpoint holds, and thresholds and sparsity at given ratios"
DESCRIPTION = """\
Show what CR-Diff looks at in a checkpoint: its family, how it is stored, the layers and weights of the down, mid and up
blocks of its UNet, or of the parts of its transformer that stand for them, and the presets there are for it. With
ratios, or the preset of a size, also each group's threshold, if its layers share one, and how many weights it prunes.

The file is read piece by piece and no model is built, so that an SDXL checkpoint needs a few seconds and some hundred
megabytes of memory. A weight is pruned if its magnitude does not exceed its group's threshold. In 16 and 8 bit files
many weights share a magnitude, so that the sparsity can exceed the ratio."""

EXAMPLES = """\
examples:
  python -m crdiff inspect model.safetensors
  python -m crdiff inspect model.safetensors --ratios 0.397/0.434/0.387
  python -m crdiff inspect model.safetensors --preset 400x560
  python -m crdiff inspect model.safetensors --preset 400x560 --hash --json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options; what they may be is checked when they are used, so that a bad one gets a sentence."""
    parser.add_argument(
        "checkpoint",
        type=Path,
        metavar="CHECKPOINT.safetensors",
        help="a checkpoint of Stable Diffusion, Flux, Chroma, Lumina 2, Z-Image or Qwen-Image, or its denoiser alone",
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--ratios",
        metavar="DOWN/MID/UP",
        help="share of the weights to prune in the down, mid and up blocks, each in [0, 1), or stages such as "
        f"'{EXAMPLE}'",
    )
    source.add_argument(
        "--preset",
        metavar="HEIGHTxWIDTH",
        help="take the built-in preset of the checkpoint's family for this image size; "
        "a size without one gets an estimate from its neighbours",
    )
    parser.add_argument(
        "--hash",
        action="store_true",
        help="with --preset: hash the file first, to tell the checkpoint that a preset was found on from a fine-tune",
    )
    parser.add_argument("--criterion", default="magnitude", help="what decides which weights are pruned (magnitude)")
    parser.add_argument("--layers", default="released", help="of a transformer: released, feed-forward or attention")
    parser.add_argument("--threshold", default="auto", help="what shares a threshold: auto, layer or group")
    parser.add_argument("--json", action="store_true", help="write JSON instead of a table")


def run(arguments: argparse.Namespace) -> None:
    """Inspect and print.

    Raises:
        CRDiffError: an option or the file cannot be used.
    """
    # Imported here, so that --help need not wait for torch.
    from crdiff.checks import choice
    from crdiff.inspection.inspection import inspect_ratios, inspect_size
    from crdiff.inspection.overview import look_over
    from crdiff.inspection.report import overview_to_json, overview_to_text, to_json, to_text
    from crdiff.method.schedule import Schedule
    from crdiff.models.scope import LAYER_SETS, THRESHOLDS, Scope
    from crdiff.presets.size import Size
    from crdiff.specs import SPECS

    criterion = choice("The criterion", arguments.criterion, SPECS["criterion"].choices)
    scope = Scope(
        choice("The set of layers", arguments.layers, LAYER_SETS),
        choice("The threshold", arguments.threshold, THRESHOLDS),
    )
    if arguments.preset is None and arguments.ratios is None:
        overview = look_over(arguments.checkpoint, scope)
        print(overview_to_json(overview) if arguments.json else overview_to_text(overview))
        return
    if arguments.preset is not None:
        size = Size.parse(arguments.preset)
        found = inspect_size(arguments.checkpoint, size, hashed=arguments.hash, criterion=criterion, scope=scope)
    else:
        found = inspect_ratios(arguments.checkpoint, Schedule.parse(arguments.ratios), criterion=criterion, scope=scope)
    print(to_json(found) if arguments.json else to_text(found))
