"""Serving a host, on the loopback interface unless told otherwise."""

from __future__ import annotations

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


def _with_page(host: Host) -> Any:
    """Mounts the page under the API's app, so that both share one port."""
    from common import ui_page

    return ui_page.mount(host.app, host.demo)
