"""A weighted sum of scores as the user writes it: ``imagereward*1 + clip*0.2``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from crdiff import checks
from crdiff.errors import SettingsError

NAMES = ("imagereward", "clip", "pickscore", "ssim", "own")
"""Every score there is; the first is the default."""

_TERM = re.compile(
    r"(?P<name>[a-z_]+)(?:\*(?P<after>.+))?|(?P<before>[0-9.][0-9.e+-]*)\*(?P<last>[a-z_]+)", re.IGNORECASE
)


@dataclass(frozen=True)
class Formula:
    """Scores and their weights.

    Attributes:
        terms: pairs of a name and its weight, each name once. Weights are finite and not 0; a negative one turns a
            score around.

    Raises:
        SettingsError: naming the term that cannot be used.
    """

    terms: tuple[tuple[str, float], ...]

    def __post_init__(self) -> None:
        if not self.terms:
            raise SettingsError("A score needs at least one name.")
        seen = set()
        for name, weight in self.terms:
            if name not in NAMES:
                raise SettingsError(f"There is no score {name!r}; known are {', '.join(NAMES)}.")
            if name in seen:
                raise SettingsError(f"The score {name} is named twice.")
            seen.add(name)
            if checks.number(f"The weight of {name}", weight) == 0:
                raise SettingsError(f"The weight of {name} is 0; leave it out instead.")

    @classmethod
    def parse(cls, text: str) -> Formula:
        """From ``name``, ``name*weight`` or ``weight*name``, joined by ``+`` or ``-``.

        Raises:
            SettingsError: the text cannot be read.
        """
        if not isinstance(text, str) or not text.strip():
            raise SettingsError(f"A score must be a name such as {NAMES[0]}, not {checks.shown(text)}.")
        packed = re.sub(r"\s+", "", text)
        if packed[0] not in "+-":
            packed = "+" + packed
        # A sign starts a term unless it belongs to a number, as in 1e-3 or *-2.
        pieces = re.split(r"(?<![*])(?<![0-9.][eE])(?=[+-])", packed)
        terms = []
        for piece in filter(None, pieces):
            sign, body = (-1.0 if piece[0] == "-" else 1.0), piece[1:]
            match = _TERM.fullmatch(body)
            if match is None:
                raise SettingsError(
                    f"The score {text!r} cannot be read at {body or piece!r}; write name*weight + name*weight."
                )
            name = (match["name"] or match["last"]).lower()
            terms.append((name, sign * _number(match["after"] or match["before"], name)))
        return cls(tuple(terms))

    def __str__(self) -> str:
        if len(self.terms) == 1 and self.terms[0][1] == 1:
            return self.terms[0][0]
        text = ""
        for name, weight in self.terms:
            sign = ("-" if weight < 0 else "") if not text else (" - " if weight < 0 else " + ")
            text += f"{sign}{name}*{abs(weight):.12g}"
        return text


def _number(text: str | None, name: str) -> float:
    if text is None:
        return 1.0
    try:
        return float(text)
    except ValueError:
        raise SettingsError(f"The weight of {name} must be a number, not {checks.shown(text)}.") from None
