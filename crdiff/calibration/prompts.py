"""The prompts that a model is calibrated with unless others are given: 64 neutral ones."""

from __future__ import annotations

from pathlib import Path

_FILE = Path(__file__).with_name("prompts.txt")


def neutral_prompts() -> tuple[str, ...]:
    """The lines of the file."""
    return tuple(_FILE.read_text(encoding="utf-8").splitlines())
