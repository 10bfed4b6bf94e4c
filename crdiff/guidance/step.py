"""The passes of one denoiser call, each from the same inputs and the same random state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch

from crdiff.errors import UnsupportedModelError
from crdiff.guidance.graphs import Arguments
from crdiff.guidance.prepared import PreparedModel
from crdiff.guidance.random_state import RandomState
from crdiff.method.amplify import amplify
from crdiff.method.groups import Ratios
from crdiff.method.schedule import Position
from crdiff.pruning.copies import WeightCopies

Pass = Callable[[], torch.Tensor]


@dataclass(frozen=True)
class Inputs:
    """What a host hands over of a denoiser call.

    Attributes:
        forward: one pass on the call's inputs; each call of it must start from the same inputs.
        doubled: one pass on them with all rows repeated, in their order, after themselves; None if there is none.
        context: the conditioning, (batch, tokens, width), by which a change of prompt is noticed.
        arguments: the call taken apart, for graphs; None if it holds more than tensors and plain values.
    """

    forward: Pass
    doubled: Pass | None = None
    context: torch.Tensor | None = None
    arguments: Arguments | None = None


@dataclass
class DenoiserStep:
    """See ``crdiff.modes.mode.Step``.

    Attributes:
        model: what runs.
        ratios: in force at this call.
        k: in force at this call.
        position: in the schedule.
        call: which UNet call of its position this is.
        inputs: of the call.
        before: the random state that every pass starts from.
        captured_k: k as ``amplify`` takes it while the passes are captured in a graph, where nothing is drawn.
    """

    model: PreparedModel
    ratios: Ratios
    k: float
    position: Position
    call: int
    inputs: Inputs
    before: RandomState
    captured_k: torch.Tensor | None = None
    _recorded: bool = field(default=False, init=False)
    _ran: bool = field(default=False, init=False)
    _alike: bool = field(default=True, init=False)

    @property
    def capturing(self) -> bool:
        """Whether the passes are captured in a graph."""
        return self.captured_k is not None

    @property
    def context(self) -> torch.Tensor | None:
        return self.inputs.context

    def pruned(self) -> torch.Tensor:
        weights = self._weights(1.0)
        self.model.share(weights)
        with self.model.shared.recording():
            prediction = self._pass(weights, self.inputs.forward)
        self._recorded = True
        if self._restore():
            self.model.shared.drew()
        return prediction

    def mixed(self) -> torch.Tensor:
        if not self._recorded:
            return self._predicted("mixed", DenoiserStep._mixed, self._weights(self.k))
        return self._sharing(self._mixed, last=False)

    def _mixed(self) -> torch.Tensor:
        return self._pass(self._weights(self.k), self.inputs.forward)

    def exact(self) -> torch.Tensor:
        return self._predicted("exact", DenoiserStep._exact, self._weights(1.0))

    def _exact(self) -> torch.Tensor:
        pruned = self.pruned()
        return self.amplified(pruned, self.dense())

    def dense(self) -> torch.Tensor:
        self._recorded = False
        return self._sharing(partial(self._attempt, self.inputs.forward))

    def _sharing(self, run: Pass, *, last: bool = True) -> torch.Tensor:
        """A pass that takes over what the pruned one has computed already."""
        shared = self.model.shared
        with shared.replaying(last=last):
            prediction = run()
        if not self.capturing and shared.arguments.mistaken():
            self._alike = False
            return run()
        return prediction

    def both(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        if self.inputs.doubled is None:
            return None
        pruned, dense = self._pass(self._weights(1.0), self.inputs.doubled, half=True).chunk(2)
        return pruned, dense

    def amplified(self, pruned: torch.Tensor, dense: torch.Tensor) -> torch.Tensor:
        return amplify(pruned, dense, self.k if self.captured_k is None else self.captured_k)

    def _predicted(
        self, kind: str, compute: Callable[[DenoiserStep], torch.Tensor], weights: WeightCopies
    ) -> torch.Tensor:
        """A whole prediction: replayed if a graph of it is at hand."""
        graphs = self.model.graphs
        if graphs is None or self.inputs.arguments is None or self.capturing:
            return compute(self)
        return graphs.predict(_Prediction(kind, self.inputs.arguments, self, compute, weights))

    def _weights(self, k: float) -> WeightCopies:
        weights = self.model.weights(self.ratios, k)
        assert weights is not None, "these ratios prune nothing"
        return weights

    def _pass(self, weights: WeightCopies, forward: Pass, *, half: bool = False) -> torch.Tensor:
        weights.next_pass()

        def changed() -> torch.Tensor:
            with self.model.patches.applying(weights, half=half):
                return forward()

        prediction = self._attempt(changed)
        if self.model.patches.used == 0:
            raise UnsupportedModelError(
                "CR-Diff found none of the UNet's layers running: another extension computes the UNet in its place."
            )
        return prediction

    def _attempt(self, run: Pass) -> torch.Tensor:
        """A pass; if memory runs out, it is run once more without anything kept for speed."""
        self._restore()
        self._ran = True
        try:
            return run()
        except torch.cuda.OutOfMemoryError:
            if not self.model.free_memory():
                raise
        self._restore()
        self._ran = True
        return run()

    def _restore(self) -> bool:
        """Let the next pass draw what the first one has drawn, if it has."""
        if self.capturing:
            return False
        ran, self._ran = self._ran, False
        return ran and self.before.restore()

    def unfit(self) -> str | None:
        """What the passes did that a graph of them cannot hold; None if they did nothing of the kind."""
        if self.before.moved():
            return "random numbers are drawn inside a pass"
        if self.model.shared.has_companions:
            return "another model runs beside the UNet"
        return None if self._alike else "the inputs of the passes differ"


@dataclass(frozen=True)
class _Prediction:
    """See Computation."""

    kind: str
    arguments: Arguments
    step: DenoiserStep
    compute: Callable[[DenoiserStep], torch.Tensor]
    weights: WeightCopies

    @property
    def state(self) -> Any:
        """What is pruned on each use, and not in a copy, has its threshold in the graph."""
        weights = self.weights
        return weights, weights.moves, None if weights.complete else weights.changes, self.step.model.sharing

    @property
    def stage(self) -> tuple[Any, float]:
        return self.weights.changes, self.step.k

    @property
    def k(self) -> float:
        return self.step.k

    def refresh(self) -> bool:
        return self.weights.refresh()

    def eager(self) -> tuple[torch.Tensor, str | None]:
        return self.compute(self.step), self.step.unfit()

    def captured(self, tensors: tuple[torch.Tensor, ...], k: torch.Tensor) -> torch.Tensor:
        inputs = Inputs(partial(self.arguments.run, tensors))
        with self.step.model.shared.arguments.trusting():
            return self.compute(replace(self.step, inputs=inputs, captured_k=k))
