"""Makes ``k_diffusion.sampling`` and ``k_diffusion.external`` importable without the rest of the package.

The package's ``__init__`` pulls in training code and its ``utils`` needs torchvision. The samplers use one function
of all that, so a bare package with the installed folder as its path and a one-function ``utils`` are enough.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types


def _append_dims(x, target_dims: int):
    """Appends size-1 dimensions to the end of ``x`` until it has ``target_dims``."""
    missing = target_dims - x.ndim
    if missing < 0:
        raise ValueError(f"input has {x.ndim} dims but target_dims is {target_dims}, which is less")
    return x[(...,) + (None,) * missing]


def install() -> None:
    """Puts the bare package into ``sys.modules``; does nothing when it is there already."""
    if "k_diffusion" in sys.modules:
        return
    spec = importlib.util.find_spec("k_diffusion")
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError("the stand-in needs the package k-diffusion (pip install --no-deps k-diffusion)")
    package = types.ModuleType("k_diffusion")
    package.__path__ = list(spec.submodule_search_locations)
    package.__spec__ = spec
    utils = types.ModuleType("k_diffusion.utils")
    utils.append_dims = _append_dims
    sys.modules["k_diffusion"] = package
    sys.modules["k_diffusion.utils"] = utils
    package.utils = utils
    package.sampling = importlib.import_module("k_diffusion.sampling")
    package.external = importlib.import_module("k_diffusion.external")


install()
