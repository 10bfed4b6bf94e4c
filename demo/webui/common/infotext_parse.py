"""Reading the text stored with an image."""

from __future__ import annotations

import json
import re
from typing import Any

from modules import shared

# A key has two characters or more, of letters, digits, underscores, blanks, hyphens and slashes; a value is a quoted
# JSON string or goes up to the next comma.
PARAMETER = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
SIZE = re.compile(r"^(\d+)x(\d+)$")
FEWEST_PARAMETERS = 3
NEGATIVE = "Negative prompt:"

_WHEN_ABSENT: dict[str, Any] = {
    "Clip skip": "1",
    "Hires resize-1": 0,
    "Hires resize-2": 0,
    "Hires sampler": "Use same sampler",
    "Hires schedule type": "Use same scheduler",
    "Hires checkpoint": "Use same checkpoint",
    "Hires prompt": "",
    "Hires negative prompt": "",
    "Mask mode": "Inpaint masked",
    "Masked content": "original",
    "Inpaint area": "Whole picture",
    "Masked area padding": 32,
    "RNG": "GPU",
    "Schedule type": "Automatic",
    "Schedule max sigma": 0,
    "Schedule min sigma": 0,
    "Schedule rho": 0,
    "VAE Encoder": "Full",
    "VAE Decoder": "Full",
    "FP8 weight": "Disable",
    "Refiner switch by sampling steps": False,
}


def quote(text: Any) -> Any:
    """A value that holds a comma, a line break or a colon becomes JSON."""
    if not any(mark in str(text) for mark in ",\n:"):
        return text
    return json.dumps(text, ensure_ascii=False)


def unquote(text: str) -> Any:
    if len(text) == 0 or text[0] != '"' or text[-1] != '"':
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _prompts(lines: list[str]) -> tuple[str, str]:
    """What stands before the line of the negative prompt, and what follows it."""
    positive: list[str] = []
    negative: list[str] = []
    current = positive
    for line in (x.strip() for x in lines):
        if line.startswith(NEGATIVE):
            current = negative
            line = line[len(NEGATIVE) :].strip()
        current.append(line)
    # Leading blank lines vanish, as the hosts join a line to what there is only when there is something.
    return "\n".join(positive).lstrip("\n"), "\n".join(negative).lstrip("\n")


def _parameters(line: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, text in PARAMETER.findall(line):
        if not text:  # an empty value is reported and left out by the hosts
            print(f'Error parsing "{key}: {text}"')
            continue
        value = unquote(text)
        size = SIZE.match(value) if isinstance(value, str) else None
        if size is not None:
            found[f"{key}-1"], found[f"{key}-2"] = size.groups()
        else:
            found[key] = value
    return found


def parse_generation_parameters(x: str, skip_fields: list[str] | None = None) -> dict[str, Any]:
    """The parameters by name, as text, with what an absent one means.

    The last line holds them, unless fewer than three can be read there: then it belongs to the prompt.
    """
    if skip_fields is None:
        skip_fields = shared.opts.infotext_skip_pasting
    *lines, last = x.strip().split("\n")
    if len(PARAMETER.findall(last)) < FEWEST_PARAMETERS:
        lines, last = [*lines, last], ""
    found = _parameters(last)
    found["Prompt"], found["Negative prompt"] = _prompts(lines)
    for key, value in _WHEN_ABSENT.items():
        found.setdefault(key, value)
    if found["FP8 weight"] != "Disable":
        found.setdefault("Cache FP16 weight for LoRA", False)
    for key in skip_fields:
        found.pop(key, None)
    return found


def override_settings_of(params: dict[str, Any], *, skip_fields: Any = None) -> list[tuple[str, str, Any]]:
    """(name in the text, setting, value) of every parameter that is a setting and differs from what is set."""
    found = []
    for setting, info in shared.opts.data_labels.items():
        name = info.infotext
        if not name or name in (skip_fields or ()) or params.get(name) is None:
            continue
        if setting == "sd_model_checkpoint" and shared.opts.disable_weights_auto_swap:
            continue
        value = shared.opts.cast_value(setting, params[name])
        if value != getattr(shared.opts, setting, None):
            found.append((name, setting, value))
    return found


def override_settings_from_texts(texts: list[str] | None) -> dict[str, Any]:
    """The settings named by texts such as ``Clip skip: 2``."""
    named = {}
    for text in texts or []:
        name, value = text.split(":", maxsplit=1)
        named[name] = value.strip()
    labels = {info.infotext: setting for setting, info in shared.opts.data_labels.items() if info.infotext}
    return {
        labels[name]: shared.opts.cast_value(labels[name], value) for name, value in named.items() if name in labels
    }
