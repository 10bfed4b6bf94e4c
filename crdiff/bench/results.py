"""What the benchmark measures, as the report tells it."""

from __future__ import annotations

from dataclasses import dataclass

from crdiff.bench.graph import GraphCosts
from crdiff.bench.options import Options
from crdiff.bench.thresholds import ThresholdCosts
from crdiff.bench.timing import Spread


@dataclass(frozen=True)
class StepCosts:
    """One way of computing a step.

    Attributes:
        step_ratio: time of a step over that of one dense pass in the same round.
        operations: multiplications and additions of a step over those of one dense pass, counted while it ran; 0 if
            it was replayed.
        extra_bytes: memory during a step beyond that of a dense pass, at the peak, with what is held between steps.
        setup_extra_bytes: the same until the first step is done.
        bitwise_equal: whether every step equals the authors' design bit for bit.
        deviation: |result - reference| / |reference - dense| over the steps compared.
        floor: least ``step_ratio`` by arithmetic; None for what does not claim to compute both passes.
    """

    step_ratio: Spread
    operations: float
    extra_bytes: int
    setup_extra_bytes: int
    bitwise_equal: bool
    deviation: float
    floor: float | None


@dataclass(frozen=True)
class Results:
    """Everything measured.

    Attributes:
        options: what was asked for.
        rounds: how often every step was timed.
        dense_seconds: one dense pass.
        reference: the authors' design, all groups pruned.
        modes: by the case's name and that of the pruned groups.
        floors: by the name of the pruned groups, at the model measured.
        full_width_floors: the same of the family's own model at this size.
        disabled: a pass with a run that has been closed over one that never had any.
        outside_window: the same of a step outside the window of a run that has acted.
        thresholds: the profile against kthvalue on this model's weights.
        graph: a step in a CUDA graph; None where none was measured.
    """

    options: Options
    rounds: int
    dense_seconds: Spread
    reference: StepCosts
    modes: dict[str, dict[str, StepCosts]]
    floors: dict[str, float]
    full_width_floors: dict[str, float]
    disabled: Spread
    outside_window: Spread
    thresholds: ThresholdCosts
    graph: GraphCosts | None = None
