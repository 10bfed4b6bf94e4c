"""The prompts of an evaluation: a text file, a JSON of captions, COCO's annotations, or the list that is shipped."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crdiff.calibration.prompts import neutral_prompts
from crdiff.errors import SettingsError
from crdiff.search.options import read_prompts

NEUTRAL = "neutral"
"""Names the shipped list."""

COCO_IMAGES, COCO_SEED = 5000, 42
_NAMES = ("caption", "prompt", "text")


def prompts_of(source: str, count: int | None = None) -> tuple[str, ...]:
    """The first ``count`` prompts of a source; None takes all.

    Args:
        source: ``neutral``, or a file: JSON where its name ends so, else a prompt per line.
        count: how many.

    Raises:
        SettingsError: the file cannot be read, or has too few prompts.
    """
    path = Path(source)
    if source == NEUTRAL:
        found = neutral_prompts()
    elif path.suffix.lower() == ".json":
        found = _from_json(path)
    else:
        found = _from_text(path)
    if count is not None and count > len(found):
        raise SettingsError(f"{source} has {len(found)} prompts, fewer than the {count} asked for.")
    return found[:count]


def coco_sample(annotations: Mapping[str, Any]) -> tuple[str, ...]:
    """The captions that the authors sample from COCO's ``captions_val2014.json`` (their prepare_coco_5k.py).

    5000 of its images, in the order in which the annotations first name them, and one caption of each, all by one
    generator with the seed 42. A smaller file gives all its images, in the generator's order.
    """
    captions: dict[Any, list[str]] = {}
    for annotation in annotations["annotations"]:
        captions.setdefault(annotation["image_id"], []).append(annotation["caption"])
    generator = random.Random(COCO_SEED)
    sampled = generator.sample(list(captions), min(COCO_IMAGES, len(captions)))
    return tuple(generator.choice(captions[image]).strip() for image in sampled)


def _from_text(path: Path) -> tuple[str, ...]:
    try:
        return read_prompts(path)
    except OSError as error:
        raise _fault(path, f"the prompts cannot be read ({error.strerror or error})") from None


def _from_json(path: Path) -> tuple[str, ...]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise _fault(path, f"the prompts cannot be read ({error.strerror or error})") from None
    except ValueError as error:
        raise _fault(path, f"this is not JSON ({error})") from None
    try:
        if isinstance(content, dict) and "annotations" in content:
            found = coco_sample(content)
        else:
            found = tuple(_caption(entry).strip() for entry in _entries(content))
    except (KeyError, TypeError, AttributeError):
        raise _fault(path, "captions are a list of texts, an object of them by name, or COCO's annotations") from None
    if not found or not all(found):
        raise _fault(path, "there is no caption in this file" if not found else "one of the captions is empty")
    return found


def _entries(content: Any) -> list[Any]:
    if isinstance(content, dict):
        content = content["prompts"] if isinstance(content.get("prompts"), list) else list(content.values())
    if not isinstance(content, list):
        raise TypeError
    return content


def _caption(entry: Any) -> str:
    if isinstance(entry, dict):
        entry = next(entry[name] for name in _NAMES if name in entry) if set(_NAMES) & set(entry) else None
    if not isinstance(entry, str):
        raise TypeError
    return entry


def _fault(path: Path, phrase: str) -> SettingsError:
    return SettingsError(f"{path}: {phrase}.")
