"""A calibration in all its details: what the request leaves open is filled in from the job and the checkpoint."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

from crdiff import __version__
from crdiff.calibration.hessians import DIAGONALS, NO_HESSIANS, WHOLE
from crdiff.calibration.prompts import neutral_prompts
from crdiff.errors import SettingsError
from crdiff.method.groups import GROUPS
from crdiff.models.checkpoint import Checkpoint
from crdiff.presets.size import Size
from crdiff.webui.calibration.context import CalibrationContext
from crdiff.webui.calibration.request import NEUTRAL, TAB, CalibrationRequest
from crdiff.webui.calibration.room import check_disk

_NETWORK = re.compile(r"<\w+:[^>]+>")
"""As the hosts write LoRAs in a prompt."""
_DIGITS = 8


@dataclass(frozen=True)
class Setup:
    """A calibration before anything is drawn.

    Attributes:
        checkpoint: that is calibrated.
        size: of the images.
        images: prompt and seed of each.
        hessians: the groups whose Hessians are wanted.
        made: how it is made, see Statistics.
        whole: whether these are kept as a whole.
        gradients: whether they are wanted.
    """

    checkpoint: Checkpoint
    size: Size
    images: tuple[tuple[str, int], ...]
    hessians: tuple[str, ...]
    made: dict[str, str]
    whole: bool = False
    gradients: bool = False


def prepare(p: Any, request: CalibrationRequest, context: CalibrationContext) -> Setup:
    """Fill in what the request leaves open.

    Args:
        p: the host's processing object.
        request: what is wanted.
        context: the surroundings.

    Raises:
        SettingsError: the model cannot be calibrated as things stand.
    """
    _refuse_hypertile()
    checkpoint = context.checkpoints.hashed((p.override_settings or {}).get("sd_model_checkpoint"))
    size = size_of(request, checkpoint, context)
    assert checkpoint is not None, "without one there is no size"
    if (request.hessians == WHOLE or request.gradients) and (layers := context.checkpoints.layers()) is not None:
        check_disk(request, layers, context.calibrations)
    prompts = _prompts(p, request)
    images = tuple((text, request.seed + place) for place, text in enumerate(islice(cycle(prompts), request.images)))
    groups = () if request.hessians == NO_HESSIANS else GROUPS
    made = _made(p, request, size, prompts)
    return Setup(checkpoint, size, images, groups, made, request.hessians == WHOLE, request.gradients)


def size_of(request: CalibrationRequest, checkpoint: Checkpoint | None, context: CalibrationContext) -> Size:
    """The size of the images: the family's native one, whatever the tab says, unless the request names another.

    Raises:
        SettingsError: it is not known, or the checkpoint is none that CR-Diff handles.
    """
    if checkpoint is None:
        raise SettingsError("There is no checkpoint to calibrate.")
    if checkpoint.problem is not None:
        raise SettingsError(f"{checkpoint.name} cannot be calibrated: {checkpoint.problem}")
    if request.gradients and checkpoint.family is not None and checkpoint.family.transformer:
        raise SettingsError("Gradients are gathered of UNets only; calibrate this checkpoint without them.")
    native = None if checkpoint.family is None else context.library.native_size(checkpoint.family)
    size = request.pixels or native
    if size is None:
        raise SettingsError(
            f"It is not known what size {checkpoint.name} was trained at; write it under Size, such as 512x512."
        )
    return size


def _refuse_hypertile() -> None:
    from modules import shared

    if getattr(shared.opts, "hypertile_enable_unet", False):
        raise SettingsError(
            "HyperTile cuts up what the layers would see: switch Hypertile U-Net off in the settings, draw one image, "
            "and calibrate again."
        )


def _prompts(p: Any, request: CalibrationRequest) -> tuple[str, ...]:
    """One for each image, taken in turn; the neutral ones get the LoRAs of the job's own prompt."""
    if request.prompts == TAB:
        return (str(p.prompt),)
    if request.prompts != NEUTRAL:
        return tuple(request.prompts)
    networks = "".join(_NETWORK.findall(str(p.prompt)))
    return tuple(f"{text} {networks}".strip() for text in neutral_prompts())


def _made(p: Any, request: CalibrationRequest, size: Size, prompts: tuple[str, ...]) -> dict[str, str]:
    texts = hashlib.sha256(json.dumps([prompts, str(p.negative_prompt), list(p.styles or [])]).encode()).hexdigest()[
        :_DIGITS
    ]
    named = request.prompts if isinstance(request.prompts, str) else f"{len(prompts)} of the user's"
    made = {
        "images": str(request.images),
        "size": str(size),
        "prompts": f"{named} ({texts})",
        "seed": str(request.seed),
        "steps": str(p.steps),
        "sampler": " ".join(str(part) for part in (p.sampler_name, getattr(p, "scheduler", None)) if part),
        "cfg scale": f"{float(p.cfg_scale):g}",
        "hessians": {NO_HESSIANS: "no", DIAGONALS: "yes"}.get(request.hessians, request.hessians),
        "version": __version__,
    }
    return {**made, **({"gradients": "yes"} if request.gradients else {}), **_changes(p)}


def _changes(p: Any) -> dict[str, str]:
    """What changes the inputs of layers that the host applies to every image."""
    from modules import shared

    merging = getattr(shared.opts, "token_merging_ratio", 0)
    ratio = (p.override_settings or {}).get("token_merging_ratio", merging)
    return {"token merging": f"{float(ratio):g}"} if ratio else {}
