"""Testing a score with a picture of the gallery, before a search is spent on it."""

from __future__ import annotations

import base64
import binascii
import io
import time
from pathlib import Path
from typing import Any

from crdiff.errors import SettingsError
from crdiff.webui.search import judge
from crdiff.webui.search.plan import EYE

_SHOWN = 60


def score_picture(name: str | None, folder: Path, picture_url: str, prompt: str) -> str:
    """One sentence with the score of a picture.

    The score runs on the CPU, so that it takes nothing from a picture that is being drawn.

    Args:
        name: a score or a weighted sum; None takes the first one available.
        folder: CR-Diff's folder in the host's data path.
        picture_url: a data URL; empty if there is no picture.
        prompt: the tab's; a picture that carries its own infotext is judged by that one's.

    Raises:
        CRDiffError: why there is no score.
    """
    from crdiff.scoring.prompts import plain_text

    if name == EYE:
        raise SettingsError("Your own eye is asked during the search: it shows two pictures, and you pick.")
    scorer = judge.choose(name, folder)
    if scorer.needs_dense:
        raise SettingsError(f"{scorer.name} compares with the dense picture of the seed, which only a search draws.")
    if not picture_url:
        raise SettingsError("There is no picture in the gallery to test the score with; press Generate first.")
    picture = _picture(picture_url)
    text = plain_text(_own_prompt(picture) or prompt)
    started = time.monotonic()
    try:
        scorer.load("cpu")
        (score,) = scorer.score(scorer.prepare(text), [picture.convert("RGB")])
    finally:
        scorer.close()
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    took = time.monotonic() - started
    return f"{scorer.name} gives the picture {score:.4g} for “{shown}” ({took:.1f} s with loading, on the CPU)."


def _picture(url: str) -> Any:
    from PIL import Image

    try:
        picture = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2], validate=True)))
        picture.load()
    except (OSError, ValueError, binascii.Error):
        raise SettingsError("The picture in the gallery cannot be read.") from None
    return picture


def _own_prompt(picture: Any) -> str:
    """The prompt in a picture's infotext; empty if it has none."""
    text = picture.info.get("parameters")
    if not isinstance(text, str):
        return ""
    lines = []
    for line in text.splitlines():
        if line.startswith(("Negative prompt:", "Steps: ")):
            break
        lines.append(line)
    return "\n".join(lines).strip()
