"""Weights that are out of reach, on a machine where everything is the CPU.

The hosts' memory-saving modes keep weights on the CPU and bring them to the GPU for the time they are used; touched
at another time together with a GPU tensor they raise. Here the parameters keep their place and their values, but
change class while they are "away": they can be read, copied and moved, and raise when combined with a tensor that
is not away. With a GPU the modules really move.
"""

from __future__ import annotations

from typing import Any

import torch

_MOVES = {torch.Tensor.to, torch.Tensor.cpu, torch.Tensor.cuda}
_COPIES = {torch.Tensor.copy_, torch.Tensor.data.__set__, torch._has_compatible_shallow_copy_type, torch.equal,
           torch.allclose}


def _tensors(values: Any) -> list[torch.Tensor]:
    found = []
    for value in values:
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += _tensors(value)
    return found


class AwayTensor(torch.Tensor):
    """The result of reading an offloaded weight: still on the other side."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        here = [x for x in _tensors([*args, *kwargs.values()]) if not isinstance(x, _AWAY) and x.ndim > 0]
        if here and func not in _COPIES:
            raise RuntimeError("Expected all tensors to be on the same device, but found at least two devices: "
                               "an offloaded weight met a tensor on the compute device")
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **kwargs)
            if func in _MOVES:
                return result.as_subclass(torch.Tensor) if isinstance(result, torch.Tensor) else result
            if type(result) is torch.Tensor and result.ndim > 0:
                return result.as_subclass(AwayTensor)
        return result


class AwayParameter(torch.nn.Parameter):
    __torch_function__ = AwayTensor.__torch_function__

    def __deepcopy__(self, memo: dict) -> AwayParameter:
        if id(self) not in memo:
            with torch._C.DisableTorchFunctionSubclass():
                copied = torch.nn.Parameter(self.data.clone(), self.requires_grad)
            copied.__class__ = AwayParameter
            memo[id(self)] = copied
        return memo[id(self)]


_AWAY = (AwayTensor, AwayParameter)


def send_away(module: torch.nn.Module) -> None:
    for parameter in module.parameters():
        if type(parameter) is torch.nn.Parameter:
            # The address changes as it does in a real move; the Parameter object stays.
            parameter.data = parameter.data.clone()
            parameter.__class__ = AwayParameter


def bring_here(module: torch.nn.Module) -> None:
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if type(parameter) is AwayParameter:
                parameter.__class__ = torch.nn.Parameter
                parameter.data = parameter.data.clone()
            elif isinstance(parameter, AwayTensor):
                # Someone made a parameter of what was read from an offloaded one.
                here = parameter.detach().as_subclass(torch.Tensor)
                part._parameters[name] = torch.nn.Parameter(here, parameter.requires_grad)


def to_cpu(module: torch.nn.Module, device: torch.device) -> None:
    """Offloads a module that is used on ``device``."""
    if device.type == "cpu":
        send_away(module)
    else:
        module.to("cpu")


def to_device(module: torch.nn.Module, device: torch.device) -> None:
    if device.type == "cpu":
        bring_here(module)
    else:
        module.to(device)
