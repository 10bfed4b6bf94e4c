"""A WebUI's prompt as plain text, which is what the scorers were trained on."""

from __future__ import annotations

import re

_NETWORK = re.compile(r"<[^<>:]+:[^<>]*>")
_KEYWORD = re.compile(r"\b(?:BREAK|AND)\b")
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)"
_WEIGHT = re.compile(rf":\s*{_NUMBER}\s*(?=[)\]])")
_PART_WEIGHT = re.compile(rf"\s:\s*{_NUMBER}\s*(?=\bAND\b|$)")
_SWITCH = re.compile(r"\[([^\[\]]*)\]")


def plain_text(prompt: str) -> str:
    """Prompt without the WebUI's syntax: ``(a:1.2)``, ``<lora:x:1>``, ``[a:b:0.5]``, ``[a|b]``, ``AND``, ``BREAK``.

    Of a prompt that changes during sampling the last text is kept, which the finished image shows most of.
    """
    text = _NETWORK.sub(" ", prompt)
    text = _KEYWORD.sub(" ", _PART_WEIGHT.sub(" ", text))
    text = text.replace(r"\(", "\0").replace(r"\)", "\1").replace(r"\[", "\2").replace(r"\]", "\3")
    for _ in range(len(text)):
        inner = _SWITCH.sub(_kept, text)
        if inner == text:
            break
        text = inner
    text = _WEIGHT.sub("", text)
    text = re.sub(r"[()\[\]]", "", text)
    for mark, sign in zip("\0\1\2\3", "()[]"):
        text = text.replace(mark, sign)
    text = re.sub(r"\s+", " ", text)
    return re.sub(r"(?:\s*,)+", ",", text).strip(" ,")


def _kept(match: re.Match[str]) -> str:
    """What stays of one pair of square brackets without others inside."""
    body = match[1]
    parts = body.split(":")
    number = _is_number(parts[-1])
    if len(parts) == 3 and number:
        return parts[1]  # [from:to:when]
    if len(parts) == 3 and parts[1] == "" and _is_number(parts[2]):
        return ""
    if len(parts) == 2 and number:
        return parts[0]  # [to:when]
    if "|" in body:
        return body.split("|")[-1]
    return body


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
