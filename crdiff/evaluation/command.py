"""``python -m crdiff evaluate``: whether CR-Diff helps a model, measured on images."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crdiff import checks
from crdiff.errors import SettingsError
from crdiff.evaluation.engine import Engine, Sampling
from crdiff.evaluation.errors import EvaluationError
from crdiff.evaluation.images import Plan
from crdiff.evaluation.metrics.fid import Fid
from crdiff.evaluation.metrics.metric import Judge, Metric
from crdiff.evaluation.metrics.registry import FID, FID_LABEL, METRICS, metric_of
from crdiff.evaluation.progress import Progress
from crdiff.evaluation.prompts import NEUTRAL, prompts_of
from crdiff.evaluation.record import Record
from crdiff.evaluation.report import write_report
from crdiff.evaluation.results import results_of
from crdiff.evaluation.run import Runner
from crdiff.evaluation.ways import WAYS, Way
from crdiff.method.groups import GROUPS, Ratios
from crdiff.presets.library import PresetLibrary
from crdiff.presets.size import Size
from crdiff.scoring.download import download
from crdiff.scoring.model_files import ModelFiles
from crdiff.search.options import add_sampling_options, add_webui_options, sampling_request, stopping
from crdiff.search.remote import WebUI
from crdiff.settings import CUSTOM, Settings

HELP = "measure whether CR-Diff helps a model, against cheaper ways, with intervals and images"

DESCRIPTION = """\
Draw the same prompts and seeds in several ways, score them, and write a report: tables with 95 % intervals and the
images side by side. Drawn by diffusers from a checkpoint (--model), or by a running WebUI with this extension (--url).

The same command resumes where an earlier one ended, however it ended, and draws nothing twice; more prompts, seeds,
sizes, ways or metrics only add to it."""

EXAMPLES = f"""\
ways:
{chr(10).join(f"  {name:12} {kind.help}" for name, kind in WAYS.items())}
  Settings follow a way after colons: crdiff:k=2, crdiff:criterion=wanda, attenuation:ratios=0.1/0.1/0.1.

metrics:
{chr(10).join(f"  {name:16} {kind.label}" for name, kind in METRICS.items())}
  {FID:16} {FID_LABEL}, from --reference
  FILE.py          a score of your own: score(images, prompt)

