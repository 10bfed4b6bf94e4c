"""The journals of searches: what each is bound to, its file, and how a search is resumed from it."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from crdiff.errors import CRDiffError, SettingsError
from crdiff.models.checkpoint import Checkpoint
from crdiff.presets.size import Size
from crdiff.search.journal import read
from crdiff.search.strategies.point import AXES
from crdiff.settings import Settings
from crdiff.webui.search.monitor import CARRIED

_SEARCHED_BY = (
    "negative_prompt", "styles", "sampler_name", "scheduler", "steps", "cfg_scale", "distilled_cfg_scale", "tiling",
    "restore_faces", "subseed_strength", "refiner_checkpoint", "refiner_switch_at", "override_settings",
    "s_churn", "s_tmin", "s_tmax", "s_noise", "eta",
)  # fmt: skip
_HIRES = (
    "enable_hr", "hr_scale", "hr_upscaler", "hr_second_pass_steps", "hr_resize_x", "hr_resize_y", "denoising_strength",
    "hr_checkpoint_name", "hr_sampler_name", "hr_scheduler",
)  # fmt: skip
_IMG2IMG = (
    "denoising_strength", "image_cfg_scale", "resize_mode", "mask_blur_x", "mask_blur_y", "mask_round",
    "inpainting_fill", "inpaint_full_res", "inpaint_full_res_padding", "inpainting_mask_invert",
    "initial_noise_multiplier",
)  # fmt: skip
_RESTORED = frozenset([*_SEARCHED_BY, *_HIRES, *_IMG2IMG, "subseed"])
_MASKS = ("mask", "image_mask", "latent_mask")
_ENDING = ".jsonl"
_NOT_FINITE = ("inf", "-inf", "nan")


def identity(
    p: Any, checkpoint: Checkpoint | None, course: Mapping[str, Any], settings: Settings, calibration: str = ""
) -> dict[str, Any]:
    """What the scores of a search depend on besides the search core's own settings, as plain JSON.

    Args:
        p: the host's processing object.
        checkpoint: the selected one.
        course: the search's request without its budget.
        settings: the accordion's, of which Start, End, mode and those ``CARRIED`` apply to the trials too.
        calibration: the id of the one that the criterion goes by; empty if it needs none.
    """
    from modules import shared

    given = init_images(p)
    names = [*_SEARCHED_BY, *(_HIRES if course.get("hires") else ()), *(_IMG2IMG if given is not None else ())]
    found = {name: getattr(p, name) for name in names if hasattr(p, name)}
    if found.get("subseed_strength"):
        found["subseed"] = p.subseed
    found |= {name: getattr(shared.opts, name, None) for name in ("sd_vae", "CLIP_stop_at_last_layers")}
    return {
        **({} if given is None else {"image": given}),
        "checkpoint": None if checkpoint is None else checkpoint.key,
        "checkpoint_name": None if checkpoint is None else checkpoint.name,
        "size": str(Size(int(p.height), int(p.width))),
        "window": [settings.start, settings.end],
        "mode": settings.mode,
        # Named only where it is not the default, so that earlier versions' journals stay those of their searches.
        **{name: value for name in CARRIED if (value := getattr(settings, name)) != getattr(Settings, name)},
        **({"calibration": calibration} if calibration else {}),
        "job": {name: _plain(value) for name, value in found.items()},
        "search": dict(course),
    }


def init_images(p: Any) -> str | None:
    """A digest of the images and masks that an img2img job starts from; None for other jobs."""
    given = getattr(p, "init_images", None)
    if not given:
        return None
    digest = hashlib.sha256()
    for image in [*given, *(getattr(p, name, None) for name in _MASKS)]:
        if hasattr(image, "tobytes"):
            digest.update(f"{image.mode} {image.size} ".encode())
            digest.update(image.tobytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Resumed:
    """What a search was begun with, besides the settings of its job.

    Attributes:
        settings: CR-Diff's Start, End, mode and those ``CARRIED``, by their names in ``Settings``.
        held: the values of the axes that are not varied.
    """

    settings: Mapping[str, Any]
    held: Mapping[str, Any]


def restore(p: Any, path: Path) -> Resumed | None:
    """Give a job the settings that a journal was begun with, whatever the tab says now.

    What a job does not carry (the checkpoint, the image of img2img, the host's options) is left to the comparison
    that the journal makes itself.

    Returns:
        None if the journal does not say.

    Raises:
        JournalError: it cannot be read.
        SettingsError: it is of the other tab.
    """
    head, _ = read(path)
    if ("image" in head) != (init_images(p) is not None):
        raise SettingsError("The last search was made in the other tab (txt2img or img2img); resume it there.")
    try:
        size = Size.parse(str(head["size"]))
        wanted = {name: value for name, value in dict(head["job"]).items() if name in _RESTORED and hasattr(p, name)}
        start, end = (float(value) for value in head["window"])
        named = {name: str(head.get(name, getattr(Settings, name))) for name in ("mode", *CARRIED)}
        held = {axis: float(value) for axis, value in dict(head["space"]["fixed"]).items() if axis in AXES}
        resumed = Resumed({"start": start, "end": end, **named}, held)
    except (CRDiffError, KeyError, TypeError, ValueError):
        return None
    p.height, p.width = size.height, size.width
    for name, value in wanted.items():
        setattr(p, name, _from_plain(value))
    return resumed


def _plain(value: Any) -> Any:
    """A value of the host's as JSON holds it; a number that JSON has none for, such as infinity, becomes its name."""
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if hasattr(value, "tolist"):  # numpy's numbers and arrays, tensors
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return value if value is None or isinstance(value, (str, int)) else str(value)


def _from_plain(value: Any) -> Any:
    """A value that ``_plain`` has made plain."""
    return float(value) if value in _NOT_FINITE else value


def journal_path(folder: Path, bound_to: Mapping[str, Any], held: Mapping[str, float]) -> Path:
    """The journal of a search: the same search finds the same file again, whatever its budget.

    Args:
        folder: of the journals.
        bound_to: what the scores depend on.
        held: ratios that are not varied, where they are not at 0.3: earlier versions held all of them there, and their
            journals keep their names.
    """
    text = json.dumps(bound_to, sort_keys=True, default=str) + (json.dumps(held, sort_keys=True) if held else "")
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", str(bound_to.get("checkpoint_name") or "model"))[:40].strip("._")
    mark = hashlib.sha256(text.encode()).hexdigest()[:12]
    return folder / f"{name or 'model'}-{bound_to['size']}-{mark}{_ENDING}"


@dataclass(frozen=True)
class SavedSearch:
    """A search found on disk.

    Attributes:
        path: its journal.
        name: the checkpoint's.
        size: height x width.
        course: its request without the budget.
        evaluations: that are in the journal, repeats not counted.
    """

    path: Path
    name: str
    size: str
    course: dict[str, Any]
    evaluations: int

    def describe(self) -> str:
        """One line."""
        prompt = str((self.course.get("prompts") or [""])[0])
        shown = prompt if len(prompt) <= 40 else f"{prompt[:40]}..."
        order = Size.parse(self.size).order
        return f"{self.name}, {self.size}{order}, {self.evaluations} evaluations: {shown}"


def _written_at(path: Path) -> float:
    """When a file was written to last; one that is gone meanwhile comes last."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def latest(folder: Path, *, from_image: bool = False) -> SavedSearch | None:
    """The search of txt2img, or of img2img, that was written to last; None if there is none that can be read."""
    for path in sorted(folder.glob(f"*{_ENDING}"), key=_written_at, reverse=True):
        try:
            head, entries = read(path)
            if ("image" in head) != from_image:
                continue
            measured = sum(not entry.get("repeat") for entry in entries)
            name, size, course = str(head.get("checkpoint_name")), str(head["size"]), dict(head["search"])
            return SavedSearch(path, name, size, course, measured)
        except (CRDiffError, KeyError, TypeError, ValueError):
            continue
    return None
