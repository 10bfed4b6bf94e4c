"""Searches asked for and waited for by the host's API; for tests that run inside the host's process."""

from __future__ import annotations

import time
from typing import Any

BODY = {"prompt": "a small red house", "seed": 5, "steps": 2, "width": 64, "height": 96, "sampler_name": "Euler",
        "scheduler": "Automatic", "cfg_scale": 5.0}  # fmt: skip


def asked(host: Any, search: dict[str, Any] | None, **fields: Any) -> str:
    body = {**BODY, **fields}
    return host.post("/crdiff/v1/search", body if search is None else {**body, "search": search})["id"]


def waited(host: Any, name: str, until: Any = None, seconds: float = 120) -> dict[str, Any]:
    """Polls as a client would."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = host.get(f"/crdiff/v1/search/{name}")
        if until(answer) if until else answer["state"] != "running":
            return answer
        time.sleep(0.02)
    raise AssertionError(answer)


def done(host: Any, search: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return waited(host, asked(host, {"score": "own", **search}, **fields))
