"""What the demo's WebUI needs: the checkpoint where the host looks for it, presets and score where CR-Diff does.

What a user has saved is never overwritten.
"""

from __future__ import annotations

import filecmp
import os
import shutil
from contextlib import suppress
from pathlib import Path

DEMO = Path(__file__).resolve().parent
CHECKPOINT = DEMO / "checkpoint" / "crdiff-demo.safetensors"
PRESETS = DEMO / "presets.json"
CRITERION = "attenuation"
"""What the demo's page starts with: the criterion that does best with its model at no cost."""
SCORE = '''"""The demo's score, for captions of the demo's world."""

from demo import score as demo_score

HIGHEST = demo_score.HIGHEST
close = demo_score.close


def score(images, prompt):
    return demo_score.score(images, prompt)


def right(images, prompt):
    return demo_score.right(images, prompt)
'''
NAME = "crdiff-demo.safetensors"
"""What the checkpoint is called in the host, whatever file it comes from."""


def provide_checkpoint(source: Path, models: Path) -> str:
    """Put the checkpoint into the models folder.

    Returns:
        A sentence if there is none; the host then makes random ones.
    """
    target = models / "Stable-diffusion" / NAME
    if not source.is_file():
        return "" if target.is_file() else f"{source} is missing: the images come from random weights."
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.is_file() or not filecmp.cmp(source, target, shallow=False):
        draft = target.with_suffix(".part")
        shutil.copyfile(source, draft)
        os.replace(draft, target)
    return ""


def provide_presets(source: Path, data: Path) -> str:
    """Copy the demo's presets to where CR-Diff keeps the user's own, unless there are some.

    Returns:
        A sentence if there are others than the demo's.
    """
    target = data / "crdiff" / "presets.json"
    if not source.is_file():
        return ""
    if os.path.lexists(target):
        same = target.is_file() and filecmp.cmp(source, target, shallow=False)
        return "" if same else f"{target} is left as it is; the demo's presets are in {source}."
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f"presets.{os.getpid()}.part")
    shutil.copyfile(source, draft)
    try:
        os.link(draft, target)  # unlike a rename it never replaces a file that has come meanwhile
    except FileExistsError:
        return f"{target} is left as it is; the demo's presets are in {source}."
    finally:
        draft.unlink()
    return ""


def provide_score(data: Path) -> None:
    """Put the demo's score where CR-Diff looks for one of the user's own, unless there is one."""
    target = data / "crdiff" / "score.py"
    target.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError), open(target, "x", encoding="utf-8") as stream:
        stream.write(SCORE)
