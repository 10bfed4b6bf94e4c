"""What a checkpoint file holds that CR-Diff can prune, and the presets there are for it; no weight is read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from crdiff.method.groups import GROUPS
from crdiff.models.checkpoint_file import FileLayers, read_layers
from crdiff.models.family import Family
from crdiff.models.scope import Scope
from crdiff.presets.built_in import BUILT_IN_FOLDER, load_folder
from crdiff.presets.table import Preset


@dataclass(frozen=True)
class Overview:
    """A checkpoint file.

    Attributes:
        checkpoint: name of the file.
        family: its family.
        storage: how the layers are stored, the most frequent way first.
        quantised: the ways among them whose stored numbers are not the weights.
        layers: number of layers that may be pruned, by group.
        weights: number of their weights, by group.
        presets: the built-in ones of the family.
    """

    checkpoint: str
    family: Family
    storage: tuple[str, ...]
    quantised: tuple[str, ...]
    layers: Mapping[str, int]
    weights: Mapping[str, int]
    presets: tuple[Preset, ...]


def look_over(path: Path, scope: Scope = Scope()) -> Overview:  # noqa: B008 (frozen)
    """What a file's header tells.

    Args:
        path: the checkpoint.
        scope: which of its layers are pruned.

    Raises:
        UnsupportedModelError: the file cannot be read, or holds no model that CR-Diff prunes.
    """
    found = read_layers(path)
    sizes = {group: _weights(found, group, scope) for group in GROUPS}
    presets = tuple(preset for preset in load_folder(BUILT_IN_FOLDER).presets if preset.family == found.family)
    return Overview(
        path.name,
        found.family,
        found.storage,
        found.quantised,
        {group: len(one) for group, one in sizes.items()},
        {group: sum(one) for group, one in sizes.items()},
        presets,
    )


def _weights(found: FileLayers, group: str, scope: Scope) -> list[int]:
    """The number of weights of each layer of a group."""
    return [math.prod(layer.shape) for layer in found.layers(scope) if layer.group == group]
