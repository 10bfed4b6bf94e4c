"""A search for each of several sizes through a running WebUI, alone or as one of several workers; finds presets."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from crdiff.errors import SettingsError
from crdiff.models.checkpoint import Checkpoint
from crdiff.models.family import OTHER
from crdiff.presets.built_in import BUILT_IN_FOLDER, load_folder
from crdiff.presets.lookup import look_up, uniform
from crdiff.presets.names import fitted
from crdiff.presets.size import Size
from crdiff.presets.store import Clash, PresetStore
from crdiff.presets.table import Preset
from crdiff.search.comparison import Compared, is_due
from crdiff.search.journal import Journal
from crdiff.search.objective import Objective
from crdiff.search.options import with_checkpoint
from crdiff.search.remote import RemoteEvaluation, WebUI, ask_checkpoint, check_sampler, choose_score
from crdiff.search.report import Evaluation, Report
from crdiff.search.score_text import score_text
from crdiff.search.search import Budget, Search
from crdiff.search.strategies import registry as strategies
from crdiff.search.strategies.annealing import iterations_for
from crdiff.search.strategies.point import DENSE, PAPER_K, Point
from crdiff.search.strategies.space import K_BOUNDS, RATIO_BOUNDS, Space
from crdiff.search.strategies.strategy import Options

_RACING_JOBS = 4
"""Jobs that the images of a configuration are split into under racing, which may leave out the later ones."""


@dataclass(frozen=True)
class Campaign:
    """What is searched for.

    Attributes:
        prompts: the fixed prompts.
        sizes: each gets a search and a preset.
        out: the preset file.
        seeds: image seeds; every prompt is drawn with each.
        score: name of a score; None takes the first one the WebUI can use.
        budget: of each size; with a study its evaluations are those of all workers.
        vary: the axes that are varied; the others keep the values of the built-in preset of the size, else the family's
            first guess.
        ratios: bounds of the ratios.
        k: bounds of k, where it is varied.
        stages: of equal length, in each of which the ratios are searched.
        k_by_stage: whether k, where it is varied, is so too.
        trial_k: of the trials, and of the preset, where k is not varied.
        strategy: name of the search strategy.
        fresh_seeds: with how many seeds that the search has not seen its best few are compared with its start, at the
            end; 0 takes the highest score.
        temperature: of the annealing at its start; 0 takes it from the spread of the first scores, None the authors'
            0.1.
        racing: ``likely`` leaves out images of configurations that are unlikely to win, ``off`` none; a study has none.
        seed: of the strategy.
        checkpoint: name of a checkpoint; None takes the selected one.
        request: further fields of the txt2img request.
        journals: folder of the journals; a study keeps the scores in its storage.
        storage: URL of a storage that several workers share; None searches alone.
        study: name of the shared search.
        wait_s: seconds to wait for a WebUI that has gone away.
    """

    prompts: tuple[str, ...]
    sizes: tuple[Size, ...]
    out: Path
    seeds: tuple[int, ...] = (1,)
    score: str | None = None
    budget: Budget = field(default_factory=Budget)
    vary: tuple[str, ...] = ("down", "mid", "up")
    ratios: tuple[float, float] = RATIO_BOUNDS
    k: tuple[float, float] = K_BOUNDS
    stages: int = 1
    k_by_stage: bool = False
    trial_k: float = PAPER_K
    strategy: str = strategies.DEFAULT_STRATEGY
    fresh_seeds: int = 0
    temperature: float | None = None
    racing: str = "off"
    seed: int = 0
    checkpoint: str | None = None
    request: Mapping[str, Any] = field(default_factory=dict)
    journals: Path = Path("searches")
    storage: str | None = None
    study: str = "cr-diff"
    wait_s: float = 300.0


def run_campaign(campaign: Campaign, webui: WebUI, should_stop: Callable[[], bool], say: Callable[[str], None]) -> str:
    """Search size after size, and write the preset of each as soon as it is found.

    Returns:
        How it ended: ``done``, ``stopped`` or ``failed``.

    Raises:
        CRDiffError: it cannot start, or the preset file cannot be written.
    """
    checkpoint = ask_checkpoint(webui, campaign.checkpoint)
    score = choose_score(webui, campaign.score)
    check_sampler(webui, campaign.request.get("sampler_name"))
    images = len(campaign.prompts) * len(campaign.seeds)
    for size in campaign.sizes:
        plural = "" if images == 1 else "s"
        say(f"{checkpoint.name}, {size}: {score} of {images} image{plural} for each configuration.")
        start = _start(checkpoint, size, campaign.trial_k)
        search = _make(campaign, webui, checkpoint, score, size, start, should_stop)
        lines = _Lines(campaign.budget.evaluations, say)
        report = search.run(campaign.budget, should_stop, lines.show)
        if is_due(report, campaign.fresh_seeds):
            when = "" if campaign.storage is None else ", once the other workers are through"
            say(f"Comparing the best few with the start on fresh seeds{when}.")
        compared = search.compare(report, start, campaign.fresh_seeds, should_stop)
        say(compared.report.message)
        say(_save(compared, campaign, checkpoint, score, size))
        if compared.report.state != "done":
            return compared.report.state
    return "done"


class _AnySearch(Protocol):
    """What ``Search`` and ``StudySearch`` have in common."""

    def run(
        self, budget: Budget, should_stop: Callable[[], bool], on_progress: Callable[[Report], None], /
    ) -> Report: ...

    def compare(self, report: Report, start: Point, seeds: int, should_stop: Callable[[], bool], /) -> Compared: ...


def _make(
    campaign: Campaign,
    webui: WebUI,
    checkpoint: Checkpoint,
    score: str,
    size: Size,
    start: Point,
    should_stop: Callable[[], bool],
) -> _AnySearch:
    """The search of one size."""
    body = with_checkpoint({**campaign.request, "height": size.height, "width": size.width}, campaign.checkpoint)
    evaluate = RemoteEvaluation(webui, body, score, checkpoint, campaign.checkpoint, should_stop, campaign.wait_s)
    images = len(campaign.prompts) * len(campaign.seeds)
    objective = Objective(
        campaign.prompts,
        campaign.seeds,
        evaluate_many=evaluate,
        batch=images if campaign.racing == "off" else math.ceil(images / _RACING_JOBS),
        racing=campaign.racing,
    )
    space = Space.vary(
        campaign.vary, fixed=start, ratios=campaign.ratios, k=campaign.k, stages=campaign.stages,
        k_by_stage=campaign.k_by_stage,
    )  # fmt: skip
    identity = {"checkpoint": checkpoint.sha256, "size": str(size), "score": score, "request": body}
    options = Options(campaign.seed, iterations_for(campaign.budget.evaluations), campaign.temperature)
    strategy = strategies.make(campaign.strategy, space, [start, DENSE], options)
    if campaign.storage is not None:
        # Imported here: it needs Optuna, which nothing else does.
        from crdiff.search.study import StudySearch, quiet

        if campaign.racing != "off":
            raise SettingsError("A search shared by several workers draws every image; racing cannot be on.")
        quiet()
        return StudySearch(
            campaign.storage,
            f"{campaign.study} {size}",
            strategy,
            objective,
            identity=identity,
        )
    journal = Journal(_journal_path(campaign, checkpoint, size, identity, space), identity)
    return Search(space, strategy, objective, journal, baseline=DENSE)


def _start(checkpoint: Checkpoint, size: Size, k: float) -> Point:
    """The ratios of the built-in presets, which are the same for every worker, else the family's first guess."""
    family = OTHER if checkpoint.family is None else checkpoint.family
    match = look_up(load_folder(BUILT_IN_FOLDER).presets, family, checkpoint.sha256, size)
    return Point.of((match or uniform(size, family)).ratios, k)


