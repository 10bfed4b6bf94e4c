"""The weights a run was made ready for: what they depend on, and whether they are still the same."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import torch
from torch.utils.hooks import RemovableHandle

from crdiff.guidance.access import UNNAMED, ModelAccess, WeightsIdentity
from crdiff.models.architecture import Layer
from crdiff.pruning.store import WeightsState, fingerprint


class LiveWeights:
    """The weights of a model's layers, looked on at from ``install`` to ``remove``.

    At a denoiser call no weight is read. A replaced one is another object, one written to in place has another version,
    and what is loaded over tensors made in inference mode, of which torch counts no versions and as which Forge makes
    its models, goes through ``load_state_dict``. Only after such a change are the weights fingerprinted again.

    Args:
        model: the UNet.
        layers: those that may be pruned.
        access: the host's model.
        identity: what the host says its weights are.
        scope: see WeightsState.

    Attributes:
        state: what the values depend on.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        layers: Sequence[Layer],
        access: ModelAccess,
        identity: WeightsIdentity,
        scope: str = "",
    ) -> None:
        self._model, self._layers, self._access, self._identity = model, layers, access, identity
        self._scope = scope
        self._hook: RemovableHandle | None = None
        self._look()
        self.state = self._state()

    def install(self) -> None:
        """Begin to look on."""
        self._hook = self._model.register_load_state_dict_post_hook(self._on_load)  # type: ignore[no-untyped-call]

    def remove(self) -> None:
        """Leave the model as it was."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def same(self, model: torch.nn.Module, identity: WeightsIdentity) -> bool:
        """Whether the weights of ``model``, with what the host says of them now, are still these."""
        if model is not self._model or identity != self._identity:
            return False
        if not self._touched():
            return True
        self._look()
        return self._state() == self.state

    def _on_load(self, *_: object) -> None:
        self._loaded = True

    def _look(self) -> None:
        """Take the weights for known, none of which this keeps alive."""
        self._loaded = False
        self._known = []
        for layer in self._layers:
            held = layer.module._parameters
            if (weight := held.get("weight")) is not None:
                counted = None if weight.is_inference() else weight._version
                self._known.append((held, weakref.ref(weight), counted))

    def _touched(self) -> bool:
        """Whether a weight may be another than it was."""
        if self._loaded:
            return True
        for held, known, counted in self._known:
            weight = held.get("weight")
            if weight is None or weight is not known() or (counted is not None and weight._version != counted):
                return True
        return False

    def _state(self) -> WeightsState:
        """Weights that something unnamed changes must not pass for the checkpoint's own."""
        modifiers = self._identity.modifiers
        parts: list[torch.Tensor | str] = []
        for layer in self._layers:
            parts.append(self._access.stored_weight(layer.module))
            if added := list(self._access.added_on_use(layer.module)):
                parts += [layer.name, *added]
                modifiers = modifiers or (UNNAMED,)
        identity = self._identity
        return WeightsState(identity.checkpoint.key, identity.precision, modifiers, fingerprint(parts), self._scope)
