"""The results as JSON and as tables."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from typing import Any

import torch

from crdiff.bench.benchmark import ALL
from crdiff.bench.graph import GraphCosts
from crdiff.bench.options import Options
from crdiff.bench.results import Results, StepCosts
from crdiff.bench.thresholds import ThresholdCosts
from crdiff.bench.timing import Spread
from crdiff.pruning.registry import DEFAULT_CRITERION

_MIB = 1 << 20

Json = dict[str, Any]


def to_json(found: Results) -> Json:
    """Everything; seconds, bytes, and ratios to one dense pass in the same round, with the range of the middle half."""
    modes: dict[str, Json] = {"reference": _step_json(found.reference)}
    for name, cases in found.modes.items():
        modes[name] = _step_json(cases[ALL.name])
        modes[name]["cases"] = {case: _step_json(costs) for case, costs in cases.items()}
    return {
        "measured": _options_json(found.options, found.rounds),
        "dense_seconds": found.dense_seconds.median,
        "modes": modes,
        "floors": found.floors,
        "full_width_floors": found.full_width_floors,
        **thresholds_to_json(found.thresholds),
        "disabled_ratio": found.disabled.median,
        "disabled_spread": _range(found.disabled),
        "outside_window_ratio": found.outside_window.median,
        "outside_window_spread": _range(found.outside_window),
        **({} if found.graph is None else {"graph": _graph_json(found.graph)}),
    }


def _graph_json(costs: GraphCosts) -> Json:
    return {
        "dense_graph_ratio": costs.dense_graph_ratio.median,
        "step_over_dense_graph": costs.step_over_dense_graph.median,
        "capture_seconds": costs.capture_seconds,
        "pool_bytes": costs.pool_bytes,
    }


def thresholds_to_json(found: ThresholdCosts) -> Json:
    """The profile against kthvalue; seconds and bytes."""
    return {
        "profile": {
            "weights": found.weights,
            "seconds": found.seconds.median,
            "kthvalue_seconds": found.kthvalue_seconds.median,
            "peak_bytes": found.peak_bytes,
            "kthvalue_peak_bytes": found.kthvalue_peak_bytes,
            "equal": found.equal,
        },
        "new_ratio_seconds": found.new_ratio_seconds,
        "recount_seconds": found.recount_seconds,
    }


def _options_json(options: Options, rounds: int) -> Json:
    return {
        "family": options.family.value,
        "size": str(options.size),
        "dtype": str(options.dtype).removeprefix("torch."),
        "device": str(options.device),
        "machine": _machine(options.device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "scale": options.scale,
        "ratios": str(options.ratios),
        "k": options.k,
        "criterion": options.criterion,
        "layers": options.scope.layers,
        "threshold": options.scope.threshold,
        "rounds": rounds,
    }


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine()


def _step_json(costs: StepCosts) -> Json:
    return {
        "step_ratio": costs.step_ratio.median,
        "spread": _range(costs.step_ratio),
        "operations": costs.operations,
        "floor": costs.floor,
        "extra_bytes": costs.extra_bytes,
        "setup_extra_bytes": costs.setup_extra_bytes,
        "bitwise_equal": costs.bitwise_equal,
        "deviation": costs.deviation,
    }


def _range(spread: Spread) -> list[float]:
    return [spread.low, spread.high]


def to_text(found: Results) -> str:
    """Tables in Markdown with what was measured above them."""
    return "\n".join(
        [*_heading(found), "", *_steps(found), "", *_off(found), *_graph(found), *threshold_lines(found.thresholds)]
    )


def _heading(found: Results) -> Iterator[str]:
    options = found.options
    yield f"{options.described}, criterion {options.criterion}; {found.rounds} rounds in turn."
    if options.criterion != DEFAULT_CRITERION:
        yield "The two full passes that it is held against are the paper's, pruned by magnitude."
    yield (
        f"One dense pass: {found.dense_seconds.median:.3g} s. Times (median, middle half) and operations are "
        "multiples of it."
    )


def _steps(found: Results) -> Iterator[str]:
    yield (
        "| mode | pruned | time of a step | operations | floor | extra memory | at the first step "
        "| against two full passes |"
    )
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    yield _row("reference", ALL.name, found.reference)
    for mode, cases in found.modes.items():
        for case, costs in cases.items():
            yield _row(mode, case, costs)
    full = ", ".join(f"{case} {floor:.3f}" for case, floor in found.full_width_floors.items())
    yield ""
    yield f"Floors of two passes at full width and this size: {full}."


def _row(mode: str, case: str, costs: StepCosts) -> str:
    floor = "" if costs.floor is None else f"{costs.floor:.3f}"
    memory = f"{costs.extra_bytes / _MIB:.1f} MiB | {costs.setup_extra_bytes / _MIB:.1f} MiB"
    equality = "bitwise equal" if costs.bitwise_equal else f"{costs.deviation:.3g} of the change"
    step = f"{_with_range(costs.step_ratio)} | {costs.operations:.3f} | {floor}"
    return f"| {mode} | {case} | {step} | {memory} | {equality} |"


def _off(found: Results) -> Iterator[str]:
    yield f"Switched off: {_with_range(found.disabled)} of a dense pass. Outside the window: " + (
        f"{_with_range(found.outside_window)}."
    )


def _graph(found: Results) -> Iterator[str]:
    costs = found.graph
    if costs is not None:
        yield (
            f"In a CUDA graph a dense pass takes {_with_range(costs.dense_graph_ratio)} of one without, a whole step "
            f"{_with_range(costs.step_over_dense_graph)} of that; capturing took {costs.capture_seconds:.3g} s once, "
            f"and holds {costs.pool_bytes / _MIB:.1f} MiB until the run ends."
        )


def threshold_lines(found: ThresholdCosts) -> Iterator[str]:
    """The profile against kthvalue, in sentences."""
    yield (
        f"Thresholds of {found.weights / 1e6:.1f}M weights: profile {found.seconds.median:.3g} s and "
        f"{found.peak_bytes / _MIB:.1f} MiB, kthvalue {found.kthvalue_seconds.median:.3g} s and "
        f"{found.kthvalue_peak_bytes / _MIB:.1f} MiB; {'equal' if found.equal else 'NOT EQUAL'}."
    )
    recount = f", {found.recount_seconds:.3g} s to count its last bits once" if found.recount_seconds else ""
    yield f"A new ratio: {found.new_ratio_seconds * 1e6:.1f} µs{recount}."


def _with_range(spread: Spread) -> str:
    return f"{spread.median:.3f} ({spread.low:.3f} to {spread.high:.3f})"
