"""The passes of one denoiser call, each from the same inputs and the same random state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from crdiff.errors import UnsupportedModelError
from crdiff.guidance.prepared import PreparedModel
from crdiff.guidance.random_state import RandomState
from crdiff.method.amplify import amplify
from crdiff.method.groups import Ratios
from crdiff.pruning.copies import KeptWeights

Forward = Callable[[], torch.Tensor]


@dataclass(frozen=True)
class Step:
    """One denoiser call.

    Attributes:
        model: what runs.
        ratios: in force at this call; they prune something.
        forward: one pass on the call's inputs.
        before: the random state that every pass starts from.
    """

    model: PreparedModel
    ratios: Ratios
    forward: Forward
    before: RandomState

    def exact(self, k: float) -> torch.Tensor:
        """``k * pruned + (1 - k) * dense`` (paper eq. 2) by two passes; by one at k = 1."""
        if k == 1.0:
            return self.with_weights(1.0)
        pruned = self._first()
        return amplify(pruned, self._dense(), k)

    def exact_and_mixed(self, k: float) -> tuple[torch.Tensor, torch.Tensor]:
        """What ``exact`` and ``with_weights`` give at this k, by three passes."""
        pruned = self._first()
        with self.model.shared.replaying(last=False):
            mixed = self.with_weights(k)
        return amplify(pruned, self._dense(), k), mixed

    def batched(self, k: float, doubled: Forward) -> torch.Tensor:
        """``exact`` by one pass of twice the rows, the pruned ones first; rounds as other batch sizes do."""
        pruned, dense = self._pass(self._weights(1.0), doubled, half=True).chunk(2)
        return amplify(pruned, dense, k)

    def with_weights(self, k: float) -> torch.Tensor:
        """One pass with the weights ``k * pruned + (1 - k) * dense``."""
        return self._pass(self._weights(k), self.forward)

    def _weights(self, k: float) -> KeptWeights:
        weights = self.model.weights(self.ratios, k)
        assert weights is not None, "these ratios prune nothing"
        return weights

    def _pass(self, weights: KeptWeights, forward: Forward, *, half: bool = False) -> torch.Tensor:
        weights.next_pass()

        def changed() -> torch.Tensor:
            with self.model.overrides.applying(weights, half=half):
                return forward()

        prediction = self._attempt(changed)
        if self.model.overrides.used == 0:
            raise UnsupportedModelError(
                "CR-Diff found none of the UNet's layers running: another extension computes the UNet in its place."
            )
        return prediction

    def _first(self) -> torch.Tensor:
        weights = self._weights(1.0)
        self.model.share(weights)
        with self.model.shared.recording():
            return self._pass(weights, self.forward)

    def _dense(self) -> torch.Tensor:
        # The dense pass comes last: hosts and extensions that keep something from a pass (SAG's attention map,
        # the random state) then keep what they would without CR-Diff.
        with self.model.shared.replaying():
            return self._attempt(self.forward)

    def _attempt(self, run: Forward) -> torch.Tensor:
        """A pass; should memory run out, it is run once more without anything kept for speed."""
        self.before.restore()
        try:
            return run()
        except torch.cuda.OutOfMemoryError:
            if not self.model.free_memory():
                raise
        self.before.restore()
        return run()
