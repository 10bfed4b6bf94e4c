"""The comparison as a job of the host: each way in turn, in one place of the queue."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from copy import copy
from typing import Any

from crdiff.cost import passes_of
from crdiff.errors import CRDiffError
from crdiff.plan import plan_for
from crdiff.presets.size import Size
from crdiff.scoring.scorer import Scorer
from crdiff.settings import Settings
from crdiff.webui.compare.comparison import Column, Comparison
from crdiff.webui.compare.context import CompareContext
from crdiff.webui.compare.drawing import Batch, batch_size, draw
from crdiff.webui.compare.grid import labelled_grid
from crdiff.webui.compare.pruned import without_own_k
from crdiff.webui.compare.request import MAX_SEEDS, CompareRequest
from crdiff.webui.compare.scores import score, scorer_for
from crdiff.webui.compare.ways import CRDIFF, DENSE, PRUNED, WAYS
from crdiff.webui.generation import read_settings
from crdiff.webui.jobs.copies import accordion_args

_log = logging.getLogger("crdiff")


def run_compare(p: Any, request: CompareRequest, context: CompareContext, key: str) -> Any:
    """Draw the job ``p`` of the host in every way that is asked for, from the same seeds.

    Args:
        p: the host's processing object.
        request: what to compare.
        context: the surroundings.
        key: of what the result tells of the comparison, among its generation parameters.

    Returns:
        The host's result: the labelled grid, then all images row by row, each with its own infotext.

    Raises:
        SettingsError: a setting, the accordion's included, cannot be used; nothing is drawn then.
    """
    from modules import processing
    from modules.shared import state

    present = read_settings(accordion_args(p), {}, context.library)
    scorer, sentence = scorer_for(request.score, context)
    processing.fix_seed(p)
    comparison = Comparison()
    try:
        ways = _possible(request.ways, scorer, comparison)
        results = _draw_all(p, ways, request.seeds, present, context, comparison)
        comparison.say(sentence)
        if scorer is not None and comparison.columns:
            state.textinfo = "Scoring"
            score(comparison, scorer, context)
    finally:
        state.textinfo = None
    return _joined(p, results, comparison, context, key)


def _possible(asked: Sequence[str], scorer: Scorer | None, comparison: Comparison) -> list[str]:
    """The ways that can be drawn, the dense model among them where another needs it; the rest is said."""
    ways = list(asked)
    for way in asked:
        if WAYS[way].candidates > 1 and (scorer is None or scorer.needs_dense):
            why = "there is no score" if scorer is None else "a score that compares with the dense image is none"
            comparison.say(f"{WAYS[way].label} was left out: {why} to choose by.")
            ways.remove(way)
    if ways and all(WAYS[way].native for way in ways):
        comparison.say("Dense was drawn too, to compare with at this size.")
        ways.append(DENSE)
    return ways


def _draw_all(
    p: Any, asked: Sequence[str], seeds: int | None, present: Settings, context: CompareContext, comparison: Comparison
) -> list[Any]:
    """Draw, into the comparison; the host's results."""
    from modules.shared import state

    wanted = seeds or p.batch_size * p.n_iter
    images = min(wanted, MAX_SEEDS)
    comparison.say("" if images == wanted else f"At most {MAX_SEEDS} seeds are compared.")
    # CR-Diff tells the k that it was drawn with, by which pruned may be the same, and any way the size to resample to.
    ways = sorted(asked, key=lambda way: (WAYS[way].native, way != DENSE, way != CRDIFF))
    batches = sum(WAYS[way].candidates - (DENSE in ways and WAYS[way].candidates > 1) for way in ways)
    state.job_count = batches * images // batch_size(p, images)
    results: list[Any] = []
    for number, way in enumerate(ways, 1):
        state.job = f"{number} out of {len(ways)}"
        state.textinfo = f"{WAYS[way].label}, {number} of {len(ways)}"
        try:
            settings = WAYS[way].settings(present)
            if way == PRUNED:
                settings = without_own_k(settings, p, context.checkpoints.selected(), context.library)
            batch = _draw_way(p, way, settings, images, context, comparison)
        except Exception as error:
            if not comparison.columns:
                raise
            _log.exception("%s could not be drawn", WAYS[way].label)
            text = str(error) if isinstance(error, CRDiffError) else f"{type(error).__name__}: {error}"
            comparison.say(f"{WAYS[way].label} could not be drawn ({text}); what was drawn before it is kept.")
            break
        results += [] if batch is None else [batch.result]
        if state.interrupted or state.stopping_generation:
            done = "these are the images that were done" if comparison.columns else "no image was done"
            comparison.say(f"Interrupted; {done}.")
            break
        if way == CRDIFF and PRUNED in ways and batch is not None and batch.k == 1.0:
            comparison.say("k is 1 here, so CR-Diff is the pruned model alone.")
            ways.remove(PRUNED)  # which comes later
    comparison.columns.sort(key=lambda column: list(WAYS).index(column.way))
    return results