def _journal_path(
    campaign: Campaign, checkpoint: Checkpoint, size: Size, identity: Mapping[str, Any], space: Space
) -> Path:
    """The same command finds the same journal again, whatever its budget."""
    course: list[Any] = [campaign.prompts, campaign.seeds, campaign.vary, campaign.ratios, campaign.k]
    course += [campaign.strategy, campaign.seed, iterations_for(campaign.budget.evaluations), identity]
    # Appended only where they matter, so that earlier versions' journals keep their names.
    course += [["temperature", campaign.temperature]] if campaign.temperature is not None else []
    course += [campaign.racing] if campaign.racing != "off" else []
    course += [space.axes] if space.stages > 1 else []
    course += [space.held_away_from_start] if space.held_away_from_start else []
    course += [["start k", campaign.trial_k]] if "k" in space.axes and campaign.trial_k != PAPER_K else []
    mark = hashlib.sha256(json.dumps(course, sort_keys=True).encode()).hexdigest()[:12]
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", checkpoint.name)[:40].strip("._") or "model"
    return campaign.journals / f"{name}-{size}-{mark}.jsonl"


class _Lines:
    """One line for each evaluation."""

    def __init__(self, evaluations: int | None, say: Callable[[str], None]) -> None:
        self._evaluations = evaluations
        self._say = say
        self._shown: set[int] = set()
        self._fresh = True

    def show(self, report: Report) -> None:
        """Print what is new in a report."""
        new = [entry for entry in report.history if entry.number not in self._shown]
        if not new:
            return
        if self._fresh and len(new) > 1:  # of an earlier run, or of other workers
            self._say(f"  continuing after {report.evaluations} evaluations")
            new = []
        self._fresh = False
        self._shown.update(entry.number for entry in report.history)
        for place, entry in enumerate(new, start=1):
            later = sum(not other.repeat for other in new[place:])
            self._say("  " + self._line(entry, report, report.evaluations - later))

    def _line(self, entry: Evaluation, report: Report, count: int) -> str:
        of = f"/{self._evaluations}" if self._evaluations else ""
        score = "cut" if entry.score is None else score_text(entry.score, 4)
        parts = [f"{count}{of}", score, "dense" if entry.point.is_dense else str(entry.point)]
        if entry.repeat:
            parts.append("known")
        if report.best is not None and report.best.score is not None:
            parts.append(f"best {score_text(report.best.score, 4)}")
        if report.seconds_left:
            parts.append(f"{_duration(report.seconds_left)} left")
        return "  ".join(parts)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{round(seconds)} s" if seconds < 90 else f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def _save(compared: Compared, campaign: Campaign, checkpoint: Checkpoint, score: str, size: Size) -> str:
    """Write the best as a preset of this checkpoint, if it is better than the dense model; a sentence about it."""
    report, gain = compared.report, compared.gain
    best = report.best
    dense = next((entry.score for entry in report.history if entry.point.is_dense and entry.score is not None), None)
    if best is None or best.score is None:
        return f"{size}: nothing was measured, and no preset written."
    shown = score_text(best.score, 4)
    against = "" if dense is None else f", dense {score_text(dense, 4)}"
    found = best.point.rounded.merged
    if found.is_dense:
        return f"{size}: nothing tried scored higher than the dense model ({shown}), and no preset was written."
    if dense is not None and best.score <= dense:
        told = f"{best.point} scored {shown}, no higher than the dense model ({score_text(dense, 4)})"
        return f"{size}: {told}, and no preset was written."
    told_gain = f"; gain on fresh seeds {gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})" if gain else ""
    preset = Preset.own(
        fitted(checkpoint.name, f" {size}"),
        OTHER if checkpoint.family is None else checkpoint.family,
        size,
        found.schedule,
        found.common_k,
        checkpoint.sha256,
        f"found by a search over {len(campaign.prompts)} prompts and {len(campaign.seeds)} seeds, "
        f"{score} {shown}{against}{told_gain}",
    )
    # Two checkpoints may have the same name; a preset of the other one is not replaced.
    store = PresetStore(campaign.out)
    name = store.save(preset, overwrite=True, clash=Clash.NUMBER)
    told = f"{size}: best {shown}{against} with {best.point}; preset {name!r} is in {campaign.out}."
    return " ".join([told, *store.load().problems])
