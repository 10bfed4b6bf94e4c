"""One sampling run: at every denoiser call the dense and the pruned pass, and their mix."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from crdiff.errors import CRDiffError, UnsupportedModelError
from crdiff.model.family import Family
from crdiff.model.layers import UNetLayers, find_layers
from crdiff.pruning.cache import ProfileCache, WeightsState, fingerprint
from crdiff.pruning.criterion import Criterion, MagnitudeCriterion
from crdiff.pruning.override import LayerOverrides
from crdiff.pruning.profile import Threshold
from crdiff.pruning.ratios import Ratios
from crdiff.sampling.access import ModelAccess, WeightsIdentity
from crdiff.sampling.plan import Plan, Planner
from crdiff.sampling.poa import amplify
from crdiff.sampling.random_state import RandomState
from crdiff.sampling.window import Position, StepWindow

_log = logging.getLogger("crdiff")

Forward = Callable[[], torch.Tensor]
MakeCriterion = Callable[[WeightsState, ProfileCache], Criterion]


@dataclass(frozen=True)
class Applied:
    """What a run did with one model, for the infotext and the log."""

    family: Family
    plan: Plan
    ratios: Ratios
    thresholds: Mapping[str, Threshold]


@dataclass(frozen=True)
class _Model:
    """A UNet with the weights it has now."""

    unet: torch.nn.Module
    identity: WeightsIdentity
    layers: UNetLayers
    plan: Plan
    overrides: LayerOverrides
    criterion: Criterion


class SamplingRun:
    """Runs from the start to the end of one sampler call; ``close`` leaves the model as it was.

    The host's hook calls ``predict`` in place of every UNet call. A model that cannot be handled is drawn dense, and
    ``refusals`` says why; errors inside a pass are the host's and go through.

    Args:
        planner: makes the plan once the model is known, again whenever its weights change mid-run.
        window: the part of the schedule to act in.
        access: the host's model.
        cache: profiles of weights seen before.
        make_criterion: what decides which weights are pruned.
    """

    def __init__(
        self,
        planner: Planner,
        window: StepWindow,
        access: ModelAccess,
        cache: ProfileCache,
        make_criterion: MakeCriterion = MagnitudeCriterion,
    ) -> None:
        self._planner = planner
        self._window = window
        self._access = access
        self._cache = cache
        self._make_criterion = make_criterion
        self._model: _Model | None = None
        self._refused: tuple[torch.nn.Module, WeightsIdentity] | None = None
        self._inside = False
        self.position = Position(0, 1)
        self.applied: list[Applied] = []
        self.refusals: list[str] = []

    def predict(self, unet: torch.nn.Module, forward: Forward, device: torch.device) -> torch.Tensor:
        """What the host shall take for the UNet's prediction.

        Args:
            unet: the UNet that ``forward`` runs.
            forward: one pass on the step's inputs; each call must start from the same inputs.
            device: where the UNet runs.
        """
        if self._inside or self.position not in self._window:
            return forward()
        self._inside = True
        try:
            return self._predict(unet, forward, device)
        finally:
            self._inside = False

    def _predict(self, unet: torch.nn.Module, forward: Forward, device: torch.device) -> torch.Tensor:
        try:
            identity = self._access.identity()
        except CRDiffError as refusal:
            self._refuse(str(refusal))
            return forward()
        if self._refused is not None and self._refused[0] is unet and self._refused[1] == identity:
            return forward()
        before = RandomState.capture(device, self._access.generators())
        try:
            model = self._prepare(unet, identity)
            if model.plan.k == 0.0:
                return forward()
            pruned = self._pruned_pass(model, forward, before)
        except CRDiffError as refusal:
            self._refuse(str(refusal))
            self._refused = (unet, identity)
            before.restore()
            return forward()
        if pruned is None:
            return forward()
        if model.plan.k == 1.0:
            return pruned
        # The dense pass comes last: hosts and extensions that keep something from a pass (SAG's attention map,
        # the random state) then keep what they would without CR-Diff.
        before.restore()
        return amplify(pruned, forward(), model.plan.k)

    def _prepare(self, unet: torch.nn.Module, identity: WeightsIdentity) -> _Model:
        model = self._model
        if model is not None and model.unet is unet and model.identity == identity:
            return model
        self._release()
        layers = find_layers(unet)
        plan = self._planner(layers.family, identity.sha256)
        stored = fingerprint(self._access.stored_weight(layer.module) for layer in layers.layers)
        state = WeightsState(identity.checkpoint, identity.precision, identity.modifiers, stored)
        overrides = LayerOverrides(layers.layers, self._access.run_layer)
        model = _Model(unet, identity, layers, plan, overrides, self._make_criterion(state, self._cache))
        overrides.install()
        self._model = model
        return model

    def _pruned_pass(self, model: _Model, forward: Forward, before: RandomState) -> torch.Tensor | None:
        """The pruned prediction, None if the ratios prune nothing."""
        ratios = model.plan.schedule.at(self.position.fraction)
        if not any(ratios):
            return None
        while (observer := model.criterion.observer(ratios)) is not None:
            with model.overrides.applying(observer):
                forward()
            observer.finish(len(model.layers.layers))
            before.restore()
        self._note(model, ratios)
        pruning = model.criterion.pruning(ratios)
        if pruning is None:
            return None
        with model.overrides.applying(pruning):
            prediction = forward()
        if model.overrides.used == 0:
            raise UnsupportedModelError(
                "CR-Diff found none of the UNet's layers running: another extension computes the UNet in its place."
            )
        return prediction

    def _note(self, model: _Model, ratios: Ratios) -> None:
        last = self.applied[-1] if self.applied else None
        if last is not None and last.plan is model.plan and last.ratios == ratios:
            return
        thresholds = model.criterion.thresholds(ratios)
        self.applied.append(Applied(model.layers.family, model.plan, ratios, thresholds))
        sparsity = ", ".join(f"{group} {found.sparsity:.2%}" for group, found in thresholds.items())
        _log.info("%s, %s: pruned %s, k %g", model.layers.family.label, model.plan.origin, sparsity, model.plan.k)

    def _refuse(self, reason: str) -> None:
        self._release()
        if reason not in self.refusals:
            self.refusals.append(reason)
            _log.warning("%s The picture is drawn without CR-Diff.", reason)

    def _release(self) -> None:
        if self._model is not None:
            self._model.overrides.remove()
            self._model = None

    def close(self) -> None:
        """Remove every override and forget the model."""
        self._release()
        self._refused = None
