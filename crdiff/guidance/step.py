"""The passes of one denoiser call, each from the same inputs and the same random state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch

from crdiff.errors import UnsupportedModelError
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
    """

    forward: Pass
    doubled: Pass | None = None
    context: torch.Tensor | None = None


@dataclass
class DenoiserStep:
    """See ``crdiff.modes.mode.Step``.

    Attributes:
        model: what runs.
        ratios: in force at this call.
        position: in the schedule.
        call: which UNet call of its position this is.
        inputs: of the call.
        before: the random state that every pass starts from.
    """

    model: PreparedModel
    ratios: Ratios
    position: Position
    call: int
    inputs: Inputs
    before: RandomState
    _recorded: bool = field(default=False, init=False)
    _ran: bool = field(default=False, init=False)

    @property
    def k(self) -> float:
        return self.model.plan.k

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
        weights = self._weights(self.k)

        def run() -> torch.Tensor:
            return self._pass(weights, self.inputs.forward)

        return self._sharing(run, last=False) if self._recorded else run()

    def dense(self) -> torch.Tensor:
        self._recorded = False
        return self._sharing(partial(self._attempt, self.inputs.forward))

    def _sharing(self, run: Pass, *, last: bool = True) -> torch.Tensor:
        """A pass that takes over what the pruned one has computed already."""
        shared = self.model.shared
        with shared.replaying(last=last):
            prediction = run()
        return run() if shared.mistaken() else prediction

    def both(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        if self.inputs.doubled is None:
            return None
        pruned, dense = self._pass(self._weights(1.0), self.inputs.doubled, half=True).chunk(2)
        return pruned, dense

    def amplified(self, pruned: torch.Tensor, dense: torch.Tensor) -> torch.Tensor:
        return amplify(pruned, dense, self.k)

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
        ran, self._ran = self._ran, False
        return ran and self.before.restore()
