"""The command line: ``python -m crdiff COMMAND``, in the Python environment of a WebUI."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from crdiff import __version__, console
from crdiff.bench import command as bench
from crdiff.calibration import command as calibrate
from crdiff.errors import CRDiffError
from crdiff.evaluation import command as evaluate
from crdiff.inspection import command as inspect
from crdiff.search import command as search

COMMANDS: dict[str, ModuleType] = {
    "inspect": inspect,
    "bench": bench,
    "search": search,
    "calibrate": calibrate,
    "evaluate": evaluate,
}

FAILURE = 2
_INTERRUPTED = 130


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command line; each command stores the function that runs it as ``run``."""
    parser = argparse.ArgumentParser(prog="python -m crdiff", description="CR-Diff without its WebUI.")
    parser.add_argument("--version", action="version", version=f"CR-Diff {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        own = commands.add_parser(
            name,
            help=command.HELP,
            description=command.DESCRIPTION,
            epilog=command.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(own)
        own.set_defaults(run=command.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; what it cannot do is one sentence on stderr.

    Returns:
        The exit status.
    """
    console.allow_any_text()
    arguments = build_parser().parse_args(argv)
    try:
        status = arguments.run(arguments)
        print(end="", flush=True)  # here, where a full disk still gets its sentence
    except CRDiffError as error:
        print(f"crdiff: {error}", file=sys.stderr)
        return FAILURE
    except BrokenPipeError:  # whatever reads the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        print(f"crdiff: {place}{error.strerror or error}.", file=sys.stderr)
        return FAILURE
    except ModuleNotFoundError as error:
        print(f"crdiff: {error}; run this with the Python of a WebUI's environment.", file=sys.stderr)
        return FAILURE
    except KeyboardInterrupt:
        return _INTERRUPTED
    return int(status or 0)


if __name__ == "__main__":
    sys.exit(main())
