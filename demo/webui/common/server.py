"""Serving a host, on the loopback interface unless told otherwise."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from common.running_host import Host


def serve(host: Host, port: int, startup_seconds: float = 0.0, address: str = "127.0.0.1") -> None:
    import uvicorn

    app: Any = host.app
    if host.config.ui:
        app = _with_page(host)
    print(f"Running on local URL:  http://{address}:{port}", flush=True)
    print(f"Startup time: {startup_seconds:.1f}s.", flush=True)
    uvicorn.run(app, host=address, port=port, log_level="warning")


def unserved(folders: Iterable[str | Path]) -> str:
    """A sentence if gradio 3 refuses the files of one of these folders, as it does below a hidden one; else empty."""
    for folder in folders:
        for part in Path(folder).absolute().parts:
            if part.startswith("."):
                return (
                    f"Hidden folder {part}: gradio 3 serves no file below it, so the page comes up without its scripts "
                    f"and styles. Put {folder} elsewhere."
                )
    return ""


def _with_page(host: Host) -> Any:
    """Mounts the page under the API's app, so that both share one port."""
    from common import ui_head, ui_page
    from common.ui_gradio import GRADIO_4

    if not GRADIO_4 and (sentence := unserved(ui_head.script_folders())):
        print(sentence, flush=True)

    return ui_page.mount(host.app, host.demo)