def _draw_way(
    p: Any, way: str, settings: Settings, images: int, context: CompareContext, comparison: Comparison
) -> Batch | None:
    """Draw one way, into the comparison; None if it cannot be drawn with this model."""
    size = _native(p, context) if WAYS[way].native else None
    if WAYS[way].native and size is None:
        comparison.say(f"{WAYS[way].label}: the size that this model was trained at is not known.")
        return None
    if size is not None and not comparison.columns:
        comparison.say(f"{WAYS[way].label}: another way beside it is needed, for the size of its images.")
        return None
    # Hires. fix and "Only masked" settle the size in ways of their own.
    resampled = None if size is None else comparison.columns[0].images[0].image.size
    if WAYS[way].candidates > 1:
        return _draw_candidates(p, way, settings, images, comparison)
    batch = draw(p, settings, images, size, resampled)
    passes = _passes(settings, p, context)
    if size is not None:
        # A pass costs at least as much more as it has more pixels.
        passes = size.height * size.width / (p.height * p.width)
    if batch.images:
        comparison.columns.append(Column(way, batch.images, batch.seconds, passes, batch.origin))
    if batch.images and settings.enabled and not batch.origin:
        comparison.say(f"CR-Diff did not act: {batch.note or 'the infotext does not say why.'}")
    return batch


def _draw_candidates(p: Any, way: str, settings: Settings, images: int, comparison: Comparison) -> Batch:
    """Draw dense images, of which the best are to be taken, into the comparison; the last batch of them."""
    from modules.shared import state

    dense = next((column for column in comparison.columns if column.way == DENSE), None)
    drawn, seconds = ([], 0.0) if dense is None else ([dense.images], dense.seconds)
    while len(drawn) < WAYS[way].candidates:
        batch = draw(p, settings, images, candidate=len(drawn))
        drawn.append(batch.images)
        seconds += batch.seconds
        if state.interrupted or state.stopping_generation:
            break
    rows = min(map(len, drawn)) if len(drawn) == WAYS[way].candidates else 0
    if rows:
        candidates = [one[:rows] for one in drawn]
        comparison.columns.append(Column(way, candidates[0], seconds, float(len(drawn)), candidates=candidates))
    return batch


def _native(p: Any, context: CompareContext) -> Size | None:
    """The size with the area that the model was trained at and about the job's aspect; None where it is not known."""
    checkpoint = context.checkpoints.selected()
    family = None if checkpoint is None else checkpoint.family
    native = None if family is None else context.library.native_size(family)
    return None if native is None else native.with_aspect(Size(p.height, p.width))


def _passes(settings: Settings, p: Any, context: CompareContext) -> float | None:
    """What a way costs, in UNet passes for each of the host's own; None where the checkpoint does not tell."""
    if not settings.enabled:
        return 1.0
    checkpoint = context.checkpoints.selected()
    if checkpoint is None or checkpoint.family is None:
        return None
    try:
        plan = plan_for(settings, Size(p.height, p.width), context.library).make(checkpoint)
    except CRDiffError:
        return 1.0
    return passes_of(settings, plan, checkpoint.family)


def _joined(p: Any, results: list[Any], comparison: Comparison, context: CompareContext, key: str) -> Any:
    from modules import processing

    if not comparison.columns:
        empty = processing.Processed(p, [])
        empty.comments = "\n".join(comparison.sentences)
        empty.extra_generation_params = {**p.extra_generation_params, key: comparison.summary()}
        return empty
    result = copy(results[0])
    drawn = [column.images[row] for column, row in comparison.cells()]
    grid = labelled_grid(comparison)
    shown = [drawn[0], *drawn]
    result.images = [grid, *(one.image for one in drawn)]
    result.infotexts = [one.infotext for one in shown]
    result.all_seeds = [one.seed for one in shown]
    result.all_subseeds = [one.subseed for one in shown]
    result.all_prompts = [one.prompt for one in shown]
    result.all_negative_prompts = [one.negative_prompt for one in shown]
    result.index_of_first_image = 1
    result.comments = "\n".join(comparison.sentences)
    told = {**comparison.summary(), "panel": context.kept.add(comparison)}
    result.extra_generation_params = {**result.extra_generation_params, key: told}
    _save(grid, result, p)
    return result


def _save(grid: Any, result: Any, p: Any) -> None:
    """Save the grid where the host saves its own."""
    from modules import images
    from modules.shared import opts

    if p.do_not_save_grid or not opts.grid_save:
        return
    about = {"info": result.infotexts[0], "prompt": result.all_prompts[0], "seed": result.all_seeds[0]}
    images.save_image(grid, p.outpath_grids, "compare", extension=opts.grid_format, grid=True, p=p, **about)
