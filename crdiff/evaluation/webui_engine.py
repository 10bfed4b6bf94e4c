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
from crdiff.models.checkpoint import Checkpoint
from crdiff.plan import idle, plan_for
from crdiff.presets.size import Size
from crdiff.search.options import with_checkpoint
from crdiff.search.remote import WebUI, ask_checkpoint, check_sampler
from crdiff.settings import Settings

_SCRIPT = "cr-diff"
_OPTIONS = ("sd_vae", "CLIP_stop_at_last_layers")
"""The WebUI's own that images depend on, whatever is requested."""

_SOURCE, _NOTE = "CR-Diff source: ", "CR-Diff note: "


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
        options = webui.call("GET", "/sdapi/v1/options")
        self._options = {name: options.get(name) for name in _OPTIONS}

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"engine": "webui", "model": self.checkpoint.key, "request": self._body, "options": self._options}

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
        if not _acted(request, self.checkpoint, infotext):
            note = infotext.partition(_NOTE)[2] or "its infotext does not say that CR-Diff acted"
            raise EvaluationError(f"The WebUI drew without CR-Diff: {note}")
        return Drawn(image.convert("RGB"), infotext)


def _acted(request: Request, checkpoint: Checkpoint, infotext: str) -> bool:
    """Whether the WebUI did what the settings, ratios and k by hand, ask for.

    An enabled job's infotext tells its settings whatever came of them, and a source where something was done.
    """
    if not request.settings.enabled:
        return True
    plan = plan_for(request.settings, request.size).make(checkpoint)
    if _SOURCE not in infotext:
        return plan.idle is not None
    return f'{_SOURCE}"no pruning' not in infotext or idle(plan.schedule, plan.k) is not None
