"""One sampling run: at every denoiser call the dense and the pruned pass, and their mix."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch

from crdiff.errors import CRDiffError
from crdiff.guidance.access import ModelAccess, WeightsIdentity
from crdiff.guidance.prepared import Applied, PreparedModel
from crdiff.guidance.random_state import RandomState, RandomWatch
from crdiff.guidance.shared_calls import SharedCalls
from crdiff.guidance.step import Forward, Step
from crdiff.method.groups import Ratios
from crdiff.method.schedule import Position, StepWindow
from crdiff.models.architecture import find_layers
from crdiff.modes.balanced import Residuals
from crdiff.modes.mode import Execution, Mode
from crdiff.plan import Planner
from crdiff.pruning.criterion import Criterion, MagnitudeCriterion
from crdiff.pruning.linear import LayerOverrides
from crdiff.pruning.store import ProfileCache, WeightsState, fingerprint

_log = logging.getLogger("crdiff")

MakeCriterion = Callable[[WeightsState, ProfileCache], Criterion]


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
        execution: how the amplified prediction is computed.
    """

    def __init__(
        self,
        planner: Planner,
        window: StepWindow,
        access: ModelAccess,
        cache: ProfileCache,
        make_criterion: MakeCriterion = MagnitudeCriterion,
        execution: Execution = Execution(),  # noqa: B008 (frozen)
    ) -> None:
        self._planner = planner
        self._window = window
        self._access = access
        self._cache = cache
        self._make_criterion = make_criterion
        self._execution = execution
        self._model: PreparedModel | None = None
        self._refused: tuple[torch.nn.Module, WeightsIdentity] | None = None
        self._residuals = Residuals(execution.refresh)
        self._inside = False
        self._position = Position(0, 1)
        self._calls = 0
        self.applied: list[Applied] = []
        self.refusals: list[str] = []

    @property
    def position(self) -> Position:
        """Where the denoiser call under way stands in the schedule; the host's hook sets it before each."""
        return self._position

    @position.setter
    def position(self, position: Position) -> None:
        self._position = position
        self._calls = 0

    def predict(
        self, unet: torch.nn.Module, forward: Forward, device: torch.device, context: torch.Tensor | None = None,
        doubled: Forward | None = None,
    ) -> torch.Tensor:  # fmt: skip
        """What the host shall take for the UNet's prediction.

        Args:
            unet: the UNet that ``forward`` runs.
            forward: one pass on the step's inputs; each call must start from the same inputs.
            device: where the UNet runs.
            context: the conditioning, (batch, tokens, width), by which a change of prompt is noticed.
            doubled: one pass on the step's inputs with all rows repeated, in their order, after themselves.
        """
        if self._inside or self.position not in self._window:
            return forward()
        self._inside = True
        try:
            return self._predict(unet, forward, device, context, doubled)
        finally:
            self._inside = False

    def _predict(
        self, unet: torch.nn.Module, forward: Forward, device: torch.device, context: torch.Tensor | None,
        doubled: Forward | None,
    ) -> torch.Tensor:  # fmt: skip
        try:
            identity = self._access.identity()
        except CRDiffError as refusal:
            self._refuse(str(refusal))
            return forward()
        if self._refused is not None and self._refused[0] is unet and self._refused[1] == identity:
            return forward()
        before = RandomState.capture(device, self._access.generators())
        try:
            model = self._prepare(unet, identity, device)
            if model.plan.k == 0.0:
                return forward()
            step = self._step(model, forward, before)
            if step is None:
                return forward()
            return self._amplified(step, context, doubled)
        except CRDiffError as refusal:
            self._refuse(str(refusal))
            self._refused = (unet, identity)
            before.restore()
            return forward()

    def companion(self, module: torch.nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """A call of a module beside the UNet that every pass makes alike, such as a ControlNet: made once a step."""
        if self._model is None or not self._model.sharing:
            return forward(*args, **kwargs)
        return self._model.shared.companion(module, forward, args, kwargs)

    def _amplified(self, step: Step, context: torch.Tensor | None, doubled: Forward | None) -> torch.Tensor:
        k, mode = step.model.plan.k, self._execution.mode
        call, self._calls = self._calls, self._calls + 1
        if mode is Mode.FAST:
            return step.with_weights(k)
        if mode is Mode.BALANCED and k != 1.0:
            return self._residuals.predict(step, k, self.position, call, context)
        if mode is Mode.BATCHED and k != 1.0 and doubled is not None:
            return step.batched(k, doubled)
        return step.exact(k)

    def _prepare(self, unet: torch.nn.Module, identity: WeightsIdentity, device: torch.device) -> PreparedModel:
        model = self._model
        if model is not None and model.unet is unet and model.identity == identity:
            return model
        self._release()
        layers = find_layers(unet)
        plan = self._planner(layers.family, identity.sha256)
        stored = fingerprint(self._access.stored_weight(layer.module) for layer in layers.layers)
        state = WeightsState(identity.checkpoint, identity.precision, identity.modifiers, stored)
        overrides = LayerOverrides(layers.layers, self._access.run_layer)
        criterion = self._make_criterion(state, self._cache)
        shared = SharedCalls(unet, RandomWatch(device, self._access.generators).drawn)
        model = PreparedModel(unet, identity, layers, plan, overrides, criterion, shared, self._execution.storage)
        overrides.install()
        self._model = model
        return model

    def _step(self, model: PreparedModel, forward: Forward, before: RandomState) -> Step | None:
        """The call's passes, once the weights are known; None if the ratios prune nothing."""
        ratios = model.plan.schedule.at(self.position.fraction)
        if not any(ratios):
            return None
        while (observer := model.criterion.observer(ratios)) is not None:
            with model.overrides.applying(observer):
                forward()
            observer.finish(len(model.layers.layers))
            before.restore()
        self._note(model, ratios)
        return None if model.weights(ratios) is None else Step(model, ratios, forward, before)

    def _note(self, model: PreparedModel, ratios: Ratios) -> None:
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
        self._residuals = Residuals(self._execution.refresh)
        if self._model is not None:
            self._model.remove()
            self._model = None

    def close(self) -> None:
        """Remove every override and forget the model."""
        self._release()
        self._refused = None
