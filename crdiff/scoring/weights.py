"""Weight files: read without running anything in them, and mapped rather than copied where the format allows it."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

# A1111 puts a loader of its own in place of torch.load, which answers None for files of newer torch versions.
# The module's own name still is torch's function.
from torch.serialization import load as _torch_load

from crdiff.scoring.errors import ScoringError


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors, .pt or .bin file by name, on the CPU.

    A zip file of torch (any since version 1.6) is mapped: its weights are read when they are first used.

    Raises:
        ScoringError: the file cannot be read, or holds something else than tensors by name.
    """
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(str(path)))
        mapped = zipfile.is_zipfile(path)
        content = _torch_load(str(path), map_location="cpu", weights_only=True, mmap=mapped)
    except (OSError, SafetensorError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ScoringError(
            f"{path.name} cannot be read as a file of weights, it may be incomplete ({reason[:160].rstrip('.')})."
        ) from None
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ScoringError(f"{path.name} does not hold weights by name.")
    return {str(name): value for name, value in content.items()}


def meta_left(module: torch.nn.Module) -> list[str]:
    """Names of the parameters and buffers that have no values yet."""
    tensors = [*module.named_parameters(), *module.named_buffers()]
    return [name for name, tensor in tensors if tensor.device.type == "meta"]