examples:
  python -m crdiff evaluate --model sd_xl_base_1.0.safetensors --sizes 512x512 400x560 --out evaluation
  python -m crdiff evaluate --url http://127.0.0.1:7860 --sizes 400x560 --ways dense crdiff crdiff:k=2 --out evaluation
  python -m crdiff evaluate --model model.safetensors --prompts captions_val2014.json --n 500 --seeds 42 --no-images \\
      --sizes 512x512 --metrics imagereward-256 clip --out evaluation"""

_IMAGE_S = 3600.0
"""The longest that an image may take in a WebUI, its turn in the queue included."""

_RESERVED = ("alwayson_scripts", "prompt", "seed", "width", "height", "batch_size", "n_iter")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    local = parser.add_argument_group("without a WebUI")
    local.add_argument(
        "--model", type=Path, metavar="FILE", help="checkpoint, or a folder of diffusers; drawn by diffusers"
    )
    local.add_argument("--device", help="such as cuda:1 or cpu (default: a GPU where there is one)")
    local.add_argument("--precision", choices=["float16", "bfloat16", "float32"], help="(default: float16 on a GPU)")
    add_webui_options(parser, "evaluate")

    images = parser.add_argument_group("the images")
    images.add_argument(
        "--prompts", default=NEUTRAL, metavar="FILE",
        help="one per line, or JSON: captions, or COCO's captions_val2014.json (default: 64 neutral ones of CR-Diff)",
    )  # fmt: skip
    images.add_argument("--n", type=int, help="the first N prompts (default: all)")
    images.add_argument("--sizes", nargs="+", required=True, metavar="HEIGHTxWIDTH")
    images.add_argument("--seeds", nargs="+", type=int, default=[42], metavar="SEED", help="(default: 42)")
    images.add_argument("--ways", nargs="+", default=["dense", "pruned", "crdiff"], metavar="WAY", help="see below")
    images.add_argument("--preset", default="auto", help="of CR-Diff: auto or the name of one (default: %(default)s)")
    images.add_argument("--ratios", metavar="DOWN/MID/UP", help="of CR-Diff, in place of a preset")
    images.add_argument("--k", type=float, help="(default: the preset's, else 1.5)")
    add_sampling_options(images)

    output = parser.add_argument_group("the output")
    output.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="report.html, report.json, images, journal"
    )
    output.add_argument("--metrics", nargs="+", default=[], metavar="METRIC", help="see below (default: none)")
    output.add_argument(
        "--weights", type=Path, metavar="FOLDER", help="where those of metrics lie, beside the usual caches"
    )
    output.add_argument(
        "--reference", type=Path, metavar="SET", help="of FID: a folder of images, or an .npz of pytorch-fid"
    )
    output.add_argument("--download", action="store_true", help="fetch missing weights of metrics, and check them")
    output.add_argument("--no-images", action="store_true", help="score images and do not keep them")
    output.add_argument(
        "--shown", type=int, default=12, help="prompts of a size shown in the report (default: %(default)s)"
    )


@dataclass(frozen=True)
class _Wanted:
    """The options that need no model, checked."""

    prompts: tuple[str, ...]
    sizes: tuple[Size, ...]
    seeds: tuple[int, ...]
    ways: tuple[Way, ...]
    base: Settings


def run(arguments: argparse.Namespace) -> int:
    """Run the command.

    Returns:
        The exit status: 0, or 130 if it was stopped.
    """
    wanted = _wanted(arguments)
    metrics, distances = _metrics(arguments)
    engine = _engine(arguments)
    plan = _plan(wanted, engine)
    record = Record(arguments.out, engine.identity)
    runner = Runner(engine, metrics, distances, record, keep=not arguments.no_images)
    missing = runner.missing(plan.items())
    judges: list[Judge] = [*metrics, *distances]
    for judge in judges if missing else distances:
        judge.load(_device(arguments))
    with stopping() as stop:
        done = runner.draw_missing(missing, Progress(missing), stop.is_set)
    results = results_of(plan, record, [metric.name for metric in metrics], distances)
    labels = {FID: FID_LABEL, **{name: kind.label for name, kind in METRICS.items()}}
    page = write_report(arguments.out, results, record, labels, arguments.shown)
    print(f"{'Done' if done else 'Stopped; the same command resumes'}: {page}", flush=True)
    return 0 if done else 130


def _wanted(arguments: argparse.Namespace) -> _Wanted:
    if arguments.n is not None:
        checks.integer("--n", arguments.n, 1)
    checks.integer("--shown", arguments.shown, 0)
    for seed in arguments.seeds:
        checks.integer("--seeds", seed, 0)
    if arguments.out.exists() and not arguments.out.is_dir():
        raise SettingsError(f"{arguments.out}: this is a file; --out is a folder.")
    texts = [text.strip() for given in arguments.ways for text in given.split(",")]
    base: dict[str, Any] = {"preset": arguments.preset, "k": arguments.k, "enabled": True}
    if arguments.ratios is not None:
        base |= {"preset": CUSTOM, **dict(zip(GROUPS, Ratios.parse(arguments.ratios)))}
    return _Wanted(
        prompts_of(arguments.prompts, arguments.n),
        tuple(dict.fromkeys(Size.parse(size) for size in arguments.sizes)),
        tuple(dict.fromkeys(arguments.seeds)),
        tuple(map(Way.parse, dict.fromkeys(texts))),
        Settings.from_dict(base),
    )


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
    return load(arguments.model, sampling, arguments.device, arguments.precision)


def _device(arguments: argparse.Namespace) -> str:
    # Imported here: it needs torch.
    from crdiff.evaluation.diffusers_engine import usual_device

    return str(arguments.device or usual_device())


def _plan(wanted: _Wanted, engine: Engine) -> Plan:
    library = PresetLibrary()
    for size in wanted.sizes:
        engine.check(size)
    drawings = {
        size: [way.at(size, wanted.base, engine.checkpoint, library) for way in wanted.ways] for size in wanted.sizes
    }
    return Plan(wanted.prompts, wanted.seeds, drawings)


def _metrics(arguments: argparse.Namespace) -> tuple[list[Metric], list[Fid]]:
    """Those asked for, not yet loaded; their weights are here.

    Raises:
        EvaluationError: something is missing and is not to be fetched.
    """
    files = ModelFiles(models=arguments.weights)
    metrics = [metric_of(name, files) for name in dict.fromkeys(arguments.metrics) if name != FID]
    distances = [Fid(arguments.reference)] if FID in arguments.metrics else []
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


def _download(name: str, files: ModelFiles) -> None:
    source = METRICS[name].source if name in METRICS else None
    if source is not None:
        target = files.target(source.folder)
        print(source.offer(target), flush=True)
        download(source, target)
