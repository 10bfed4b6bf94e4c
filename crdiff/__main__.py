"""The command line: ``python -m crdiff COMMAND``, in the Python environment of a WebUI."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crdiff import __version__
from crdiff.bench import command as bench
from crdiff.errors import CRDiffError
from crdiff.search import command as search

FAILURE = 2
_INTERRUPTED = 130

_INSPECT = """\
Show what pruning ratios come to in a checkpoint: for the down, mid and up blocks of its UNet the number of layers
and weights that CR-Diff looks at, the threshold, and how many weights it prunes.

The file is read piece by piece and no model is built, so that an SDXL checkpoint needs a few seconds and some hundred
megabytes of memory. A weight is pruned if its magnitude does not exceed its group's threshold. In 16 and 8 bit files
many weights share a magnitude, so that the sparsity can exceed the ratio."""

_INSPECT_EXAMPLES = """\
examples:
  python -m crdiff inspect model.safetensors --ratios 0.397/0.434/0.387
  python -m crdiff inspect model.safetensors --preset 400x560
  python -m crdiff inspect model.safetensors --preset 400x560 --hash --json"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command line; each command stores the function that runs it as ``run``."""
    parser = argparse.ArgumentParser(prog="python -m crdiff", description="CR-Diff without its WebUI.")
    parser.add_argument("--version", action="version", version=f"CR-Diff {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_inspect(commands)
    _add(commands, "bench", bench)
    _add(commands, "search", search)
    return parser


def _add_inspect(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "inspect",
        help="show thresholds and sparsity of a checkpoint at given ratios",
        description=_INSPECT,
        epilog=_INSPECT_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "checkpoint",
        type=Path,
        metavar="CHECKPOINT.safetensors",
        help="an SD1.x, SD2.x or SDXL checkpoint, or a UNet alone, with LDM or diffusers names",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--ratios",
        metavar="DOWN/MID/UP",
        help="share of the weights to prune in the down, mid and up blocks, each in [0, 1)",
    )
    source.add_argument(
        "--preset",
        metavar="HEIGHTxWIDTH",
        help="take the built-in preset of the checkpoint's family for this picture size; "
        "a size without one gets an estimate from its neighbours",
    )
    parser.add_argument(
        "--hash",
        action="store_true",
        help="with --preset: hash the file first, to tell the checkpoint that a preset was found on from a fine-tune",
    )
    parser.add_argument("--json", action="store_true", help="write JSON instead of a table")
    parser.set_defaults(run=_inspect)


def _add(commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, command: Any) -> None:
    parser = commands.add_parser(
        name,
        help=command.HELP,
        description=command.DESCRIPTION,
        epilog=command.EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_arguments(parser)
    parser.set_defaults(run=command.run)


def _inspect(arguments: argparse.Namespace) -> None:
    # Imported here, so that --help need not wait for torch.
    from crdiff.inspection.inspection import inspect_ratios, inspect_size, to_json, to_text
    from crdiff.method.groups import Ratios
    from crdiff.presets.size import Size

    if arguments.preset is not None:
        found = inspect_size(arguments.checkpoint, Size.parse(arguments.preset), hashed=arguments.hash)
    else:
        found = inspect_ratios(arguments.checkpoint, Ratios.parse(arguments.ratios))
    print(to_json(found) if arguments.json else to_text(found))


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; what it cannot do is one sentence on stderr.

    Returns:
        The exit status.
    """
    arguments = build_parser().parse_args(argv)
    try:
        status = arguments.run(arguments)
    except CRDiffError as error:
        print(f"crdiff: {error}", file=sys.stderr)
        return FAILURE
    except OSError as error:
        print(f"crdiff: {error.filename}: {error.strerror}.", file=sys.stderr)
        return FAILURE
    except ModuleNotFoundError as error:
        print(f"crdiff: {error}; run this with the Python of a WebUI's environment.", file=sys.stderr)
        return FAILURE
    except KeyboardInterrupt:
        return _INTERRUPTED
    return int(status or 0)


if __name__ == "__main__":
    sys.exit(main())
