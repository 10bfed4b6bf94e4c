"""A checkpoint file seen from its header: which family it is, without reading a weight."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open

from crdiff.errors import UnsupportedModelError
from crdiff.models.architecture import family_of, role_of
from crdiff.models.family import Family


def read_layer_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The (out, in) shape of every Linear with a role, by module name, from a safetensors file's header.

    Raises:
        UnsupportedModelError: the file cannot be read, or holds no UNet that CR-Diff prunes.
    """
    if not path.is_file():
        raise UnsupportedModelError(f"{path.name}: there is no such file.")
    shapes: dict[str, tuple[int, ...]] = {}
    try:
        with safe_open(str(path), framework="np") as file:
            for key in file.keys():  # noqa: SIM118 (not a mapping)
                name = key.removesuffix(".weight")
                if name != key and role_of(name) is not None:
                    shapes[name] = tuple(file.get_slice(key).get_shape())
    except (SafetensorError, OSError) as error:
        raise UnsupportedModelError(f"{path.name} cannot be read as a safetensors file ({error}).") from None
    linears: dict[str, tuple[int, ...]] = {name: shape for name, shape in shapes.items() if len(shape) == 2}
    if not any((role := role_of(name)) is not None and role.pruned for name in linears):
        raise UnsupportedModelError(f"{path.name} holds no UNet transformer blocks that CR-Diff could prune.")
    return linears


def read_family(path: Path) -> Family:
    """The family of a safetensors checkpoint.

    Raises:
        UnsupportedModelError: see ``read_layer_shapes``.
    """
    return family_of(read_layer_shapes(path))
