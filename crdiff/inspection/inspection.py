"""What pruning ratios come to in a checkpoint file, read piece by piece and without building the model."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from crdiff.errors import PresetError, UnsupportedModelError
from crdiff.method.groups import GROUPS, Ratios
from crdiff.models.architecture import family_of, names_by_group
from crdiff.models.checkpoint import read_layer_shapes
from crdiff.models.family import Family
from crdiff.presets.lookup import Match, look_up
from crdiff.presets.size import Size
from crdiff.presets.table import BUILT_IN_FOLDER, load_folder
from crdiff.pruning.histogram import DetailBuilder, MagnitudeProfile, ProfileBuilder, Threshold

_MAPPED_BYTES = 32 << 20
_HASH_BLOCK = 1 << 20

Names = Mapping[str, list[str]]


@dataclass(frozen=True)
class Inspection:
    """What ratios come to in one checkpoint.

    Attributes:
        checkpoint: name of the file.
        family: its family.
        ratios: the ratios.
        preset: the look-up the ratios come from; None if they were given.
        layers: number of pruned layers, by group.
        thresholds: threshold and counts, by group.
    """

    checkpoint: str
    family: Family
    ratios: Ratios
    preset: Match | None
    layers: Mapping[str, int]
    thresholds: Mapping[str, Threshold]


def inspect_ratios(path: Path, ratios: Ratios) -> Inspection:
    """What ``ratios`` come to in a checkpoint.

    Raises:
        UnsupportedModelError: the file cannot be read, or holds no UNet that CR-Diff prunes.
    """
    shapes = read_layer_shapes(path)
    return _inspect(path, shapes, ratios, None)


def inspect_size(path: Path, size: Size, *, hashed: bool) -> Inspection:
    """What the built-in preset of a picture size comes to in a checkpoint.

    Args:
        path: the checkpoint.
        size: the picture size; one without a preset gets an estimate.
        hashed: whether to look the preset up by the file's sha256 as well, which reads the whole file.

    Raises:
        PresetError: there are no presets for the checkpoint's family.
        UnsupportedModelError: the file cannot be read, or holds no UNet that CR-Diff prunes.
    """
    shapes = read_layer_shapes(path)
    family = family_of(shapes)
    match = look_up(load_folder(BUILT_IN_FOLDER).presets, family, _sha256(path) if hashed else None, size)
    if match is None:
        raise PresetError(f"{path.name}: there is no preset for its family ({family.label}); give ratios instead.")
    return _inspect(path, shapes, match.ratios, match)


def _inspect(path: Path, shapes: Mapping[str, tuple[int, ...]], ratios: Ratios, preset: Match | None) -> Inspection:
    names = names_by_group(shapes)
    try:
        thresholds = _count(path, names, ratios).thresholds(ratios)
    except (SafetensorError, OSError) as error:
        raise UnsupportedModelError(f"{path.name} cannot be read to its end ({error}).") from None
    for group, found in thresholds.items():
        if found.value is not None and not math.isfinite(found.value):
            raise UnsupportedModelError(f"{path.name}: too many weights of the {group} blocks are not finite.")
    layers = {group: len(names[group]) for group in GROUPS}
    return Inspection(path.name, family_of(shapes), ratios, preset, layers, thresholds)


def _count(path: Path, names: Names, ratios: Ratios) -> MagnitudeProfile:
    builder = ProfileBuilder()
    for group, weight in _weights(path, names):
        builder.add(group, weight)
    profile = builder.build()
    if bins := profile.missing_bins(ratios):
        detail = DetailBuilder(bins)
        for group, weight in _weights(path, {group: names[group] for group in bins}):
            detail.add(group, weight)
        profile = detail.complete(profile)
    return profile


def _weights(path: Path, names: Names) -> Iterator[tuple[str, torch.Tensor]]:
    """Each layer's group and weight. No weight must be kept: it keeps its part of the file in memory."""
    left = [(group, name) for group in GROUPS for name in names.get(group, ())]
    while left:
        # An open file stays mapped, and every page read from it counts as memory in use until it is closed.
        with safe_open(str(path), framework="pt") as file:
            mapped = 0
            while left and mapped < _MAPPED_BYTES:
                group, name = left.pop(0)
                weight = file.get_tensor(f"{name}.weight")
                mapped += weight.numel() * weight.element_size()
                yield group, weight
                del weight


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def to_json(inspection: Inspection) -> str:
    """The inspection as a JSON object; a group that nothing is pruned of has the threshold null."""
    preset = inspection.preset
    groups = {
        group: {
            "layers": inspection.layers[group],
            "weights": found.weights,
            "threshold": found.value,
            "pruned": found.pruned,
            "sparsity": found.sparsity,
        }
        for group, found in inspection.thresholds.items()
    }
    document = {
        "family": inspection.family.value,
        "ratios": {group: inspection.ratios[group] for group in GROUPS},
        "preset": preset and {"size": str(preset.size), "origin": preset.describe(), "estimated": preset.estimated},
        "groups": groups,
    }
    return json.dumps(document, indent=2, allow_nan=False)


def to_text(inspection: Inspection) -> str:
    """The inspection as a table."""
    origin = "as given"
    if inspection.preset is not None:
        origin = inspection.preset.describe()
        if inspection.preset.estimated:
            origin = f"estimated: {origin}"
    lines = [
        f"{inspection.checkpoint}: {inspection.family.label}",
        f"ratios {inspection.ratios} (down/mid/up), {origin}",
        f"{'group':<5} {'layers':>6} {'weights':>13} {'threshold':>12} {'pruned':>13} {'sparsity':>8}",
    ]
    for group, found in inspection.thresholds.items():
        lines.append(_row(group, inspection.layers[group], found))
    total = Threshold(
        None,
        sum(found.pruned for found in inspection.thresholds.values()),
        sum(found.weights for found in inspection.thresholds.values()),
    )
    lines.append(_row("all", sum(inspection.layers.values()), total))
    return "\n".join(lines)


def _row(label: str, layers: int, found: Threshold) -> str:
    threshold = "-" if found.value is None else f"{found.value:.6g}"
    return f"{label:<5} {layers:>6} {found.weights:>13,} {threshold:>12} {found.pruned:>13,} {found.sparsity:>8.2%}"
