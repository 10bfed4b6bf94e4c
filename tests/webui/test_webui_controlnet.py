"""sd-webui-controlnet in AUTOMATIC1111: a ControlNet runs once a step, and the picture is that of two passes."""

from __future__ import annotations

import copy
import sys
import types

import pytest
import torch
from torch import nn

from crdiff.guidance.access import PlainAccess
from crdiff.guidance.run import Run
from crdiff.method.groups import Ratios
from crdiff.method.schedule import Schedule
from crdiff.models.family import OTHER
from crdiff.plan import Plan, Planner
from crdiff.webui.hosts.a1111 import A1111

K, RATIO, WIDTH = 1.5, 0.4, 8


class Block(nn.Module):
    """As much of a transformer block as has weights to prune."""

    def __init__(self) -> None:
        super().__init__()
        self.attn1 = nn.Module()
        self.attn1.to_q = nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        return x + torch.tanh(self.attn1.to_q(x))


class Stage(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.transformer_blocks = nn.ModuleList([Block()])

    def forward(self, x):
        return self.transformer_blocks[0](x)


class UNet(nn.Module):
    """Adds what the ControlNet says to its blocks' outputs, as the extension's own forward does."""

    def __init__(self, controlnet) -> None:
        super().__init__()
        self.input_blocks = nn.ModuleList([nn.Sequential(nn.Linear(WIDTH, WIDTH)), nn.Sequential(Stage())])
        self.middle_block = nn.Sequential(Stage())
        self.output_blocks = nn.ModuleList([nn.Sequential(Stage())])
        self.controls = [controlnet]  # in a list, so that it is no part of the UNet

    def forward(self, x, hint):
        first, second = (part * 0.5 for part in self.controls[0](x=x, hint=hint, control_type=None))
        h = self.input_blocks[1](self.input_blocks[0](x) + first)
        return self.output_blocks[0](self.middle_block(h) + second)


class Wrapper(nn.Module):
    def __init__(self, unet) -> None:
        super().__init__()
        self.diffusion_model = unet

    def forward(self, x, hint):
        return self.diffusion_model(x, hint)


class PlugableControlModel(nn.Module):
    def __init__(self, noisy: bool = False) -> None:
        super().__init__()
        self.control_model, self.noisy, self.calls = nn.Linear(WIDTH, WIDTH), noisy, 0

    def forward(self, *args, **kwargs):
        self.calls += 1
        x = self.control_model(kwargs["x"] + kwargs["hint"])
        if self.noisy:
            x = x + torch.rand_like(x)
        return [x, x * 2]


@pytest.fixture
def modules(monkeypatch):
    """The modules of the host and of the extension, by which the host module finds their classes."""
    for name, member in (
        ("ldm.models.diffusion.ddpm", {"DiffusionWrapper": Wrapper}),
        ("scripts.cldm", {"PlugableControlModel": PlugableControlModel}),
    ):
        module = types.ModuleType(name)
        vars(module).update(member)
        monkeypatch.setitem(sys.modules, name, module)


def pruned(unet: UNet) -> UNet:
    copied = copy.deepcopy(unet)
    for stage in (copied.input_blocks[1], copied.middle_block, copied.output_blocks[0]):
        weight = stage[0].transformer_blocks[0].attn1.to_q.weight
        weight.mul_(weight.abs() > weight.abs().flatten().kthvalue(int(weight.numel() * RATIO)).values)
    return copied


@pytest.mark.parametrize(("noisy", "calls"), [(False, 1), (True, 2)])
@torch.no_grad()
def test_one_evaluation_a_step(modules, noisy, calls):
    torch.manual_seed(0)
    controlnet = PlugableControlModel(noisy)
    wrapper = Wrapper(UNet(controlnet)).requires_grad_(False)
    # A part of a longer tensor, as the extension's context is.
    x, hint = torch.randn(2, WIDTH), torch.randn(2, WIDTH + 1)[:, :-1]
    torch.manual_seed(1)
    dense = copy.deepcopy(wrapper)(x, hint)
    torch.manual_seed(1)
    expected = K * pruned(wrapper.diffusion_model)(x, hint) - (K - 1) * dense
    plan = Plan(Schedule.constant(Ratios(RATIO, RATIO, RATIO)), K, "by hand")
    run = Run(Planner.fixed(plan), PlainAccess())
    with A1111().hooked(run):
        wrapper(x, hint)
        controlnet.calls = 0
        torch.manual_seed(1)
        found = wrapper(x, hint)
    run.close()
    assert controlnet.calls == calls
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert run.refusals == []
    assert OTHER is run.applied[0].family
    assert torch.equal(wrapper(x, hint) if not noisy else dense, dense)
    assert "forward" in PlugableControlModel.__dict__
    assert PlugableControlModel.forward.__qualname__ == "PlugableControlModel.forward"
