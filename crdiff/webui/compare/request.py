"""A comparison as it is asked for by the page or the API."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from crdiff import checks
from crdiff.errors import SettingsError
from crdiff.scoring.formula import Formula
from crdiff.webui.compare.ways import USUAL, WAYS
from crdiff.webui.jobs.request import from_dict

SCRIPT_TITLE = "CR-Diff compare"
"""The title of the script, by which menu and API choose it."""

MAX_SEEDS = 16
NO_SCORE = "none"


@dataclass(frozen=True)
class CompareRequest:
    """A comparison as the user wants it, validated.

    Attributes:
        ways: names in ``WAYS``, each once.
        seeds: images of each way, from the tab's seed on, 1 to 16; None draws as many as the tab does.
        score: name of a score or a weighted sum of names, ``none`` for no score; None takes the first one available.

    Raises:
        SettingsError: naming what cannot be used.
    """

    ways: Sequence[str] = USUAL
    seeds: int | None = None
    score: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.ways, str) or not isinstance(self.ways, Sequence) or not self.ways:
            raise SettingsError(f"ways of a comparison must be a list of {', '.join(WAYS)}.")
        for way in self.ways:
            checks.choice("ways of a comparison", way, WAYS)
        object.__setattr__(self, "ways", tuple(name for name in WAYS if name in self.ways))
        if self.seeds is not None:
            seeds = checks.number("seeds of a comparison", self.seeds, 1, MAX_SEEDS)
            if seeds != int(seeds):
                raise SettingsError(f"seeds of a comparison must be a whole number, not {checks.shown(self.seeds)}.")
            object.__setattr__(self, "seeds", int(seeds))
        if self.score is not None and self.score != NO_SCORE:
            Formula.parse(self.score)

    @classmethod
    def from_args(cls, args: Sequence[Any]) -> CompareRequest:
        """From a script's arguments: the API's object, or values in the order of the fields (page)."""
        if args and isinstance(args[0], dict):
            request: CompareRequest = from_dict(cls, "comparison", args[0])
            return request
        # Hosts fill the list up with None where an API call leaves values out.
        given = {name: value for name, value in zip(("ways", "seeds", "score"), args) if value not in (None, "")}
        return cls(**given)
