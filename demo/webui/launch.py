"""Starts a stand-in WebUI: ``python launch.py --host-flavour a1111 --port 7860 --models DIR --extension DIR``.

The real hosts have a module of this name too, which extensions' ``install.py`` imports.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from pathlib import Path

if str(Path(__file__).resolve().parent) not in sys.path:
    sys.path.insert(0, str(Path(__file__).resolve().parent))

from common import config as _config


def git_tag() -> str:
    import standin_flavour

    return standin_flavour.VERSION


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host-flavour", choices=_config.FLAVOURS, default="a1111")
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument("--listen", metavar="ADDRESS", nargs="?", const="0.0.0.0", default="127.0.0.1",
                        help="the address to serve on; without ADDRESS every one this machine has")
    parser.add_argument("--models", type=Path,
                        help="folder with Stable-diffusion/ and Lora/; small random ones are made if it has none")
    parser.add_argument("--data", type=Path, help="folder for settings and images (default: a temporary one)")
    parser.add_argument("--extension", type=Path, action="append", default=[], help="may be given several times")
    parser.add_argument("--ui", action="store_true", help="serve the page too, not only the API")
    parser.add_argument("--device", default="cpu")
    for name in ("medvram", "lowvram", "fp8", "half"):
        parser.add_argument(f"--{name}", action="store_true")
    return parser


def main(arguments: list[str] | None = None) -> None:
    started = time.monotonic()
    # Whatever else is given is for the host's own parser: --api, --no-half, and what extensions' preload.py add.
    given, host_arguments = build_parser().parse_known_args(arguments)
    from common.start import start_host
    from common.checkpoints import write_standard_set

    if given.models is not None and not list(given.models.glob("Stable-diffusion/**/*.safetensors")):
        print(f"No checkpoints in {given.models}: writing small random ones.", flush=True)
        write_standard_set(given.models)
    host = start_host(given.host_flavour, models=given.models, data=given.data, extensions=given.extension,
                      port=given.port, ui=given.ui, medvram=given.medvram, lowvram=given.lowvram, fp8=given.fp8,
                      half=given.half, device=given.device, arguments=host_arguments, background=False)
    from common.server import serve

    import standin_flavour

    serving = (host, given.port, time.monotonic() - started, given.listen)
    threading.Thread(target=serve, args=serving, daemon=True).start()
    try:
        standin_flavour.serve_main_thread()
    except KeyboardInterrupt:
        print("Stopping server...")


args = argparse.Namespace(skip_install=False)

if __name__ == "__main__":
    # Extensions import this file as `launch`; without this they would get a second copy.
    sys.modules["launch"] = sys.modules["__main__"]
    main()
