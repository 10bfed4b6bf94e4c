"""``python -m crdiff bench``: its options and what it prints."""

from __future__ import annotations

import argparse
import json
import os
import sys

HELP = "time every mode against a dense pass and the authors' design"
DESCRIPTION = """\
Build a model of a family's shape with random weights and compute its denoising steps in every way, in turn: one dense
pass, the authors' design (two full models and two passes), and every mode of CR-Diff. Shown for each: time of a step in
dense passes, with the least possible by arithmetic beside it, extra memory, and whether the result is bit for bit that
of the authors' design. Then the thresholds: the magnitude profile against kthvalue over a concatenated clone.

No checkpoint is needed and none is read. With --weights only the thresholds are measured, on so many random weights."""
EXAMPLES = """\
examples:
  python -m crdiff bench
  python -m crdiff bench --family sdxl --scale 1 --size 1024x1024 --dtype float16 --device cuda
  python -m crdiff bench --family flux --layers feed-forward --ratios 0.1/0.1/0.1
  python -m crdiff bench --overhead
  python -m crdiff bench --stages
  python -m crdiff bench --criteria
  python -m crdiff bench --weights 200M --dtype float16 --rounds 1 --json"""

_STAGED = ("exact", "fast")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options; what they may be is checked when they are used, so that a bad one gets a sentence."""
    parser.add_argument(
        "--family", default="sd15", metavar="sd15|sdxl|sd3|flux", help="whose shape the model has (sd15)"
    )
    parser.add_argument("--size", default="192x192", metavar="HEIGHTxWIDTH", help="image size in pixels (192x192)")
    parser.add_argument(
        "--dtype", metavar="float32|float16|bfloat16", help="float32 on a CPU, float16 on a GPU by default"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ... (cpu)")
    parser.add_argument(
        "--scale", help="width of the model as a share of the family's, in (0, 1] (0.25; sd3 1/12, flux 1/24)"
    )
    parser.add_argument("--rounds", help="how often everything is timed; by default what fits into half a minute")
    parser.add_argument("--ratios", default="0.4/0.4/0.4", metavar="DOWN/MID/UP", help="pruning ratios (0.4/0.4/0.4)")
    parser.add_argument("--k", default="1.5", help="amplification (1.5)")
    parser.add_argument(
        "--criterion", default="magnitude", metavar="NAME", help="what decides which weights are pruned (magnitude)"
    )
    parser.add_argument(
        "--layers",
        default="released",
        metavar="SET",
        help="of a transformer: released, feed-forward or attention (released)",
    )
    parser.add_argument(
        "--threshold", default="auto", metavar="auto|layer|group", help="what shares a threshold (auto)"
    )
    parser.add_argument("--modes", metavar="NAME,...", help="only these modes")
    parser.add_argument("--weights", metavar="COUNT", help="only the thresholds, of so many weights, such as 200M")
    parser.add_argument(
        "--overhead",
        action="store_true",
        help="only the processor time of a step where launching rules, as beside a fast GPU; takes half a minute",
    )
    parser.add_argument(
        "--stages",
        action="store_true",
        help="only images whose ratios change in four stages, beside images of one (exact and fast, or --modes)",
    )
    parser.add_argument(
        "--criteria",
        nargs="?",
        const="",
        metavar="NAME,...",
        help="only what each criterion costs beside a dense pass (all of them, or those named)",
    )
    parser.add_argument("--json", action="store_true", help="write JSON instead of tables")


def run(arguments: argparse.Namespace) -> None:
    """Measure and print.

    Raises:
        CRDiffError: an option cannot be used, or the device cannot compute what was asked for.
    """
    # The profiler that reads the allocations would note its starts and stops on stderr.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    # Imported here, so that --help need not wait for torch.
    import torch

    from crdiff.bench.benchmark import run_benchmark
    from crdiff.bench.criteria import criteria_lines, criteria_to_json, measure_criteria
    from crdiff.bench.modes import CASES, GRAPH
    from crdiff.bench.options import parse_options, parse_rounds
    from crdiff.bench.overhead import measure_overhead, overhead_lines
    from crdiff.bench.report import threshold_lines, thresholds_to_json, to_json, to_text
    from crdiff.bench.stages import measure_stages, stages_lines, stages_to_json
    from crdiff.bench.thresholds import compare, parse_count, random_weights
    from crdiff.checks import choice
    from crdiff.errors import SettingsError
    from crdiff.pruning.registry import CRITERIA

    if arguments.overhead:
        found_overhead = measure_overhead(
            _progress, None if arguments.rounds is None else parse_rounds(arguments.rounds)
        )
        print(json.dumps(found_overhead) if arguments.json else "\n".join(overhead_lines(found_overhead)))
        return
    given = ("family", "size", "dtype", "device", "scale", "rounds", "ratios", "k", "criterion", "layers", "threshold")
    options = parse_options(**{name: getattr(arguments, name) for name in given})
    offered = (*CASES, GRAPH) if options.device.type == "cuda" else CASES
    cases = {case.name: case for case in offered}
    if arguments.modes is not None:
        cases = {name: cases[choice("The mode", name, cases)] for name in arguments.modes.split(",")}
    elif arguments.stages:
        cases = {name: cases[name] for name in _STAGED}
    count = None if arguments.weights is None else parse_count(arguments.weights)
    criteria = None
    if arguments.criteria is not None:
        named = arguments.criteria.split(",") if arguments.criteria else CRITERIA
        criteria = [choice("The criterion", name, CRITERIA) for name in named]
    try:
        if count is not None:
            with torch.no_grad():
                weights = random_weights(count, options.device, options.dtype)
                costs = compare(weights, options.ratios, options.device, options.rounds or 3)
            print(
                json.dumps(thresholds_to_json(costs), indent=1) if arguments.json else "\n".join(threshold_lines(costs))
            )
            return
        if arguments.stages:
            staged = measure_stages(options, tuple(cases.values()), _progress)
            print(json.dumps(stages_to_json(staged), indent=1) if arguments.json else "\n".join(stages_lines(staged)))
            return
        if criteria is not None:
            costly = measure_criteria(options, criteria, _progress)
            if arguments.json:
                print(json.dumps(criteria_to_json(dict(costly)), indent=1))
                return
            for line in criteria_lines(options, costly):
                print(line, flush=True)
            return
        found = run_benchmark(options, tuple(cases.values()), progress=_progress)
    except (RuntimeError, MemoryError) as error:  # torch has no narrower class for a missing kernel or for no memory
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise SettingsError(f"{options.device} could not compute this in {options.dtype}: {reason}") from error
    print(json.dumps(to_json(found), indent=1) if arguments.json else to_text(found))


def _progress(line: str) -> None:
    """On stderr, so that what is printed can be read by a program."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
