"""``python -m crdiff evaluate``: whether CR-Diff helps a model, measured on images."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from crdiff import checks
from crdiff.errors import SettingsError
from crdiff.evaluation.calibrating import calibrated
from crdiff.evaluation.engine import Engine, Sampling
from crdiff.evaluation.errors import EvaluationError
from crdiff.evaluation.images import Plan, Shard
from crdiff.evaluation.merging import keep_plan, merged
from crdiff.evaluation.metrics.fid import Fid
from crdiff.evaluation.metrics.metric import Judge, Metric
from crdiff.evaluation.metrics.registry import FID, METRICS, labels_of, metric_of
from crdiff.evaluation.notes import notes
from crdiff.evaluation.options import DESCRIPTION, EXAMPLES, HELP, add_arguments
from crdiff.evaluation.paper import TABLES, Table, published
from crdiff.evaluation.progress import Progress
from crdiff.evaluation.prompts import NEUTRAL, prompts_of
from crdiff.evaluation.record import Record
from crdiff.evaluation.report import write_report
from crdiff.evaluation.results import results_of
from crdiff.evaluation.run import Runner
from crdiff.evaluation.summary import lines
from crdiff.evaluation.ways import DENSE, Drawing, Way
from crdiff.method.groups import GROUPS, Ratios
from crdiff.presets.library import OWN_FILE, PresetLibrary
from crdiff.presets.size import Size
from crdiff.scoring.download import download
from crdiff.scoring.model_files import ModelFiles
from crdiff.search.options import sampling_request, stopping
from crdiff.search.remote import WebUI
from crdiff.settings import Settings
from crdiff.specs import CUSTOM

__all__ = ["DESCRIPTION", "EXAMPLES", "HELP", "add_arguments", "run"]

_IMAGE_S = 3600.0
"""The longest that an image may take in a WebUI, its turn in the queue included."""

_STOPPED = 130
_CALIBRATIONS = "calibrations"
"""The folder in --out that holds those of a model drawn without a WebUI."""
_USUAL = ("dense", "pruned", "crdiff")
_RESERVED = ("prompt", "seed", "width", "height", "batch_size", "n_iter")


@dataclass(frozen=True)
class _Wanted:
    """The options that need no model, checked."""

    prompts: tuple[str, ...]
    table: Table | None
    sizes: tuple[Size, ...]
    seeds: tuple[int, ...]
    seed_step: int
    ways: tuple[Way, ...]
    chooser: str
    base: Settings
    shard: Shard
    library: PresetLibrary


def run(arguments: argparse.Namespace) -> int:
    """Run the command.

    Returns:
        The exit status: 0, or 130 if it was stopped.
    """
    if arguments.merge is not None:
        return _merge(arguments)
    wanted = _wanted(arguments)
    metrics, distances = _metrics(arguments)
    engine = _engine(arguments)
    plan, record = _plan(wanted, engine), Record(arguments.out, engine.identity, wanted.shard)
    with stopping() as stop:
        known = calibrated(plan, engine, make=arguments.calibrate, should_stop=stop.is_set)
    if known is None:
        print("Stopped while the model was calibrated; nothing was drawn, and nothing of it is kept.", flush=True)
        return _STOPPED
    plan = known
    runner = Runner(engine, metrics, distances, record, keep=not arguments.no_images)
    missing = runner.missing(plan.items(wanted.shard))
    judges: list[Judge] = [*metrics, *distances]
    for judge in judges if missing else distances:
        judge.load(_device(arguments))
    keep_plan(arguments.out, plan)
    with stopping() as stop:
        done = runner.draw_missing(missing, Progress(missing), stop.is_set)
    page = _report(arguments, plan, record, [metric.name for metric in metrics], distances)
    print(f"{_state(plan, record) if done else 'Stopped; the same command resumes'}: {page}", flush=True)
    return 0 if done else _STOPPED


def _merge(arguments: argparse.Namespace) -> int:
    """Report what was drawn in some folders; nothing is drawn, and no model is needed."""
    if arguments.best_by is not None:
        raise SettingsError("--merge reports the best by what the shares were drawn with, so it takes no --best-by.")
    _, distances = _metrics(arguments)
    plan, record = merged(arguments.merge)
    for distance in distances:
        distance.load(_device(arguments))
    page = _report(arguments, plan, record, record.metrics, distances)
    print(f"{_state(plan, record)}: {page}", flush=True)
    return 0


def _state(plan: Plan, record: Record) -> str:
    left = sum(not record.entry(item).drawn for item in plan.items())
    return f"{left} images are left to the other shares" if left else "Done"


def _report(
    arguments: argparse.Namespace, plan: Plan, record: Record, metrics: Sequence[str], distances: Sequence[Fid]
) -> Path:
    results, labels = results_of(plan, record, metrics, distances), labels_of(metrics)
    print(*lines(results, labels), *notes(plan, labels), sep="\n", flush=True)
    return write_report(arguments.out, results, record, labels, arguments.shown)


def _wanted(arguments: argparse.Namespace) -> _Wanted:
    if arguments.n is not None:
        checks.integer("--n", arguments.n, 1)
    checks.integer("--shown", arguments.shown, 0)
    table = TABLES[arguments.paper] if arguments.paper else None
    if table is not None and arguments.prompts is None:
        raise SettingsError("--paper needs --prompts; the paper's are in COCO's captions_val2014.json.")
    if table is None and not arguments.sizes:
        raise SettingsError("--sizes says at which sizes to draw, such as --sizes 512x512 400x560 (height x width).")
    for seed in arguments.seeds:
        checks.integer("--seeds", seed, 0)
    checks.integer("--seed-step", arguments.seed_step, 0)
    if 0 < arguments.seed_step <= (span := max(arguments.seeds) - min(arguments.seeds)):
        raise SettingsError(f"--seed-step must be above {span} with these --seeds, or prompts would share noises.")
    if arguments.out.exists() and not arguments.out.is_dir():
        raise SettingsError(f"{arguments.out}: this is a file; --out is a folder.")
    shard = Shard.parse(arguments.shard)
    if arguments.calibrate and shard.number > 1:
        raise SettingsError("--calibrate is for the first share alone; the others have to go by its calibration.")
    named = arguments.ways or (_USUAL if table is None else table.ways)
    texts = dict.fromkeys(text.strip() for given in named for text in given.split(","))
    ways = tuple(map(Way.parse, texts))
    base: dict[str, Any] = {"preset": arguments.preset, "k": arguments.k, "enabled": True}
    if arguments.ratios is not None:
        base |= {"preset": CUSTOM, **dict(zip(GROUPS, Ratios.parse(arguments.ratios)))}
    return _Wanted(
        prompts_of(arguments.prompts or NEUTRAL, arguments.n),
        table,
        tuple(dict.fromkeys(Size.parse(size) for size in arguments.sizes)),
        tuple(dict.fromkeys(arguments.seeds)),
        arguments.seed_step,
        ways,
        _chooser(arguments, ways),
        Settings.from_dict(base),
        shard,
        _library(arguments.presets),
    )


def _chooser(arguments: argparse.Namespace, ways: Sequence[Way]) -> str:
    """The metric by which the best of several images is taken; empty where no way does so.

    Raises:
        SettingsError: there is none, or one is named in vain.
    """
    best = next((way for way in ways if way.kind.candidates > 1), None)
    if best is None:
        if arguments.best_by is not None:
            raise SettingsError("--best-by is for ways that take the best of several images, such as best-of-2.")
        return ""
    named = [name for name in _metric_names(arguments) if name != FID]
    if not named:
        raise SettingsError(f"{best.text} needs a metric of single images to choose by: name one with --metrics.")
    given = named[0] if arguments.best_by is None else arguments.best_by
    if given not in named:
        raise SettingsError(f"--best-by is one of the --metrics of single images, here {', '.join(named)}.")
    return metric_of(given, ModelFiles()).name


def _library(folder: Path | None) -> PresetLibrary:
    if folder is not None and not (folder / OWN_FILE).is_file():
        raise SettingsError(f"{folder}: there is no {OWN_FILE} in this folder.")
    library = PresetLibrary(folder)
    if problems := library.problems():
        raise SettingsError(problems[0])
    return library


def _engine(arguments: argparse.Namespace) -> Engine:
    request = sampling_request(arguments, _RESERVED)
    # Imported here: each engine needs packages that the other does not.
    if arguments.model is None:
        from crdiff.evaluation.webui_engine import WebUIEngine

        return WebUIEngine(WebUI(arguments.url, arguments.auth, _IMAGE_S), request, arguments.checkpoint)
    if arguments.request is not None or arguments.checkpoint is not None:
        raise SettingsError("--request and --checkpoint are for a WebUI, and --model draws without one.")
    from crdiff.evaluation.diffusers_engine import load

    sampling = Sampling(arguments.steps, arguments.cfg_scale, arguments.negative_prompt, arguments.sampler)
    return load(arguments.model, sampling, arguments.device, arguments.precision, arguments.out / _CALIBRATIONS)


def _device(arguments: argparse.Namespace) -> str:
    # Imported here: it needs torch.
    from crdiff.evaluation.diffusers_engine import usual_device

    return str(arguments.device or usual_device())


def _plan(wanted: _Wanted, engine: Engine) -> Plan:
    library, model, table = wanted.library, engine.checkpoint, wanted.table
    sizes = wanted.sizes if table is None or wanted.sizes else table.sizes_of(model.family)
    drawings: dict[Size, list[Drawing]] = {}
    for size in sizes:
        drawings[size] = [way.at(size, wanted.base, model, library, wanted.chooser) for way in wanted.ways]
        for number, drawing in enumerate(drawings[size]):
            engine.check(drawing.size, drawing.settings)
            # The paper's figures are of its own ratios and k, those of the dense model of none.
            its_own = drawing.way == DENSE or wanted.base == Settings(enabled=True)
            figures = published(model.family, size, drawing.way) if table is not None and its_own else {}
            drawings[size][number] = replace(drawing, published=figures)
    return Plan(wanted.prompts, wanted.seeds, drawings, wanted.seed_step)


def _metrics(arguments: argparse.Namespace) -> tuple[list[Metric], list[Fid]]:
    """Those asked for, not yet loaded; their weights are here.

    Raises:
        EvaluationError: something is missing and is not to be fetched.
    """
    files, names = ModelFiles(models=arguments.weights), _metric_names(arguments)
    metrics = [metric_of(name, files) for name in dict.fromkeys(names) if name != FID]
    distances = [Fid(arguments.reference)] if FID in names else []
    judges: list[Judge] = [*metrics, *distances]
    for judge in judges:
        if judge.available() is not None and arguments.download:
            if isinstance(judge, Fid):
                judge.fetch()
            else:
                _download(judge.name, files)
        if (problem := judge.available()) is not None:
            raise EvaluationError(problem)
    return metrics, distances


def _metric_names(arguments: argparse.Namespace) -> Sequence[str]:
    return arguments.metrics or (TABLES[arguments.paper].metrics if arguments.paper else ())


def _download(name: str, files: ModelFiles) -> None:
    source = METRICS[name].source if name in METRICS else None
    if source is not None:
        target = files.target(source.folder)
        print(source.offer(target), flush=True)
        download(source, target)
