"""The names of presets: what they may be made of, which are the same, and which are not for users to give."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from crdiff.checks import shown
from crdiff.errors import PresetError
from crdiff.specs import AUTO, CUSTOM

NAME_LIMIT = 80
RESERVED = (AUTO, CUSTOM, "CR-Diff preset")
"""Names no preset can have. Hosts leave out of an infotext any value that is the same as its key, hence the last."""

_NUMBER = re.compile(r" \((\d+)\)$")
_BARRED = ',:"'


def check_name(name: object, key: str = "A preset name") -> str:
    """``name`` in Unicode normal form C, fit for a preset.

    Names travel in an image's generation parameters, where commas, colons, double quotes and line breaks divide
    the entries.

    Raises:
        PresetError: not 1 to 80 printable characters, a barred character, or a space at either end.
    """
    if not isinstance(name, str):
        raise PresetError(f"{key} must be text, not {shown(name)}.")
    normal = unicodedata.normalize("NFC", name)
    if not 1 <= len(normal) <= NAME_LIMIT:
        raise PresetError(f"{key} must have 1 to {NAME_LIMIT} characters, not {len(normal)}.")
    for character in normal:
        if character in _BARRED or not character.isprintable():
            raise PresetError(f"{key} must not contain the character {character!r}.")
    if normal != normal.strip():
        raise PresetError(f"{key} must not begin or end with a space.")
    return normal


def fitted(text: str, suffix: str = "") -> str:
    """A name out of any text, such as a file's name, and a suffix that is fit for a name and kept whole."""
    normal = unicodedata.normalize("NFC", text)
    fit = "".join(" " if character in _BARRED or not character.isprintable() else character for character in normal)
    return f"{' '.join(fit.split())[: NAME_LIMIT - len(suffix)]}{suffix}".strip()


def key_of(name: str) -> str:
    """What all ways of writing a name have in common: whatever their case, spaces and Unicode normal form."""
    folded = unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())
    return " ".join(folded.split())


def same(one: str, other: str) -> bool:
    """Whether two names mean the same preset."""
    return key_of(one) == key_of(other)


def told_apart(names: Sequence[str], taken: Iterable[str]) -> list[str]:
    """``names``, each that is the same as one before it or as one of ``taken`` as "name (2)" and so on."""
    used, found = {key_of(name) for name in taken}, list[str]()
    further_down = [key_of(name) for name in names]
    for name in names:
        further_down.pop(0)
        candidate, number = name, 2
        # A number is not given that a name further down has.
        while key_of(candidate) in used or (candidate != name and key_of(candidate) in further_down):
            candidate = _with_number(name, str(number))
            number += 1
        used.add(key_of(candidate))
        found.append(candidate)
    return found


def may_stand_for(name: str, given: str) -> bool:
    """Whether ``name`` is what a preset of the name ``given`` is called, or may have been called by ``told_apart``."""
    number = _NUMBER.search(name)
    return same(name, given) or (number is not None and same(name, _with_number(given, number[1])))


def _with_number(name: str, number: str) -> str:
    suffix = f" ({number})"
    return name[: NAME_LIMIT - len(suffix)].rstrip() + suffix
