"""``python -m demo``: a small WebUI with CR-Diff, the demo's checkpoint and a Compare button.

Further arguments go to the stand-in WebUI (``demo/webui/launch.py``), such as ``--host-flavour forge``.
"""

from __future__ import annotations

import argparse
import socket
import sys
from pathlib import Path

from crdiff import console
from demo.prepare import CHECKPOINT, PRESETS, provide_checkpoint, provide_presets, provide_score

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache" / "demo"


def build_parser() -> argparse.ArgumentParser:
    """The demo's own arguments."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument("--listen", metavar="ADDRESS", default="127.0.0.1")
    parser.add_argument("--models", type=Path, default=CACHE / "models", help="folder for checkpoints")
    parser.add_argument("--data", type=Path, default=CACHE / "data", help="folder for settings, presets and images")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--selfcheck", action="store_true", help="draw an image by the API, compare in a browser, end")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Start the WebUI, or check it; the exit status."""
    console.allow_any_text()
    given, others = build_parser().parse_known_args(arguments)
    if given.checkpoint != CHECKPOINT and not given.checkpoint.is_file():
        print(f"There is no checkpoint {given.checkpoint}.")
        return 1
    if given.selfcheck:
        from demo.selfcheck import selfcheck

        return selfcheck(Path(sys.executable), given.checkpoint, others)
    if not _is_free(given.listen, given.port):
        print(f"Port {given.port} of {given.listen} is in use or not this machine's: try --port {given.port + 1}.")
        return 1
    for sentence in (provide_checkpoint(given.checkpoint, given.models), provide_presets(PRESETS, given.data)):
        if sentence:
            print(sentence, flush=True)
    provide_score(given.data)
    import launch

    arguments = ["--ui", "--port", str(given.port), "--listen", given.listen]
    arguments += ["--models", str(given.models), "--data", str(given.data)]
    arguments += ["--extension", str(ROOT), "--extension", str(ROOT / "demo" / "compare")]
    launch.main([*arguments, *others])
    return 0


def _is_free(address: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


if __name__ == "__main__":
    sys.exit(main())
