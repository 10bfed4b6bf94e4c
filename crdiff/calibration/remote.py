"""A calibration by a running WebUI, asked for and followed from another program."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from crdiff.search.remote import RemoteError, WebUI

_PATH = "/crdiff/v1/calibrate"
_POLL_S = 0.5


def calibrate(
    webui: WebUI, request: Mapping[str, Any], wanted: Mapping[str, Any], should_stop: Callable[[], bool]
) -> Any:
    """Wait for its turn in the queue and its end; what is new is printed meanwhile.

    Args:
        webui: calibrates.
        request: the txt2img request.
        wanted: the keys of the calibration, see docs/calibration.md.
        should_stop: asked while the WebUI works.

    Returns:
        The WebUI's answer, which says how it ended.

    Raises:
        RemoteError: the WebUI cannot be reached, or refuses.
    """
    path = f"{_PATH}/{webui.call('POST', _PATH, {**request, 'calibration': dict(wanted)})['id']}"
    told, asked = "", False
    while True:
        answer = webui.call("GET", path)
        if answer["message"] != told:
            told = answer["message"]
            print(told, flush=True)
        if answer["state"] != "running":
            return answer
        if should_stop() and not asked:
            asked = True
            with suppress(RemoteError):  # it may have ended meanwhile
                webui.call("DELETE", path)
        time.sleep(_POLL_S)
