"""Gradients on a GPU, of a model that writes in place as Forge's does, against autograd on the processor in float64."""

from __future__ import annotations

import copy

import pytest
import torch

from crdiff.bench.random_model import PUBLISHED, build_model, make_steps
from crdiff.calibration.gradients import summed_gradients
from crdiff.models.architecture import find_layers
from crdiff.models.unet import SD15
from crdiff.presets.size import Size

SCALE = 0.1


def loss_of(model, inputs):
    return model(*inputs).float().square().mean() * 100.0


def writing_in_place(model):
    """Blocks that write to their input, before and after their own work; its values stay."""
    for name in dict.fromkeys(layer.block for layer in find_layers(model).prunable):
        block = model.get_submodule(name)

        def forward(x, *others, own=block.forward):
            x *= 1.0
            found = own(x, *others)
            x.mul_(1.0)
            return found

        block.forward = forward


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 0.01), (torch.float16, 0.05)])
def test_gradients_of_a_model_that_writes_in_place_are_autograds(dtype, tolerance):
    shape, device = PUBLISHED[SD15].scaled(SCALE), torch.device("cuda", torch.cuda.current_device())
    unet = build_model(shape, device, dtype)
    (inputs,) = make_steps(shape, Size(192, 192), 1, device, dtype)
    double = copy.deepcopy(unet).cpu().double()
    writing_in_place(unet)
    before = [value.clone() for value in unet.parameters()]
    found = summed_gradients(unet, [lambda: loss_of(unet, inputs)])
    assert all(map(torch.equal, before, unet.parameters()))
    assert not any(value.requires_grad for value in unet.parameters())

    layers = find_layers(double).prunable
    weights = [layer.module.weight.requires_grad_() for layer in layers]
    wide = inputs._make(None if one is None else one.cpu().double() for one in inputs)
    with torch.enable_grad():
        expected = torch.autograd.grad(loss_of(double, wide), weights)
    assert {layer.name for layer in layers} == set(found.sums)
    for layer, gradient in zip(layers, expected):
        off = (found.sums[layer.name].double().cpu() - gradient).norm() / gradient.norm()
        assert off < tolerance, layer.name
