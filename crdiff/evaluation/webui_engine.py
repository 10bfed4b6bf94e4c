"""Images by a running WebUI, through its API."""

from __future__ import annotations

import base64
import binascii
import io
import json
from collections.abc import Mapping
from typing import Any

from PIL import Image, UnidentifiedImageError

from crdiff.checks import shown
from crdiff.errors import SettingsError
from crdiff.evaluation.engine import Drawn, Request
from crdiff.evaluation.errors import EvaluationError
from crdiff.plan import idle
from crdiff.presets.size import Size
from crdiff.search.options import with_checkpoint
from crdiff.search.remote import WebUI, ask_checkpoint, check_sampler
from crdiff.settings import DEFAULT_K, NATIVE, Settings

_SCRIPT = "cr-diff"
_PRUNED, _SCALED, _TOLD = "CR-Diff k: ", "CR-Diff attention scale: ", "CR-Diff size conditioning: "
_NOTE = "CR-Diff note: "


class WebUIEngine:
    """Each image is a job of its own in the WebUI's queue; none is saved there.

    Args:
        webui: with this extension, started with ``--api``.
        request: the fields of the txt2img request that all images share.
        checkpoint: to draw with; None takes the selected one.

    Raises:
        RemoteError: the WebUI cannot be reached, or cannot draw so.
    """

    def __init__(self, webui: WebUI, request: Mapping[str, Any], checkpoint: str | None = None) -> None:
        self._webui, self._name = webui, checkpoint
        self._body = with_checkpoint(dict(request), checkpoint)
        check_sampler(webui, request.get("sampler_name"))
        self.checkpoint = ask_checkpoint(webui, checkpoint)

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"engine": "webui", "model": self.checkpoint.key, "request": self._body}

    def check(self, size: Size, settings: Settings) -> None:
        if size.height % 8 or size.width % 8:
            raise SettingsError(f"{size}: WebUIs draw sizes whose sides are multiples of 8.")

    def draw(self, request: Request) -> Drawn:
        if ask_checkpoint(self._webui, self._name).key != self.checkpoint.key:
            raise EvaluationError("The checkpoint was switched in the WebUI; select the former one to resume.")
        size = {"height": request.size.height, "width": request.size.width}
        body = {**self._body, **size, "prompt": request.prompt, "seed": request.seed}
        scripts = {**body.get("alwayson_scripts", {}), _SCRIPT: {"args": [request.settings.to_dict()]}}
        only_answered = {"send_images": True, "save_images": False, "batch_size": 1, "n_iter": 1}
        answer = self._webui.call("POST", "/sdapi/v1/txt2img", {**body, "alwayson_scripts": scripts, **only_answered})
        try:
            infotext = str(json.loads(answer["info"])["infotexts"][0])
            image = Image.open(io.BytesIO(base64.b64decode(str(answer["images"][0]).split(",", 1)[-1])))
            image.load()
        except (KeyError, IndexError, TypeError, ValueError, binascii.Error, UnidentifiedImageError, OSError) as error:
            raise EvaluationError(f"The WebUI's answer holds no image ({shown(error)}).") from None
        if any(mark not in infotext for mark in _marks(request.settings)):
            note = infotext.partition(_NOTE)[2] or "its infotext does not say that CR-Diff acted"
            raise EvaluationError(f"The WebUI drew without CR-Diff: {note}")
        return Drawn(image.convert("RGB"), infotext)


def _marks(settings: Settings) -> list[str]:
    """What the infotext of an image with these settings holds, where ratios and k are by hand."""
    if not settings.enabled:
        return []
    prunes = idle(settings.schedule, DEFAULT_K if settings.k is None else settings.k) is None
    told = settings.size_conditioning == NATIVE
    return [_PRUNED] * prunes + [_SCALED] * (settings.attention is not None) + [_TOLD] * told
