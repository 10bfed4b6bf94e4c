"""What every search strategy offers: configurations to try, and an ear for their scores."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from crdiff.errors import SettingsError
from crdiff.search.space import Point


@dataclass(frozen=True)
class Proposal:
    """A configuration a strategy wants to know the score of.

    Attributes:
        number: counts a strategy's proposals from 0.
        point: the configuration.
        kind: ``seed``, ``neighbour``, ``restart`` or ``sample``.
        needed: the strategy treats all scores up to this one alike, so that a score known not to exceed it need not
            be known exactly; None if every score matters.
        rival: a configuration whose score is known and which this one is compared with, if there is one.
    """

    number: int
    point: Point
    kind: str
    needed: float | None = None
    rival: Point | None = None


class Strategy(Protocol):
    """Proposes configurations, one at a time, and learns from their scores.

    The same settings, seed and scores give the same proposals, on every machine and Python version.
    """

    @property
    def name(self) -> str:
        """The name users choose it by."""

    def settings(self) -> dict[str, Any]:
        """Everything the proposals depend on besides the scores, as plain JSON; a journal is bound to it."""

    def ask(self) -> Proposal | None:
        """The next proposal, the same one until its score is told; None at the end of the search."""

    def tell(self, proposal: Proposal, score: float | None) -> bool:
        """Take the score of the proposal asked for; None if it was cut because it cannot exceed ``needed``.

        Returns:
            Whether the configuration was accepted.
        """

    def state(self) -> dict[str, Any]:
        """Where the search stands, as plain JSON."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a ``state`` of a strategy with the same settings; a bad one changes nothing."""

    def status(self) -> dict[str, float]:
        """Figures to show while it runs, such as the temperature."""


def draws(seed: int, number: int) -> random.Random:
    """The random numbers of one proposal, a function of the seed and the proposal's number alone.

    So there is no generator whose state could be lost: a count is enough to go on. Only ``random()`` may be called,
    the one method whose sequence Python keeps the same from version to version.
    """
    return random.Random(f"cr-diff/{seed}/{number}")


def check_seed(seed: object) -> int:
    """``seed`` if it is an integer from 0 on."""
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise SettingsError(f"The seed of a search must be an integer from 0 on, not {seed!r}.")
    return seed


def check_answer(pending: Proposal | None, told: Proposal, score: float | None) -> None:
    """Refuse a score for a proposal that is not the pending one, and a cut where the score matters."""
    if pending is None or told != pending:
        raise SettingsError(f"A score was told for proposal {told.number}, which is not the one asked for.")
    if score is None and pending.needed is None:
        raise SettingsError(f"Proposal {told.number} needs a score.")
    if score is not None and not -float("inf") < score < float("inf"):
        raise SettingsError(f"The score of a configuration must be a finite number, not {score!r}.")
