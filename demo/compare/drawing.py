"""Drawing a comparison: the host's own job, once for each variant, in one place of its queue."""

from __future__ import annotations

import time
from copy import copy
from typing import Any

from crdiff.settings import Settings
from crdiff.webui.infotext import NOTE_KEY, SOURCE_KEY
from demo.compare.comparison import Column, Comparison
from demo.compare.scores import Scores
from demo.compare.variants import CRDIFF, Variant, variants
from modules import infotext_utils, processing
from modules.shared import state

K_KEY = "CR-Diff k"
SUMMARY_KEY = "Compare"


def compare(p: Any, scores: Scores) -> tuple[Any, Comparison]:
    """Draw ``p`` in every variant with the same seeds.

    Returns:
        The host's result with all images, row by row, each with its own infotext; and the comparison.
    """
    place = _place_of_crdiff(p.scripts)
    wanted = variants(Settings.from_args(p.script_args[place]))
    processing.fix_seed(p)
    state.job_count = len(wanted) * p.n_iter
    comparison = Comparison()
    results = []
    for number, variant in enumerate(wanted, 1):
        if state.interrupted or state.stopping_generation:
            comparison.say("Interrupted.")
            break
        if variant is wanted[-1] and any(column.k == 1.0 for column in comparison.columns):
            comparison.say(f"k is 1 here, so {CRDIFF} is the pruned model alone.")
            break
        state.job = f"{number} out of {len(wanted)}"
        state.textinfo = f"{variant.name}, {number} of {len(wanted)}"
        results.append(_draw(p, variant, place, comparison))
    state.textinfo = None
    for column in comparison.columns:
        column.judged, sentence = scores.of(column.images, str(p.prompt))
        comparison.say(sentence)
    return _joined(p, results, comparison), comparison


def _place_of_crdiff(runner: Any) -> slice:
    for script in runner.alwayson_scripts:
        if script.title() == CRDIFF:
            return slice(script.args_from, script.args_to)
    raise RuntimeError(f"{SUMMARY_KEY} needs the extension {CRDIFF}, which is not loaded.")


def _draw(p: Any, variant: Variant, place: slice, comparison: Comparison) -> Any:
    # The copy is shallow: what a job writes into must not be shared.
    job = copy(p)
    job.extra_generation_params = dict(p.extra_generation_params)
    job.override_settings = dict(p.override_settings)
    job.comments = {}
    job.do_not_save_grid = True
    args = list(p.script_args)
    args[place] = [variant.settings.to_dict(), *[None] * (place.stop - place.start - 1)]
    job.script_args = tuple(args)
    started = time.perf_counter()
    processed = processing.process_images(job)
    seconds = time.perf_counter() - started
    images = processed.images[processed.index_of_first_image :]
    texts = processed.infotexts[processed.index_of_first_image :][: len(images)]
    params = infotext_utils.parse_generation_parameters(processed.info)
    column = Column(variant.name, images[: len(texts)], texts, seconds, params.get(SOURCE_KEY, ""), _k(params))
    if column.images:
        comparison.columns.append(column)
    if variant.settings.enabled and not state.interrupted:
        comparison.say(_why_idle(params))
    return processed


def _k(params: dict[str, Any]) -> float | None:
    """The amplification that an image was drawn with, where CR-Diff acted."""
    return float(params[K_KEY]) if SOURCE_KEY in params and K_KEY in params else None


def _why_idle(params: dict[str, Any]) -> str:
    if SOURCE_KEY in params:
        return ""
    return f"{CRDIFF} did not act: {params.get(NOTE_KEY, 'the infotext does not say why.')}"


def _joined(p: Any, results: list[Any], comparison: Comparison) -> Any:
    if not comparison.columns:
        return processing.Processed(p, [])
    result = copy(results[0])
    cells = list(comparison.cells())
    result.images = [column.images[row] for column, row in cells]
    result.infotexts = [column.infotexts[row] for column, row in cells]
    result.all_seeds = [results[0].all_seeds[row] for _, row in cells]
    result.all_subseeds = [results[0].all_subseeds[row] for _, row in cells]
    result.all_prompts = [results[0].all_prompts[row] for _, row in cells]
    result.all_negative_prompts = [results[0].all_negative_prompts[row] for _, row in cells]
    result.index_of_first_image = 0
    result.comments = "\n".join(comparison.sentences)
    result.extra_generation_params = {**result.extra_generation_params, SUMMARY_KEY: comparison.summary()}
    return result
