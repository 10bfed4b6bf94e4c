"""The random state, so that both passes of a step draw the same numbers."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class RandomState:
    """A snapshot of every generator a forward pass may draw from."""

    torch_cpu: torch.Tensor
    device: torch.device
    torch_device: torch.Tensor | None
    python: Any
    numpy: Any
    extra: tuple[tuple[random.Random, Any], ...]

    @classmethod
    def capture(cls, device: torch.device, extra: Iterable[random.Random] = ()) -> RandomState:
        """The present state.

        Args:
            device: where the UNet runs.
            extra: further generators that the host's own layers draw from.
        """
        on_cuda = device.type == "cuda"
        return cls(
            torch.get_rng_state(),
            device,
            torch.cuda.get_rng_state(device) if on_cuda else None,
            random.getstate(),
            np.random.get_state(),  # the legacy global state is what extensions draw from
            tuple((generator, generator.getstate()) for generator in extra),
        )

    def restore(self) -> None:
        """Put every generator back to where it was."""
        torch.set_rng_state(self.torch_cpu)
        if self.torch_device is not None:
            torch.cuda.set_rng_state(self.torch_device, self.device)
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        for generator, state in self.extra:
            generator.setstate(state)
