"""Where searches are kept, and what a journal is bound to."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crdiff.errors import CRDiffError, SettingsError
from crdiff.models.checkpoint import Checkpoint
from crdiff.modes.registry import DEFAULT_MODE
from crdiff.presets.size import Size
from crdiff.settings import Settings

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


def identity(p: Any, checkpoint: Checkpoint | None, plan: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """What the scores of a search depend on besides the search core's own settings, as plain JSON.

    Args:
        p: the host's processing object.
        checkpoint: the selected one.
        plan: the search's plan without its budget.
        settings: the accordion's, of which Start, End and mode hold for the trials too.
    """
    from modules import shared

    given = init_images(p)
    names = [*_SEARCHED_BY, *(_HIRES if plan.get("hires") else ()), *(_IMG2IMG if given is not None else ())]
    found = {name: getattr(p, name) for name in names if hasattr(p, name)}
    if found.get("subseed_strength"):
        found["subseed"] = p.subseed
    found |= {name: getattr(shared.opts, name, None) for name in ("sd_vae", "CLIP_stop_at_last_layers")}
    return {
        **({} if given is None else {"image": given}),
        "checkpoint": None if checkpoint is None else checkpoint.sha256 or checkpoint.name,
        "checkpoint_name": None if checkpoint is None else checkpoint.name,
        "size": str(Size(int(p.height), int(p.width))),
        "window": [settings.start, settings.end],
        "mode": settings.mode,
        "job": {name: _plain(value) for name, value in found.items()},
        "search": dict(plan),
    }


def init_images(p: Any) -> str | None:
    """A digest of the pictures and masks that an img2img job starts from; None for other jobs."""
    given = getattr(p, "init_images", None)
    if not given:
        return None
    digest = hashlib.sha256()
    for picture in [*given, *(getattr(p, name, None) for name in _MASKS)]:
        if hasattr(picture, "tobytes"):
            digest.update(f"{picture.mode} {picture.size} ".encode())
            digest.update(picture.tobytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Begun:
    """What a search was begun with beyond the job's settings: CR-Diff's Start, End and mode, and the trials' k."""

    start: float
    end: float
    mode: str
    k: float


def restore(p: Any, path: Path) -> Begun | None:
    """Give a job the settings that a journal was begun with, whatever the tab says now.

    What a job does not carry (the checkpoint, the picture of img2img, the host's options) is left to the comparison
    that the journal makes itself.

    Returns:
        None if the journal does not say.

    Raises:
        JournalError: it cannot be read.
        SettingsError: it is of the other tab.
    """
    from crdiff.search.journal import read

    head, _ = read(path)
    if ("image" in head) != (init_images(p) is not None):
        raise SettingsError("The last search was made in the other tab (txt2img or img2img); go on with it there.")
    try:
        size = Size.parse(str(head["size"]))
        wanted = {name: value for name, value in dict(head["job"]).items() if name in _RESTORED and hasattr(p, name)}
        start, end = (float(value) for value in head["window"])
        begun = Begun(start, end, str(head.get("mode", DEFAULT_MODE)), float(head["space"]["fixed"].get("k", 1.0)))
    except (CRDiffError, KeyError, TypeError, ValueError):
        return None
    p.height, p.width = size.height, size.width
    for name, value in wanted.items():
        setattr(p, name, value)
    return begun


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)


def journal_path(folder: Path, bound_to: Mapping[str, Any]) -> Path:
    """The journal of a search: the same search finds the same file again, whatever its budget."""
    text = json.dumps(bound_to, sort_keys=True, default=str)
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", str(bound_to.get("checkpoint_name") or "model"))[:40].strip("._")
    mark = hashlib.sha256(text.encode()).hexdigest()[:12]
    return folder / f"{name or 'model'}-{bound_to['size']}-{mark}{_ENDING}"


@dataclass(frozen=True)
class Kept:
    """A search found on disk.

    Attributes:
        path: its journal.
        checkpoint: sha256 or name.
        name: the checkpoint's name.
        size: height x width.
        plan: its plan without the budget.
        evaluations: so many lie in it.
    """

    path: Path
    checkpoint: str | None
    name: str
    size: str
    plan: dict[str, Any]
    evaluations: int

    def describe(self) -> str:
        """One line for a list."""
        prompt = str((self.plan.get("prompts") or [""])[0])
        shown = prompt if len(prompt) <= 40 else f"{prompt[:40]}..."
        return f"{self.name}, {self.size}, {self.evaluations} evaluations: {shown}"


def latest(folder: Path, *, from_image: bool = False) -> Kept | None:
    """The search of txt2img, or of img2img, that was written to last; None if there is none that can be read."""
    from crdiff.search.journal import read

    try:
        paths = sorted(folder.glob(f"*{_ENDING}"), key=lambda path: -path.stat().st_mtime)
    except OSError:
        return None
    for path in paths:
        try:
            head, entries = read(path)
            if ("image" in head) != from_image:
                continue
            measured = sum(not entry.get("repeat") for entry in entries)
            size, plan, name = str(head["size"]), dict(head["search"]), str(head.get("checkpoint_name"))
            return Kept(path, head.get("checkpoint"), name, size, plan, measured)
        except (CRDiffError, KeyError, TypeError, ValueError):
            continue
    return None
