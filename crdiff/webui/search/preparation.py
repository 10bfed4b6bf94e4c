"""A search in all its details: what the request leaves open is filled in from the job and the accordion."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from crdiff.errors import CRDiffError, SettingsError
from crdiff.method.groups import GROUPS, Ratios
from crdiff.models.checkpoint import Checkpoint
from crdiff.presets.size import Size
from crdiff.pruning.lacking import newest
from crdiff.scoring.scorer import Scorer
from crdiff.search.journal import Journal, MemoryJournal
from crdiff.search.objective import Image, images_of
from crdiff.search.search import ScoreJournal
from crdiff.search.strategies.point import DENSE, START, Point
from crdiff.search.strategies.points_to_evaluate import PointsToEvaluate
from crdiff.search.strategies.space import Space
from crdiff.settings import Settings
from crdiff.specs import AUTO, CUSTOM, DEFAULT_K
from crdiff.webui.jobs.copies import accordion_settings
from crdiff.webui.search import journals
from crdiff.webui.search.context import SearchContext
from crdiff.webui.search.judge import choose_scorer
from crdiff.webui.search.request import EYE, RANDOM_SEED, SearchRequest


@dataclass(frozen=True)
class Setup:
    """A search in all its details, before anything is loaded or drawn.

    Attributes:
        request: with nothing left open: score, prompts, seeds and starting points are set.
        settings: the accordion's, or those of the search that is resumed.
        scorer: not loaded; None for the user's own eye.
        space: what is varied; the other axes stay at what the user has.
        checkpoint: the selected one.
        size: of the images.
        journal: where scores are recorded.
        journal_name: its file's; empty if there is none.
        note: a sentence about what was chosen at random; empty if nothing was.
    """

    request: SearchRequest
    settings: Settings
    scorer: Scorer | None
    space: Space
    checkpoint: Checkpoint | None
    size: Size
    journal: ScoreJournal
    journal_name: str
    note: str = ""

    @property
    def listed(self) -> bool:
        """Whether a program elsewhere searches, and keeps the scores there."""
        return self.request.strategy == PointsToEvaluate.name

    @property
    def images(self) -> tuple[Image, ...]:
        """Prompt and seed of every image of a configuration."""
        return images_of(self.request.prompts or (), self.request.seeds or ())

    def status(self) -> dict[str, Any]:
        """What the page is told of it."""
        return {
            "score_name": self.request.score, "settings": self.settings,
            "checkpoint": self.checkpoint, "size": self.size, "journal": self.journal_name,
            "prompts": self.request.prompts, "seeds": self.request.seeds, "note": self.note,
        }  # fmt: skip


def prepare(p: Any, request: SearchRequest, context: SearchContext) -> Setup:
    """Fill in what the request leaves open, from the job and the accordion; ``p``'s seed is fixed.

    Raises:
        SettingsError: the search cannot start.
        JournalError: the journal to go on with cannot be read.
    """
    from modules import processing

    processing.fix_seed(p)
    settings = accordion_settings(p)
    resumed = journals.restore(p, context.journals / request.journal) if request.journal else None
    if resumed is not None:
        settings = replace(settings, **resumed.settings)
    size = Size(int(p.height), int(p.width))
    checkpoint = context.checkpoints.hashed((p.override_settings or {}).get("sd_model_checkpoint"))
    scorer = None if request.score == EYE else choose_scorer(request.score, context.folder)
    fixed = Point.of(
        _held_ratios(request, settings, context, checkpoint, size),
        _held_k(request, settings, context, checkpoint, size),
    )
    space = request.space(fixed if resumed is None else replace(fixed, **resumed.held))
    start = space.hold(Point.of(_auto_ratios(context, checkpoint, size, settings), space.fixed.k))
    seeds = request.fixed_seeds()
    note = f"Image seeds: {', '.join(map(str, seeds))}." if RANDOM_SEED in (request.seeds or ()) else ""
    request = replace(
        request,
        score=EYE if scorer is None else scorer.name,
        prompts=request.prompts or (str(p.prompt),),
        seeds=seeds or (int(p.seed),),
        starts=request.starts or (start.to_dict(), DENSE.to_dict()),
    )
    calibration = newest(settings.criterion, None if checkpoint is None else checkpoint.key, context.calibrations)
    identity = journals.identity(p, checkpoint, request.course(), settings, calibration)
    path = journals.journal_path(context.journals, identity, space.held_away_from_start)
    if request.journal:
        path = context.journals / request.journal
    listed = request.strategy == PointsToEvaluate.name
    journal = MemoryJournal() if listed else Journal(path, identity)
    return Setup(request, settings, scorer, space, checkpoint, size, journal, "" if listed else path.name, note)


def _held_ratios(
    request: SearchRequest,
    settings: Settings,
    context: SearchContext,
    checkpoint: Checkpoint | None,
    size: Size,
) -> Ratios:
    """Where ratios that are not varied stay: at the request's starting points, else at what the accordion has.

    Raises:
        SettingsError: the accordion names a preset that does not exist.
    """
    pruned = [point.ratios for point in request.points if any(point.ratios)]
    if pruned or set(GROUPS) <= set(request.vary):
        return pruned[0] if pruned else START.ratios
    if settings.preset == CUSTOM:
        return settings.ratios
    if settings.preset != AUTO:
        preset = context.library.named(settings.preset)
        found_for = preset.criterion, preset.scope
        if found_for == (settings.criterion, settings.scope.within(preset.family)):
            return preset.ratios
    return _auto_ratios(context, checkpoint, size, settings)


def _held_k(
    request: SearchRequest,
    settings: Settings,
    context: SearchContext,
    checkpoint: Checkpoint | None,
    size: Size,
) -> float:
    """The k of trials that do not vary it: the request's, that of its starting points, else the user's own.

    Raises:
        SettingsError: the user's is 0.
    """
    if request.trial_k is not None:
        return request.trial_k
    started = [point.k for point in request.points if any(point.ratios) and point.k]
    if started:
        return started[0]
    k = settings.k
    if k is None and checkpoint is not None and checkpoint.family is not None:
        with suppress(CRDiffError):
            k = context.library.own_k(settings, checkpoint.family, checkpoint.sha256, size)
    if k == 0.0 and "k" not in request.vary:
        raise SettingsError(
            "With k = 0 every trial would be the dense model's: set another k, vary k, or draw trials with k = 1."
        )
    return k or DEFAULT_K


def _auto_ratios(context: SearchContext, checkpoint: Checkpoint | None, size: Size, settings: Settings) -> Ratios:
    """The ratios of the matching preset, else the authors' starting point."""
    if checkpoint is None or checkpoint.family is None:
        return START.ratios
    try:
        found = context.library.match(
            checkpoint.family, checkpoint.sha256, size, settings.criterion, settings.scope
        )  # fmt: skip
        return found.ratios
    except CRDiffError:
        return START.ratios
