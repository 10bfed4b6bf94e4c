"""One run, from the start to the end of a sampler call: what the host takes for each of the UNet's predictions."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from crdiff.errors import CRDiffError
from crdiff.guidance.access import ModelAccess, WeightsIdentity
from crdiff.guidance.capture import Backend
from crdiff.guidance.graphs import Arguments, StepGraphs
from crdiff.guidance.live_weights import LiveWeights
from crdiff.guidance.prepared import Adaptation, Applied, PreparedModel
from crdiff.guidance.random_state import RandomState, RandomWatch
from crdiff.guidance.scaled_attention import ScaledAttention
from crdiff.guidance.shared_calls import SharedCalls
from crdiff.guidance.size_conditioning import SizeConditioning
from crdiff.guidance.step import DenoiserStep, Inputs, Pass
from crdiff.method.groups import Ratios
from crdiff.method.schedule import Position
from crdiff.models.architecture import ModelLayers, find_layers
from crdiff.modes.registry import MODES
from crdiff.plan import Plan, Planner
from crdiff.pruning.copies import CopyPolicy
from crdiff.pruning.criterion import Observer
from crdiff.pruning.linear import LayerPatches
from crdiff.pruning.registry import CRITERIA
from crdiff.pruning.store import Store

_log = logging.getLogger("crdiff")

PIXELS_PER_CELL = 64
"""Of an image, for each cell of its latent, in every UNet that CR-Diff supports."""

_NO_STEP = "The sampler called the UNet in no step."
_NO_CALL = "Another extension computed the UNet in every step."
_WATCHED = "The criterion was looking at the layers in every step; the next image is drawn with what it saw."
_TOO_SMALL = "The ratios are too small to leave anything out."
_ZERO_STAGE = "In the steps between start and end all ratios, or k, are 0."


class Run:
    """At every denoiser call the passes of the plan's mode, and their mix; as a context manager, closed at its end.

    The host's hook sets ``position`` and calls ``predict`` in place of every UNet call. A model that cannot be handled
    is drawn dense, and ``refusals`` says why; errors inside a pass are the host's and go through.

    Args:
        planner: makes the plan once the model is known, again whenever its weights change mid-run.
        access: the host's model.
        store: what criteria have gathered of weights seen before; None keeps it for this run only.
        policy: how many copies of pruned weights are kept during the run.
        graphs: what captures steps in graphs, where the host takes its calls apart; None computes every step.
    """

    def __init__(
        self,
        planner: Planner,
        access: ModelAccess,
        store: Store | None = None,
        policy: CopyPolicy = CopyPolicy.AUTO,
        graphs: Backend | None = None,
    ) -> None:
        self._planner = planner
        self._access = access
        self._store = Store() if store is None else store
        self._policy = policy
        self._graphs = graphs
        self._replayed = 0
        self._model: PreparedModel | None = None
        self._refused: tuple[torch.nn.Module, WeightsIdentity] | None = None
        self._mode = MODES[planner.mode]()
        self._inside = False
        self._position = Position(0, 1)
        self._calls = 0
        self.applied: list[Applied] = []
        self.refusals: list[str] = []
        self._steps = self._seen = self._watched = 0
        self._plan: Plan | None = None
        self.adapted: Plan | None = None
        """By which the model was adapted so far, pruned or not; None if it was not."""
        self.amplified = 0
        """How many of the UNet's predictions were amplified so far; 0 where nothing called it through ``predict``."""

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def position(self) -> Position:
        """Where the denoiser call under way stands in the schedule; the host's hook sets it before each."""
        return self._position

    @position.setter
    def position(self, position: Position) -> None:
        self._position = position
        self._calls = 0
        self._steps += 1

    @property
    def replayed(self) -> int:
        """How many predictions were replayed from a graph so far."""
        graphs = None if self._model is None else self._model.graphs
        return self._replayed + (0 if graphs is None else graphs.replayed)

    @property
    def inaction(self) -> str | None:
        """Why no prediction was amplified, as a sentence; None if one was, or if ``refusals`` say why."""
        if self.amplified or self.refusals or self.adapted is not None:
            return None
        if not self._seen:
            return _NO_CALL if self._steps else _NO_STEP
        if self._plan is None:
            return self._planner.window.idle
        if self._plan.idle is not None:
            return self._plan.idle
        return _WATCHED if self._watched else _TOO_SMALL if self.applied else _ZERO_STAGE

    def predict(
        self,
        unet: torch.nn.Module,
        forward: Pass,
        device: torch.device,
        context: torch.Tensor | None = None,
        doubled: Pass | None = None,
        arguments: Arguments | None = None,
        cells: int = 0,
    ) -> torch.Tensor:
        """What the host takes for the UNet's prediction.

        Args:
            unet: the UNet that ``forward`` runs.
            forward: see Inputs, as are ``context``, ``doubled`` and ``arguments``.
            device: where the UNet runs.
            context: of the call.
            doubled: of the call.
            arguments: of the call.
            cells: of each latent that the UNet is given, height times width; 0 leaves self-attention as it is.
        """
        if self._inside:
            return forward()
        self._seen += 1
        if self.position not in self._planner.window:
            return forward()
        self._inside = True
        try:
            return self._predict(unet, Inputs(forward, doubled, context, arguments), device, cells)
        finally:
            self._inside = False

    def _predict(self, unet: torch.nn.Module, inputs: Inputs, device: torch.device, cells: int) -> torch.Tensor:
        try:
            identity = self._access.identity()
        except CRDiffError as refusal:
            self._refuse(str(refusal))
            return inputs.forward()
        if self._refused is not None and self._refused[0] is unet and self._refused[1] == identity:
            return inputs.forward()
        before = RandomState.capture(device, self._access.generators())
        try:
            model = self._prepare(unet, identity, device)
            with model.adapted(cells * PIXELS_PER_CELL):
                prediction = self._amplified(model, inputs, before)
            self.adapted = model.plan if model.adaptations else None
            return prediction
        except CRDiffError as refusal:
            self._refuse(str(refusal))
            self._refused = (unet, identity)
            before.restore()
            return inputs.forward()

    def companion(self, module: torch.nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """A call of a module beside the UNet that every pass makes alike, such as a ControlNet: made once a step."""
        if self._model is None or not self._model.sharing:
            return forward(*args, **kwargs)
        return self._model.shared.companion(module, forward, args, kwargs)

    def _amplified(self, model: PreparedModel, inputs: Inputs, before: RandomState) -> torch.Tensor:
        ratios, k = model.plan.at(self.position.fraction)
        model.enter(ratios, k)
        if k == 0.0 or not any(ratios):
            return inputs.forward()
        watched = self._observe(model, ratios, inputs.forward, before)
        if watched is not None:
            self._watched += 1
            return watched
        self._note(model, ratios, k)
        if model.weights(ratios) is None:
            return inputs.forward()
        call, self._calls = self._calls, self._calls + 1
        step = DenoiserStep(model, ratios, k, self.position, call, inputs, before)
        prediction = step.mixed() if k == 1.0 else self._mode.predict(step)
        self.amplified += 1
        return prediction

    def _observe(self, model: PreparedModel, ratios: Ratios, forward: Pass, before: RandomState) -> torch.Tensor | None:
        """Let the criterion look at the layers; the dense prediction of a call it watched, None when it is done."""
        while (observer := model.observer(ratios)) is not None:
            prediction = self._watched_by(observer, model, forward, before)
            if observer.calls > 1:
                model.observed()
                return prediction
            model.observed()
            before.restore()
        return None

    def _watched_by(self, observer: Observer, model: PreparedModel, forward: Pass, before: RandomState) -> torch.Tensor:
        """The dense prediction; if memory runs out, it is computed once more without anything kept for speed."""
        try:
            with model.patches.observing(observer):
                return forward()
        except torch.cuda.OutOfMemoryError:
            if not model.free_memory():
                raise
        before.restore()
        with model.patches.observing(observer):
            return forward()

    def _prepare(self, unet: torch.nn.Module, identity: WeightsIdentity, device: torch.device) -> PreparedModel:
        known = self._model
        if known is not None and known.live.same(unet, identity):
            return known
        self._release()
        layers = find_layers(unet, self._planner.scope)
        self._plan = plan = self._planner.make(replace(identity.checkpoint, family=layers.family))
        self._store.release(self._planner.criterion)
        live = LiveWeights(unet, layers.prunable, self._access, identity, layers.scope)
        model = PreparedModel(
            model=unet,
            live=live,
            layers=layers,
            plan=plan,
            patches=LayerPatches(unet, layers.layers, self._access.run_layer),
            criterion=CRITERIA[self._planner.criterion].make(live.state, self._store),
            shared=SharedCalls(unet, layers.architecture, RandomWatch(device, self._access.generators).drawn),
            policy=self._policy,
            adaptations=_adaptations(unet, layers, plan),
            graphs=None if self._graphs is None else StepGraphs(unet, device, self._graphs),
        )
        self._model = model
        model.install()
        return model

    def _note(self, model: PreparedModel, ratios: Ratios, k: float) -> None:
        last = self.applied[-1] if self.applied else None
        if last is not None and last.plan is model.plan and last.ratios == ratios:
            return
        sparsity = model.criterion.sparsity(ratios)
        self.applied.append(Applied(model.layers.family, model.plan, ratios, sparsity, model.criterion.basis))
        shares = ", ".join(f"{group} {found.sparsity:.2%}" for group, found in sparsity.items()) or "nothing"
        _log.info("%s, %s: pruned %s, k %g", model.layers.family.label, model.plan.origin, shares, k)

    def _refuse(self, reason: str) -> None:
        self._release()
        if reason not in self.refusals:
            self.refusals.append(reason)
            _log.warning("%s The image is drawn without CR-Diff.", reason)

    def _release(self) -> None:
        self._mode = MODES[self._planner.mode]()
        if self._model is not None:
            self._replayed = self.replayed
            self._model.remove()
            self._model = None

    def close(self) -> None:
        """Remove every patch and forget the model."""
        self._release()
        self._refused = None


def _adaptations(unet: torch.nn.Module, layers: ModelLayers, plan: Plan) -> list[Adaptation]:
    found: list[Adaptation] = []
    if plan.attention is not None:
        found.append(ScaledAttention(layers.prunable, plan.attention))
    if plan.told is not None:
        found.append(SizeConditioning(unet, plan.told))
    return found
