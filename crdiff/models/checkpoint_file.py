"""A checkpoint file seen from its header: the layers and the family, without reading a weight."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from crdiff.errors import UnreadableModelError, UnsupportedModelError
from crdiff.models.architecture import ARCHITECTURES, Architecture, architecture_of
from crdiff.models.family import Family


@dataclass(frozen=True)
class FileLayers:
    """The Linears of a checkpoint file that have a role.

    Attributes:
        shapes: (out, in), by module name.
        architecture: that knows them.
    """

    shapes: dict[str, tuple[int, ...]]
    architecture: Architecture

    @property
    def family(self) -> Family:
        return self.architecture.family(self.shapes)


def read_layers(path: Path) -> FileLayers:
    """The Linears with a role, from a safetensors file's header.

    Raises:
        UnreadableModelError: the file cannot be read.
        UnsupportedModelError: it holds no model that CR-Diff prunes.
    """
    if not path.is_file():
        raise UnreadableModelError(f"{path.name}: there is no such file.")
    shapes: dict[str, tuple[int, ...]] = {}
    try:
        with safe_open(str(path), framework="np") as file:
            for key in file.keys():  # noqa: SIM118 (not a mapping)
                name = key.removesuffix(".weight")
                if name != key and any(known.role(name) is not None for known in ARCHITECTURES.values()):
                    shapes[name] = tuple(file.get_slice(key).get_shape())
    except (SafetensorError, OSError) as error:
        raise UnreadableModelError(f"{path.name} cannot be read as a safetensors file ({error}).") from None
    linears = {name: shape for name, shape in shapes.items() if len(shape) == 2}
    architecture = architecture_of(linears)
    if architecture is None:
        raise UnsupportedModelError(f"{path.name} holds no UNet transformer blocks that CR-Diff could prune.")
    return FileLayers({name: s for name, s in linears.items() if architecture.role(name) is not None}, architecture)


def read_family(path: Path) -> Family:
    """The family of a safetensors checkpoint.

    Raises:
        UnsupportedModelError: see ``read_layers``.
    """
    return read_layers(path).family
