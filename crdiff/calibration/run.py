"""A run in which nothing is pruned: the model draws as without CR-Diff, and a calibration watches its layers.

How a host calibrates a model::

    calibration = Calibration()
    for ...:                              # ordinary images, at the model's native size
        with CalibrationRun(calibration, host.access()) as run, host.hooked(run):
            ...                           # one call of the sampler
        run.refusals                      # why nothing could be watched, if anything stood in the way
    for state, gathering in calibration.gatherings.items():
        calibrations.put(state, gathering.statistics({"images": "16", "size": "1024x1024", ...}))
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch

from crdiff.calibration.denoising import Denoising, UNetCall
from crdiff.calibration.gathering import Gathering
from crdiff.calibration.memory import Input, fitting, hessian_bytes, working_bytes
from crdiff.errors import CRDiffError
from crdiff.guidance.access import ModelAccess
from crdiff.guidance.graphs import Arguments
from crdiff.guidance.live_weights import LiveWeights
from crdiff.guidance.random_state import RandomState
from crdiff.guidance.step import Pass
from crdiff.method.schedule import Position
from crdiff.models.architecture import Layer, find_layers
from crdiff.patching import Original, Patch
from crdiff.pruning.hessian import Matrices
from crdiff.pruning.linear import LayerPatches
from crdiff.pruning.statistics import Statistics
from crdiff.pruning.store import WeightsState

_log = logging.getLogger("crdiff")


_STEPS = 5
"""Of so many steps of an image gradients are taken at one."""
_FIRST_STEP, _LAST_STEP = 1.2, 0.8


def step_weight(position: Position) -> float:
    """How much the tokens of a step count in Hessians: from 1.2 in the first to 0.8 in the last step, by the logarithm
    of how many are left (OBS-Diff's ``log_decrease``); 1 where there is but one.
    """
    if position.total <= 1:
        return 1.0
    left = max(position.total - max(position.step, 0), 1)
    return _LAST_STEP + (_FIRST_STEP - _LAST_STEP) * math.log(left) / math.log(position.total)


@dataclass
class Calibration:
    """What several runs gather together; of a job that changes its model, such as to a refiner, for each apart.

    Attributes:
        hessians: the groups whose Hessians are wanted; those that fit into free memory are gathered, see Gathering.
        by_step: whether the tokens of early steps count for more in Hessians, see ``step_weight``.
        differentiated: whether gradients are wanted, see ``CalibrationRun.differentiate``.
        gatherings: by the state of the weights.
        calls: denoiser calls that were watched.
        images: runs that were differentiated.
    """

    hessians: Collection[str] = ()
    by_step: bool = False
    differentiated: bool = False
    gatherings: dict[WeightsState, Gathering] = field(default_factory=dict)
    calls: int = 0
    images: int = 0

    def gathering(self, state: WeightsState, layers: Sequence[Layer], device: torch.device) -> Gathering:
        """Where the sums of this state of the weights are gathered."""
        if state not in self.gatherings:
            inputs = [Input.of(layer.name, layer.group, layer.features[1]) for layer in layers]
            wanted = {group: size for group, size in hessian_bytes(inputs).items() if group in self.hessians}
            self.gatherings[state] = Gathering(fitting(wanted, working_bytes(inputs), device))
        return self.gatherings[state]


class Gathered:
    """See CalibrationSource: what a calibration has gathered, kept nowhere else, with whole Hessians if it has any.

    Args:
        calibration: that is over.
        made: see Statistics.
        gradients: see Statistics.
    """

    def __init__(self, calibration: Calibration, made: Mapping[str, str], gradients: Matrices | None = None) -> None:
        self._found: dict[WeightsState, Statistics] = {}
        for state, gathering in calibration.gatherings.items():
            found = replace(gathering.statistics(made), hessians=gathering.whole() if gathering.hessians else None)
            self._found[state] = found if gradients is None else found.with_gradients(gradients)

    def of(self, state: WeightsState) -> Statistics | None:
        return self._found.get(state)


@dataclass(frozen=True)
class _Watched:
    """A model whose layers are watched."""

    unet: torch.nn.Module
    live: LiveWeights
    patches: LayerPatches
    blocks: dict[str, torch.nn.Module]
    gathering: Gathering


class CalibrationRun:
    """One sampler call, as ``Run`` is one; what the UNet predicts is the host's own.

    Args:
        calibration: gathers.
        access: the host's model.
    """

    def __init__(self, calibration: Calibration, access: ModelAccess) -> None:
        self._calibration, self._access = calibration, access
        self._watched: _Watched | None = None
        self._inside = False
        self._calls: list[UNetCall] = []
        self.position = Position(0, 1)
        self.refusals: list[str] = []

    def __enter__(self) -> CalibrationRun:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

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
        """The UNet's prediction; see ``Run.predict``."""
        if self._inside or self.refusals:
            return forward()
        self._inside = True
        before = RandomState.capture(device, self._access.generators())
        try:
            watched = self._watch(unet, device)
            watched.gathering.weight = step_weight(self.position) if self._calibration.by_step else 1.0
            with watched.patches.observing(watched.gathering), _watching_blocks(watched), self._noting(unet):
                prediction = forward()
            watched.gathering.end_pass()
            self._calibration.calls += 1
            return prediction
        except CRDiffError as refusal:
            self.refusals.append(str(refusal))
            _log.warning("%s The model is not calibrated.", refusal)
            self.close()
            before.restore()
            return forward()
        finally:
            self._inside = False

    def companion(self, module: torch.nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """A call of a module beside the UNet; see ``Run.companion``."""
        return forward(*args, **kwargs)

    @contextmanager
    def _noting(self, unet: torch.nn.Module) -> Iterator[None]:
        """Keep what the UNet is called with, at the steps whose gradients are wanted."""
        every = min(_STEPS, max(self.position.total, 1))
        if not self._calibration.differentiated or (self.position.step - self._calibration.images) % every:
            yield
            return

        def noted(forward: Original, *args: Any, **kwargs: Any) -> Any:
            self._calls.append(UNetCall(args, dict(kwargs)))
            return forward(*args, **kwargs)

        patch = Patch(unet, "forward", noted)
        try:
            yield
        finally:
            patch.remove()

    def differentiate(self, images: torch.Tensor, denoising: Denoising) -> None:
        """Add the gradients of the denoising loss on what this run has drawn, at one of five of its steps, in each run
        others.

        Args:
            images: (n, channels, height, width) latents.
            denoising: what the UNet has been trained for.

        Raises:
            CRDiffError: there is not enough memory, or a layer's weight cannot be reached.
        """
        if self._watched is None:
            return
        self._inside = True
        unet, watched, seed = self._watched.unet, self._watched, self._calibration.images
        self._calibration.images += 1
        before = RandomState.capture(images.device, self._access.generators())
        try:
            for call in self._calls:
                watched.gathering.gradients.gather(
                    unet, watched.patches, partial(call.loss, unet, images, denoising, seed)
                )
        finally:
            before.restore()
            self._inside = False
            self._calls.clear()

    def _watch(self, unet: torch.nn.Module, device: torch.device) -> _Watched:
        identity, known = self._access.identity(), self._watched
        if known is not None and known.live.same(unet, identity):
            return known
        self.close()
        layers = find_layers(unet).prunable
        live = LiveWeights(unet, layers, self._access, identity)
        gathering = self._calibration.gathering(live.state, layers, device)
        blocks = {layer.block: unet.get_submodule(layer.block) for layer in layers if layer.block}
        patches = LayerPatches(unet, layers, self._access.run_layer)
        self._watched = _Watched(unet, live, patches, blocks, gathering)
        live.install()
        patches.install()
        return self._watched

    def close(self) -> None:
        """Remove every patch and forget the model."""
        if self._watched is not None:
            self._watched.live.remove()
            self._watched.patches.remove()
            self._watched = None


@contextmanager
def _watching_blocks(watched: _Watched) -> Iterator[None]:
    with ExitStack() as patches:
        for name, block in watched.blocks.items():
            patch = Patch(block, "forward", partial(_seen_block, watched.gathering, name))
            patches.callback(patch.remove)
        yield


def _seen_block(gathering: Gathering, name: str, forward: Original, *args: Any, **kwargs: Any) -> Any:
    """A transformer block's forward; its first argument is its input."""
    result = forward(*args, **kwargs)
    if args and isinstance(args[0], torch.Tensor) and isinstance(result, torch.Tensor):
        gathering.see_block(name, args[0], result)
    return result
