"""The random state, so that both passes of a step draw the same numbers."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
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

    def same_as(self, other: RandomState) -> bool:
        """Whether nothing has been drawn between the two."""
        on_device = self.torch_device is None or (
            other.torch_device is not None and torch.equal(self.torch_device, other.torch_device)
        )
        return (
            on_device
            and torch.equal(self.torch_cpu, other.torch_cpu)
            and self.python == other.python
            and _legacy(self.numpy) == _legacy(other.numpy)
            and [state for _, state in self.extra] == [state for _, state in other.extra]
        )

    def moved(self) -> bool:
        """Whether anything has been drawn since."""
        return not self.same_as(RandomState.capture(self.device, [generator for generator, _ in self.extra]))

    def restore(self) -> bool:
        """Put every generator back to where it was; whether any had moved. Asking costs less than setting them."""
        if not self.moved():
            return False
        torch.set_rng_state(self.torch_cpu)
        if self.torch_device is not None:
            torch.cuda.set_rng_state(self.torch_device, self.device)
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        for generator, state in self.extra:
            generator.setstate(state)
        return True


def _legacy(state: Any) -> tuple[Any, ...]:
    """Numpy's state tuple with its array as bytes, to be compared."""
    name, keys, *rest = state
    return (name, keys.tobytes(), *rest)


class RandomWatch:
    """Tells whether random numbers are drawn.

    Args:
        device: where the UNet runs.
        extra: gives the host's own generators.
    """

    def __init__(self, device: torch.device, extra: Callable[[], Iterable[random.Random]]) -> None:
        self._device, self._extra = device, extra
        self._last: RandomState | None = None

    def drawn(self) -> bool:
        """Whether any generator has moved since the last time this was asked."""
        now = RandomState.capture(self._device, self._extra())
        last, self._last = self._last, now
        return last is None or not now.same_as(last)
