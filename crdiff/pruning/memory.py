"""How much memory pruned copies of layers may take."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_MARGIN = 3 * 2**29
"""1.5 GiB, left for whatever else the host does during a run."""

_PEAK = 1.25
"""Of the largest memory seen in use beyond what is in use now."""


class Storage(Enum):
    """Where pruned weights come from.

    ``AUTO`` keeps copies of as many pruned layers as free memory allows, ``NEVER`` computes them on each use through
    one reused buffer, ``ALWAYS`` keeps all of them.
    """

    AUTO = "auto"
    NEVER = "never"
    ALWAYS = "always"


def copy_budget(device: torch.device, storage: Storage) -> int:
    """Bytes that pruned copies on ``device`` may take now."""
    if storage is Storage.NEVER:
        return 0
    if storage is Storage.ALWAYS:
        return 2**62
    free = _free_bytes(device)
    return 0 if free is None else max(0, free - _margin(device))


def _free_bytes(device: torch.device) -> int | None:
    """Free memory, with what torch's allocator holds unused; None where nobody can tell."""
    if device.type == "cuda":
        import torch  # the settings name a storage, and the command line needs them without torch

        free: int = torch.cuda.mem_get_info(device)[0]
        return free + int(torch.cuda.memory_reserved(device)) - int(torch.cuda.memory_allocated(device))
    if device.type == "cpu":
        try:
            import psutil
        except ImportError:
            return None
        return int(psutil.virtual_memory().available)
    return None


def _margin(device: torch.device) -> int:
    if device.type != "cuda":
        return _MARGIN
    import torch

    # The peak is read, never reset: hosts report it to the user.
    beyond = torch.cuda.max_memory_allocated(device) - torch.cuda.memory_allocated(device)
    return max(_MARGIN, int(_PEAK * beyond))
