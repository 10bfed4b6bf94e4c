"""What pruning ratios come to in a checkpoint file, read piece by piece and without building the model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from crdiff.errors import PresetError, UnsupportedModelError
from crdiff.files import sha256_of
from crdiff.method.groups import GROUPS, Ratios
from crdiff.method.schedule import Schedule
from crdiff.models.architecture import Layer
from crdiff.models.checkpoint_file import FileLayers, read_layers
from crdiff.models.family import Family
from crdiff.models.scope import Scope
from crdiff.presets.built_in import BUILT_IN_FOLDER, load_folder
from crdiff.presets.lookup import Match, look_up
from crdiff.presets.size import Size
from crdiff.pruning.calibrations import MissingCalibrationError
from crdiff.pruning.criterion import GroupSparsity, LinearCall, Observer
from crdiff.pruning.registry import CRITERIA, DEFAULT_CRITERION
from crdiff.pruning.store import Store, WeightsState

_MAPPED_BYTES = 32 << 20


@dataclass(frozen=True)
class Inspection:
    """What ratios come to in one checkpoint.

    Attributes:
        checkpoint: name of the file.
        family: its family.
        schedule: the ratios, over the steps.
        preset: the look-up the ratios come from; None if they were given.
        layers: number of layers that may be pruned, by group.
        stages: of each stage, threshold and counts by group.
        criterion: what decides which weights are pruned.
    """

    checkpoint: str
    family: Family
    schedule: Schedule
    preset: Match | None
    layers: Mapping[str, int]
    stages: tuple[Mapping[str, GroupSparsity], ...]
    criterion: str = DEFAULT_CRITERION

    @property
    def ratios(self) -> Ratios:
        """The ratios of the first stage."""
        return self.schedule.first

    @property
    def sparsity(self) -> Mapping[str, GroupSparsity]:
        """Threshold and counts of the first stage."""
        return self.stages[0]


def inspect_ratios(
    path: Path,
    ratios: Ratios | Schedule,
    *,
    criterion: str = DEFAULT_CRITERION,
    scope: Scope = Scope(),  # noqa: B008 (frozen)
) -> Inspection:
    """What ``ratios`` come to in a checkpoint.

    Args:
        path: the checkpoint.
        ratios: the ratios, at every step or over the steps.
        criterion: what decides which weights are pruned, a name in ``CRITERIA``.
        scope: which layers are pruned, and what shares a threshold.

    Raises:
        UnsupportedModelError: the file cannot be read, or holds no model that CR-Diff prunes, or the criterion has to
            see the model at work.
    """
    schedule = ratios if isinstance(ratios, Schedule) else Schedule.constant(ratios)
    return _inspect(path, read_layers(path), schedule, None, criterion, scope)


def inspect_size(
    path: Path,
    size: Size,
    *,
    hashed: bool,
    criterion: str = DEFAULT_CRITERION,
    scope: Scope = Scope(),  # noqa: B008 (frozen)
) -> Inspection:
    """What the built-in preset of an image size comes to in a checkpoint.

    Args:
        path: the checkpoint.
        size: the image size; one without a preset gets an estimate.
        hashed: whether to look the preset up by the file's sha256 as well, which reads the whole file.
        criterion: see ``inspect_ratios``.
        scope: see ``inspect_ratios``.

    Raises:
        PresetError: there are no presets for the checkpoint's family.
        UnsupportedModelError: see ``inspect_ratios``.
    """
    found = read_layers(path)
    sha256 = sha256_of(path) if hashed else None
    match = look_up(load_folder(BUILT_IN_FOLDER).presets, found.family, sha256, size, criterion, scope)
    if match is None:
        within = scope.within(found.family)
        wanted = f"the criterion {criterion}" + ("" if within == Scope() else f", {within}")
        raise PresetError(
            f"{path.name}: there is no preset for its family ({found.family.label}) and {wanted}; give ratios instead."
        )
    return _inspect(path, found, match.schedule, match, criterion, scope)


def _inspect(
    path: Path, found: FileLayers, schedule: Schedule, preset: Match | None, criterion: str, scope: Scope
) -> Inspection:
    if found.quantised:
        raise UnsupportedModelError(
            f"{path.name} is stored as {' and '.join(found.quantised)}: its numbers are not the weights it draws with, "
            "which CR-Diff counts in the WebUI; inspect it without ratios."
        )
    layers = found.layers(scope)
    unseen = UnsupportedModelError(f"{criterion} has to see the model draw; a file is not enough.")
    try:
        deciding = CRITERIA[criterion].make(WeightsState(str(path), "file", (), ""), Store())
    except MissingCalibrationError:
        raise unseen from None
    weights = {group: sum(math.prod(layer.shape) for layer in layers if layer.group == group) for group in GROUPS}
    none_left_out = {group: GroupSparsity(weights[group], 0) for group in GROUPS}
    stages = []
    for stage in schedule.stages:
        try:
            while (observer := deciding.observer(stage.ratios)) is not None:
                if observer.calls > 1:
                    raise unseen
                _show(path, layers, observer)
                observer.finish(len(layers))
        except (SafetensorError, OSError) as error:
            raise UnsupportedModelError(f"{path.name} cannot be read to its end ({error}).") from None
        stages.append(deciding.sparsity(stage.ratios) or none_left_out)
        for group, one in stages[-1].items():
            if one.threshold is not None and not math.isfinite(one.threshold):
                raise UnsupportedModelError(f"{path.name}: too many weights of the {group} blocks are not finite.")
    counts = {group: sum(layer.group == group for layer in layers) for group in GROUPS}
    return Inspection(path.name, found.family, schedule, preset, counts, tuple(stages), criterion)


def _show(path: Path, layers: list[Layer], observer: Observer) -> None:
    wanted = [layer for layer in layers if observer.wants(layer)]
    for layer, weight in _weights(path, wanted):
        observer.see(LinearCall(layer, weight).part())


def _weights(path: Path, layers: list[Layer]) -> Iterator[tuple[Layer, torch.Tensor]]:
    """Each layer and its weight. No weight must be kept: it keeps its part of the file in memory."""
    left = list(reversed(layers))
    while left:
        # An open file stays mapped, and every page read from it counts as memory in use until it is closed.
        with safe_open(str(path), framework="pt") as file:
            mapped = 0
            while left and mapped < _MAPPED_BYTES:
                layer = left.pop()
                weight = file.get_tensor(f"{layer.name}.weight")
                mapped += weight.numel() * weight.element_size()
                yield layer, weight
                del weight
