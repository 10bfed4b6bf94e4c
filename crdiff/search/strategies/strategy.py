"""What a search strategy is: it proposes configurations and is told their scores."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

from crdiff import checks
from crdiff.errors import SettingsError
from crdiff.search.strategies.point import Point
from crdiff.search.strategies.space import Space


@dataclass(frozen=True)
class Proposal:
    """A configuration whose score a strategy asks for.

    Attributes:
        number: counts a strategy's proposals from 0.
        point: the configuration.
        kind: ``seed``, ``neighbour``, ``restart`` or ``sample``.
        threshold: all scores up to this one are the same to the strategy, so that an evaluation which cannot exceed it
            may be cut short; None if every score matters.
        incumbent: the scored configuration that this one has to beat, if there is one.
    """

    number: int
    point: Point
    kind: str
    threshold: float | None = None
    incumbent: Point | None = None


@dataclass(frozen=True)
class Options:
    """What users can set of a strategy; each strategy takes what applies to it.

    Attributes:
        seed: of the random numbers.
        iterations: of the annealing; None takes the authors' 120.
        temperature: of the annealing at its start; 0 takes it from the spread of the first scores, None the authors'
            0.1.
    """

    seed: int = 0
    iterations: int | None = None
    temperature: float | None = None


class Strategy(Protocol):
    """Proposes configurations, one at a time, and learns from their scores.

    The same settings, seed and scores give the same proposals, on every machine and Python version.
    """

    name: ClassVar[str]
    """The name users choose it by."""

    @staticmethod
    def problem() -> str | None:
        """A sentence if the strategy cannot be used in this installation."""

    @classmethod
    def create(cls, space: Space, starts: Sequence[Point], options: Options) -> Strategy:
        """The strategy in its initial state.

        Raises:
            SettingsError: it cannot search this space with these starting points or options.
            MissingPackageError: its package is not installed.
        """

    def settings(self) -> dict[str, Any]:
        """Everything the proposals depend on besides the scores, as plain JSON; a journal is bound to it."""

    def ask(self) -> Proposal | None:
        """The next proposal, the same one until its score is told; None at the end of the search."""

    def tell(self, proposal: Proposal, score: float | None) -> bool:
        """Take the score of the pending proposal; None if it was cut short below the proposal's threshold.

        Returns:
            Whether the configuration was accepted.
        """

    def state(self) -> dict[str, Any]:
        """Where the search stands, as plain JSON."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from the ``state`` of a strategy with the same settings; a bad one changes nothing."""

    def status(self) -> dict[str, float]:
        """Figures to show while it runs, such as the temperature."""


@runtime_checkable
class Shareable(Protocol):
    """What a strategy has if several workers can share its search, each of them asking when it is ready."""

    space: Space
    starts: tuple[Point, ...]
    seed: int

    def settings(self) -> dict[str, Any]:
        """See Strategy."""

    def next_of(
        self, number: int, told: Sequence[tuple[Point, float | None]], running: Sequence[Point] = ()
    ) -> tuple[str, Point]:
        """The kind of a proposal and its configuration, once all starting points were proposed.

        Args:
            number: of the proposal.
            told: configurations with their scores, of all workers, in the order of their proposals.
            running: configurations that other workers are scoring.
        """


def rng(seed: int, number: int) -> random.Random:
    """The random numbers of one proposal, a function of the seed and the proposal's number alone.

    There is no generator whose state could be lost: a count is enough to go on. Only ``random()`` may be called, the
    one method whose sequence Python keeps the same from version to version.
    """
    return random.Random(f"cr-diff/{seed}/{number}")


def check_seed(seed: object) -> int:
    """``seed`` if it is an integer of at least 0."""
    return checks.integer("The seed of a search", seed, 0)


def check_pending(pending: Proposal | None, told: Proposal, score: float | None) -> None:
    """Refuse a score for any but the pending proposal, and a missing score where it matters."""
    if pending is None or told != pending:
        raise SettingsError(f"A score was told for proposal {told.number}, which is not the pending one.")
    if score is None and pending.threshold is None:
        raise SettingsError(f"Proposal {told.number} needs a score.")
    if score is not None:
        checks.number("The score of a configuration", score)
