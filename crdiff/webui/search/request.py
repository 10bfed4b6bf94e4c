"""A search as it is asked for: one object from the page or the API to the job, and in the journal."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from crdiff import checks
from crdiff.errors import SettingsError
from crdiff.method.groups import GROUPS
from crdiff.search.objective import RACING, Objective
from crdiff.search.search import EVALUATIONS, Budget
from crdiff.search.strategies import registry as strategies
from crdiff.search.strategies.annealing import iterations_for
from crdiff.search.strategies.nearby import NearbySearch
from crdiff.search.strategies.point import START, Point, check_k
from crdiff.search.strategies.space import K_BOUNDS, RATIO_BOUNDS, Space
from crdiff.search.strategies.strategy import Options, Strategy
from crdiff.webui.jobs.request import from_dict, from_text

SCRIPT_TITLE = "CR-Diff search"
"""The title of the script that runs a search, by which the page and the API choose it."""

EYE = "eye"
"""The score that is the user's own choice between two images."""

RANDOM_SEED = -1
"""What a WebUI calls a seed that it is to choose."""

_RANDOM_SEEDS = 1 << 32
_LARGEST_SEED = (1 << 64) - 1
"""Of torch's generators."""

_NOT_THE_COURSE = ("evaluations", "minutes", "journal", "fresh_seeds")
_LATER = ("trial_k", "stages", "k_by_stage")


