"""A checkpoint file seen from its header: the layers, the family and the storage, without reading a weight."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from crdiff.errors import UnreadableModelError, UnsupportedModelError
from crdiff.method.groups import GROUPS
from crdiff.models.architecture import Architecture, Layer, has_own_thresholds, roles_of
from crdiff.models.family import Family
from crdiff.models.role import Role
from crdiff.models.scope import Scope

_FLOATS = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
}
_LENGTH_BYTES = 8
_SCALES = ("scale_weight", "weight_scale", "SCB")
_BITSANDBYTES = ".weight.quant_state.bitsandbytes__"


@dataclass(frozen=True)
class FileLayers:
    """The Linears of a checkpoint file that have a role.

    Attributes:
        shapes: (out, in), by module name; also where quantised weights are stored in another one.
        roles: of them, by module name.
        architecture: that knows them.
        storage: how the pruned ones are stored, such as ``float16``, the most frequent way first.
        quantised: the ways among them whose stored numbers are not the weights.
    """

    shapes: dict[str, tuple[int, int]]
    roles: dict[str, Role]
    architecture: Architecture
    storage: tuple[str, ...] = ()
    quantised: tuple[str, ...] = ()

    @property
    def family(self) -> Family:
        return self.architecture.family(self.shapes)

    def layers(self, scope: Scope) -> list[Layer]:
        """Those that may be pruned, by group; their modules hold no weights."""
        alone = has_own_thresholds(self.family, scope)
        found = []
        for group in GROUPS:
            for name, role in self.roles.items():
                if role.group == group and role.pruned_in(scope.layers):
                    rows, columns = self.shapes[name]
                    module = torch.nn.Linear(columns, rows, bias=False, device="meta")
                    found.append(Layer.of(name, role, module, scope.layers, alone=alone))
        return found


@dataclass(frozen=True)
class _Stored:
    """A weight in the file.

    Attributes:
        shape: (out, in) of the layer.
        way: how it is stored.
        quantised: whether the stored numbers are not the weights.
    """

    shape: tuple[int, ...]
    way: str
    quantised: bool = False


def read_layers(path: Path) -> FileLayers:
    """The Linears with a role, from a safetensors file's header.

    Raises:
        UnreadableModelError: the file cannot be read.
        UnsupportedModelError: it holds no model that CR-Diff prunes.
    """
    if not path.is_file():
        raise UnreadableModelError(f"{path.name}: there is no such file.")
    try:
        header = _Header(path)
        found = roles_of(header.weights())
        stored = {} if found is None else {name: header.stored(name) for name in found[1]}
    except (SafetensorError, OSError, ValueError) as error:
        raise UnreadableModelError(f"{path.name} cannot be read as a safetensors file ({error}).") from None
    linears = {name: weight for name, weight in stored.items() if len(weight.shape) == 2}
    roles = {} if found is None else {name: role for name, role in found[1].items() if name in linears}
    if found is None or not any(role.pruned for role in roles.values()):
        raise UnsupportedModelError(f"{path.name} holds no UNet or transformer that CR-Diff could prune.")
    ways = Counter(linears[name].way for name, role in roles.items() if role.pruned)
    quantised = {weight.way for weight in linears.values() if weight.quantised}
    storage = tuple(way for way, _ in ways.most_common())
    shapes = {name: (linears[name].shape[0], linears[name].shape[1]) for name in roles}
    return FileLayers(shapes, roles, found[0], storage, tuple(way for way in storage if way in quantised))


def read_family(path: Path) -> Family:
    """The family of a safetensors checkpoint.

    Raises:
        UnsupportedModelError: see ``read_layers``.
    """
    return read_layers(path).family


class _Header:
    """What a safetensors file says of its tensors.

    Raises:
        SafetensorError: it is no such file; OSError if it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        with safe_open(str(path), framework="np"):
            pass  # which checks the header against the file
        with path.open("rb") as file:
            self._start = _LENGTH_BYTES + int.from_bytes(file.read(_LENGTH_BYTES), "little")
            self._tensors: Mapping[str, Any] = json.loads(file.read(self._start - _LENGTH_BYTES))
        self._packed = {key.partition(_BITSANDBYTES)[0]: key for key in self._tensors if _BITSANDBYTES in key}
        self._path = path

    def weights(self) -> list[str]:
        """The names of the modules that have a weight."""
        return [key.removesuffix(".weight") for key in self._tensors if key.endswith(".weight")]

    def stored(self, name: str) -> _Stored:
        """How a module's weight is stored: as ComfyUI and bitsandbytes write quantised ones, or as it is."""
        entry = self._tensors[f"{name}.weight"]
        shape, kind = tuple(entry["shape"]), str(entry["dtype"])
        if packed := self._packed.get(name):
            return _Stored(tuple(self._json(packed)["shape"]), packed.rpartition("__")[2].upper(), quantised=True)
        if f"{name}.weight_scale_2" in self._tensors:
            return _Stored((*shape[:-1], 2 * shape[-1]), "NVFP4", quantised=True)
        scaled = any(f"{name}.{scale}" in self._tensors for scale in _SCALES)
        if kind in _FLOATS:
            way = "fp8" if kind.startswith("F8") and scaled else _FLOATS[kind]
            return _Stored(shape, f"scaled {way}" if scaled else way, quantised=scaled)
        return _Stored(shape, {"I8": "int8", "U8": "uint8"}.get(kind, kind.lower()), quantised=True)

    def _json(self, key: str) -> Any:
        start, end = self._tensors[key]["data_offsets"]
        with self._path.open("rb") as file:
            file.seek(self._start + start)
            return json.loads(file.read(end - start))
