"""What a captured graph takes for granted of a model: where its weights lie, and what runs."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.modules import module as hooks_of_all_modules

from crdiff.patching import Patch
from crdiff.pruning.plain import version


class StaticModel:
    """A model as it is now. Asking costs about a microsecond for each module, and never waits for the device.

    Args:
        model: the model.
        device: where all of it has to lie.
    """

    def __init__(self, model: torch.nn.Module, device: torch.device) -> None:
        modules = list(model.modules())
        self._device = device
        self._modules = [(module.__dict__, module._forward_hooks, module._forward_pre_hooks) for module in modules]
        self._classes = {type(module): type(module).forward for module in modules}
        self._children = [(module._modules, tuple(module._modules.values())) for module in modules if module._modules]
        self._tensors = [
            (held, name, tensor, tensor.data_ptr(), version(tensor))
            for module in modules
            for held in (module._parameters, module._buffers)
            for name, tensor in held.items()
            if tensor is not None
        ]
        self._compiled = any(getattr(module, "_compiled_call_impl", None) is not None for module in modules)

    def obstacle(self) -> str | None:
        """Why no graph of the model can be captured; None if one can."""
        if self._compiled:
            return "the model is compiled"
        if any(tensor.device != self._device for _, _, tensor, _, _ in self._tensors):
            return "some of the model's weights are kept elsewhere"
        if self._overridden():
            return "another extension changes or watches parts of the model"
        return None

    def changed(self) -> str | None:
        """What is no longer as it was; None if everything is."""
        for held, name, tensor, pointer, counted in self._tensors:
            if held.get(name) is not tensor or tensor.data_ptr() != pointer or version(tensor) != counted:
                return "the model's weights have moved or changed"
        if any(tuple(held.values()) != children for held, children in self._children):
            return "parts of the model were replaced"
        if any(kind.forward is not forward for kind, forward in self._classes.items()) or self._overridden():
            return "another extension changes or watches parts of the model"
        return None

    def _overridden(self) -> bool:
        if hooks_of_all_modules._global_forward_hooks or hooks_of_all_modules._global_forward_pre_hooks:
            return True
        return any(
            hooks or pre_hooks or _foreign(attributes.get("forward")) or "_forward" in attributes
            for attributes, hooks, pre_hooks in self._modules
        )


def _foreign(forward: Any) -> bool:
    return forward is not None and not (isinstance(forward, Patch) and forward.alone)