@dataclass(frozen=True)
class SearchRequest:
    """A search as the user wants it, validated.

    Attributes:
        score: name of the score or a weighted sum of names; None takes the first one available.
        evaluations: configurations to measure; None is no limit.
        minutes: of drawing and scoring; None is no limit.
        prompts: to score by; None takes the job's own.
        seeds: image seeds; every prompt is drawn with each. -1 is one drawn at random, the same for all configurations.
            None takes the job's own.
        vary: the axes that are varied, of down, mid, up and k.
        ratios: bounds of the ratios.
        k: bounds of k, where it is varied.
        strategy: name of the search strategy.
        seed: of the strategy's random numbers.
        racing: how evaluations that cannot win are cut short: exact, likely or off.
        stages: of equal length, in each of which the ratios are searched; 1 is the same at every step.
        k_by_stage: whether k, where it is varied, is searched in each of them too.
        trial_k: k of the trials, where it is not varied, such as the paper's 1; None takes the starting points' or the
            user's own.
        fresh_seeds: with how many seeds that the search has not seen its best few are compared with its start, at the
            end.
        hires: whether Hires. fix stays on in the trials.
        iterations: of the annealing; None follows from the budget.
        temperature: of the annealing at its start; 0 takes it from the spread of the first scores, None the authors'
            0.1, made for scores such as ImageReward's.
        starts: configurations to start from; None takes the matching preset and the dense model.
        journal: name of the journal to go on with; None takes the one that belongs to the settings.

    Raises:
        SettingsError: naming the key that cannot be used.
        MissingPackageError: the strategy's package is not installed.
    """

    score: str | None = None
    evaluations: int | None = EVALUATIONS
    minutes: float | None = None
    prompts: tuple[str, ...] | None = None
    seeds: tuple[int, ...] | None = None
    vary: tuple[str, ...] = GROUPS
    ratios: tuple[float, float] = RATIO_BOUNDS
    k: tuple[float, float] = K_BOUNDS
    stages: int = 1
    k_by_stage: bool = False
    strategy: str = NearbySearch.name
    seed: int = 0
    racing: str = RACING[0]
    trial_k: float | None = None
    fresh_seeds: int = 0
    hires: bool = False
    iterations: int | None = None
    temperature: float | None = 0.0
    starts: tuple[Mapping[str, Any], ...] | None = None
    journal: str | None = None

    def __post_init__(self) -> None:
        for name in ("prompts", "seeds", "starts"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _list(name, value) or None)
        for name in ("vary", "ratios", "k"):
            object.__setattr__(self, name, _list(name, getattr(self, name)))
        _check_kinds(self)
        if self.iterations is None:
            object.__setattr__(self, "iterations", iterations_for(self.evaluations))
        # The search core checks what it is made of; a search that it refuses must not wait in the host's queue.
        self.make_strategy(self.space(START), self.points or (START,))
        Objective(self.prompts or ("",), self.fixed_seeds() or (0,), evaluate=lambda *_: 0.0, racing=self.racing)

    def fixed_seeds(self) -> tuple[int, ...]:
        """The image seeds, those at random drawn anew at each call; empty if none are given."""
        drawn = random.SystemRandom()  # the job's own random numbers are not touched
        return tuple(drawn.randrange(_RANDOM_SEEDS) if seed == RANDOM_SEED else seed for seed in self.seeds or ())

    @property
    def budget(self) -> Budget:
        return Budget(self.evaluations, self.minutes)

    @property
    def points(self) -> tuple[Point, ...]:
        """The configurations to start from; empty if none are given."""
        return tuple(Point.from_dict(start) for start in self.starts or ())

    def space(self, fixed: Point) -> Space:
        """What may be varied; the other axes stay as in ``fixed``."""
        return Space.vary(
            self.vary, fixed=fixed, ratios=self.ratios, k=self.k, stages=self.stages, k_by_stage=self.k_by_stage
        )

    def make_strategy(self, space: Space, starts: Sequence[Point]) -> Strategy:
        """The strategy in its initial state."""
        options = Options(self.seed, self.iterations, self.temperature)
        return strategies.make(self.strategy, space, starts, options)

    @classmethod
    def from_dict(cls, values: Any) -> SearchRequest:
        """The request of a JSON object in which every key is optional."""
        return from_dict(cls, "search", values)

    @classmethod
    def from_text(cls, text: str | None) -> SearchRequest:
        """The request of a JSON text; an empty one is all defaults."""
        return from_text(cls, "search", text)

    def to_dict(self) -> dict[str, Any]:
        """The request as plain JSON."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    def course(self) -> dict[str, Any]:
        """What the scores and the course of the search depend on: all but the budget, which may be raised later."""
        # Version 1.0.0 had none of the later ones, and its journals are still those of their searches.
        usual = [name for name in _LATER if getattr(self, name) == getattr(SearchRequest, name)]
        return {name: value for name, value in self.to_dict().items() if name not in (*_NOT_THE_COURSE, *usual)}


def _check_kinds(request: SearchRequest) -> None:
    """Refuse what the search core could not even look at; ranges are for it to check."""
    for name, low in (("evaluations", 1), ("iterations", 1), ("seed", 0), ("fresh_seeds", 0)):
        value = getattr(request, name)
        if value is not None or low == 0:
            checks.integer(f"{name} of a search", value, low)
    for image_seed in request.seeds or ():
        checks.integer("An image seed of a search", image_seed, RANDOM_SEED, _LARGEST_SEED)
    if request.trial_k is not None and not check_k("trial_k of a search", request.trial_k):
        raise SettingsError("trial_k of a search must not be 0: every trial would be the dense model's.")
    if request.temperature is not None:
        checks.number("temperature of a search", request.temperature, 0.0)
    if request.evaluations is None and request.minutes is None:
        raise SettingsError("A search needs a budget of evaluations or of minutes.")
    Budget(request.evaluations, request.minutes)
    if request.score is not None and not isinstance(request.score, str):
        raise SettingsError(f"The score of a search must be a name, not {checks.shown(request.score)}.")
    for name, values in (("vary", request.vary), ("strategy", [request.strategy]), ("racing", [request.racing])):
        for text in values:
            if not isinstance(text, str):
                raise SettingsError(f"{name} of a search must hold names, not {checks.shown(text)}.")
    for start in request.starts or ():
        if not isinstance(start, Mapping):
            raise SettingsError(
                "starts of a search must be objects with down, mid, up and k, or with stages, "
                f"not {checks.shown(start)}."
            )
    journal = request.journal
    if journal is not None and (not isinstance(journal, str) or Path(journal).name != journal):
        raise SettingsError(f"The journal of a search must be the name of a file, not {checks.shown(journal)}.")
    for name in ("hires", "k_by_stage"):
        checks.flag(f"{name} of a search", getattr(request, name))


def _list(name: str, value: Any) -> tuple[Any, ...]:
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Sequence):
        raise SettingsError(f"{name} of a search must be a list, not {checks.shown(value)}.")
    return tuple(value)


def read_lines(text: str | None) -> list[str] | None:
    """The prompts of a text, one a line; None if there are none."""
    return [line.strip() for line in (text or "").splitlines() if line.strip()] or None


def read_seeds(text: str | None) -> list[int] | None:
    """The seeds of a text such as ``1, 2, 3``, in which -1 is one at random; None if there are none.

    Raises:
        SettingsError: a part of it is not a whole number.
    """
    parts = (text or "").replace(",", " ").replace(";", " ").split()
    for part in parts:
        if part != str(RANDOM_SEED) and not (part.isascii() and part.isdigit()):
            raise SettingsError(f"Image seeds are whole numbers such as 1, 2, 3, not {checks.shown(part)}.")
    seeds = [int(part) for part in parts]
    return [seed for place, seed in enumerate(seeds) if seed == RANDOM_SEED or seed not in seeds[:place]] or None
