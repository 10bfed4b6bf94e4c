"""``python -m crdiff search``: searches through a running WebUI, from the command line."""

from __future__ import annotations

import argparse
from pathlib import Path

from crdiff import checks
from crdiff.errors import SettingsError
from crdiff.method.groups import GROUPS
from crdiff.presets.size import Size
from crdiff.search.campaign import Campaign, run_campaign
from crdiff.search.options import add_sampling_options, add_webui_options, read_prompts, sampling_request, stopping
from crdiff.search.remote import WebUI
from crdiff.search.search import EVALUATIONS, Budget
from crdiff.search.strategies.point import AXES, MAX_STAGES, PAPER_K, check_k
from crdiff.search.strategies.registry import DEFAULT_STRATEGY, STRATEGIES
from crdiff.search.strategies.space import K_BOUNDS, RATIO_BOUNDS

HELP = "search ratios for a list of prompts and sizes through a running WebUI"

DESCRIPTION = """\
Search for the ratios that score best over a list of prompts, one image size after another, and write a preset of this
checkpoint for each. A WebUI with this extension, started with --api, draws and scores; every configuration is a job of
its own in the WebUI's queue.

The same command resumes where an earlier one ended, however it ended. Ctrl-C stops and keeps the best so far."""

EXAMPLES = """\
examples:
  python -m crdiff search --prompts prompts.txt --sizes 400x560 480x360 --out presets.json
  python -m crdiff search --prompts prompts.txt --sizes 832x1216 --evaluations 200 --seeds 1 2 --score clip
  python -m crdiff search --prompts prompts.txt --sizes 400x560 --storage sqlite:///study.db --url http://127.0.0.1:7861"""

_RESERVED = ("search", "prompt", "seed", "width", "height")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    webui = add_webui_options(parser, "search for")
    webui.add_argument(
        "--wait",
        type=float,
        default=5.0,
        metavar="MINUTES",
        help="how long to wait for a WebUI that has gone away (default: %(default)g)",
    )

    images = parser.add_argument_group("the images")
    images.add_argument("--prompts", type=Path, required=True, metavar="FILE", help="one prompt per line")
    images.add_argument("--sizes", nargs="+", required=True, metavar="HEIGHTxWIDTH", help="one search for each")
    images.add_argument("--seeds", nargs="+", type=int, default=[1], metavar="SEED", help="image seeds (default: 1)")
    add_sampling_options(images)

    search = parser.add_argument_group("the search")
    search.add_argument(
        "--score", metavar="NAME", help="or a sum such as imagereward+0.2*clip (default: the first usable)"
    )
    search.add_argument(
        "--evaluations", type=int, default=EVALUATIONS, help="for each size, 0: no limit (default: %(default)s)"
    )
    search.add_argument("--minutes", type=float, help="for each size")
    search.add_argument(
        "--vary",
        nargs="+",
        default=list(GROUPS),
        choices=AXES,
        help="the others stay as in the built-in preset of the size (default: down mid up)",
    )
    search.add_argument("--ratios", nargs=2, type=float, default=RATIO_BOUNDS, metavar=("LOW", "HIGH"))
    search.add_argument("--k", nargs=2, type=float, default=K_BOUNDS, metavar=("LOW", "HIGH"), help="where k is varied")
    search.add_argument(
        "--stages",
        type=int,
        default=1,
        choices=range(1, MAX_STAGES + 1),
        help="parts of the steps, each with ratios of its own (default: %(default)s)",
    )
    search.add_argument("--k-by-stage", action="store_true", help="where k is varied: another one in each stage")
    search.add_argument(
        "--trial-k",
        type=float,
        default=PAPER_K,
        metavar="K",
        help="where k is not varied: of the images, and of the preset (default: %(default)g, as in the paper)",
    )
    search.add_argument("--strategy", default=DEFAULT_STRATEGY, choices=list(STRATEGIES), help="(default: %(default)s)")
    search.add_argument(
        "--temperature",
        type=float,
        metavar="T",
        help="of the annealing at its start, 0: from the spread of the first scores (default: 0.1, as the authors')",
    )
    search.add_argument(
        "--racing",
        default="off",
        choices=["off", "likely"],
        help="likely: leave out images of configurations that are unlikely to win (default: %(default)s)",
    )
    search.add_argument(
        "--fresh-seeds",
        type=int,
        default=0,
        metavar="COUNT",
        help="at the end compare the best few with the start on so many seeds that the search has not seen, "
        "8 for example (default: 0, the highest score wins)",
    )
    search.add_argument("--seed", type=int, default=0, help="of the strategy (default: %(default)s)")

    output = parser.add_argument_group("the output")
    output.add_argument(
        "--out", type=Path, default=Path("crdiff-presets.json"), help="preset file (default: %(default)s)"
    )
    output.add_argument(
        "--journals", type=Path, metavar="FOLDER", help="of the scores (default: beside the preset file)"
    )
    output.add_argument("--storage", metavar="URL", help="Optuna storage that several of these commands share")
    output.add_argument(
        "--study", default="cr-diff", metavar="NAME", help="of the shared search (default: %(default)s)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command.

    Returns:
        The exit status: 0, 130 if it was stopped, 2 if it failed.
    """
    campaign, webui = _campaign(arguments), WebUI(arguments.url, arguments.auth)
    with stopping() as stop:
        state = run_campaign(campaign, webui, stop.is_set, lambda line: print(line, flush=True))
    return {"done": 0, "stopped": 130}.get(state, 2)


def _campaign(arguments: argparse.Namespace) -> Campaign:
    request = sampling_request(arguments, _RESERVED)
    checks.number("--wait", arguments.wait, 0)
    if arguments.temperature is not None:
        checks.number("--temperature", arguments.temperature, 0)
    checks.integer("--fresh-seeds", arguments.fresh_seeds, 0)
    for seed in arguments.seeds:  # -1 would be another seed in every run, and none could go on with another's scores
        checks.integer("--seeds", seed, 0)
    if not check_k("--trial-k", arguments.trial_k):
        raise SettingsError("--trial-k must not be 0: every image would be the dense model's.")
    if arguments.out.is_dir():
        raise SettingsError(f"{arguments.out}: this is a folder; --out is the preset file.")
    if not arguments.out.absolute().parent.is_dir():
        raise SettingsError(f"{arguments.out}: there is no folder {arguments.out.parent} to write the preset file to.")
    out: Path = arguments.out
    return Campaign(
        prompts=read_prompts(arguments.prompts),
        sizes=tuple(dict.fromkeys(Size.parse(size) for size in arguments.sizes)),
        out=out,
        seeds=tuple(arguments.seeds),
        score=arguments.score,
        budget=Budget(arguments.evaluations or None, arguments.minutes),
        vary=tuple(arguments.vary),
        ratios=tuple(arguments.ratios),
        k=tuple(arguments.k),
        stages=arguments.stages,
        k_by_stage=arguments.k_by_stage,
        trial_k=arguments.trial_k,
        strategy=arguments.strategy,
        fresh_seeds=arguments.fresh_seeds,
        temperature=arguments.temperature,
        racing=arguments.racing,
        seed=arguments.seed,
        checkpoint=arguments.checkpoint,
        request=request,
        journals=arguments.journals or out.with_name(f"{out.stem}.searches"),
        storage=arguments.storage,
        study=arguments.study,
        wait_s=60.0 * arguments.wait,
    )
