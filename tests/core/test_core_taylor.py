"""The criterion taylor: gradients against plain autograd, and worked numbers."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from small_unet import Fused, make_inputs, make_unet
from torch import nn

from crdiff.calibration.gradients import summed_gradients
from crdiff.errors import UnsupportedModelError
from crdiff.method.groups import Ratios
from crdiff.models.architecture import Layer, find_layers
from crdiff.pruning.calibrations import MissingCalibrationError
from crdiff.pruning.criterion import LinearCall
from crdiff.pruning.registry import CRITERIA
from crdiff.pruning.statistics import Statistics
from crdiff.pruning.store import Store, WeightsState
from crdiff.settings import SPECS

STATE = WeightsState("checkpoint", "float32", (), "print")


def store_with(gradients):
    statistics = Statistics({}, {}, gradients=gradients)
    return Store(calibrations=SimpleNamespace(of=lambda _: statistics))


def bits(unet):
    return {name: value.clone() for name, value in unet.state_dict().items()}


def loss_of(unet, seed):
    inputs = make_inputs(seed)
    target = torch.randn(inputs[0].shape, generator=torch.Generator().manual_seed(seed))
    return lambda: nn.functional.mse_loss(unet(*inputs), target)


def test_gradients_are_those_of_autograd_and_the_model_keeps_none():
    unet = make_unet()
    before = bits(unet)
    with torch.no_grad():
        found = summed_gradients(unet, [loss_of(unet, seed) for seed in range(4)])
    assert all(value.grad is None and not value.requires_grad for value in unet.parameters())
    assert all(torch.equal(value, before[name]) for name, value in unet.state_dict().items())
    assert not any("forward" in vars(module) for module in unet.modules())
    plain = copy.deepcopy(unet).requires_grad_(True)
    sum(loss_of(plain, seed)() for seed in range(4)).backward()
    assert set(found) == {layer.name for layer in find_layers(unet).prunable}
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, plain.get_submodule(name).weight.grad, rtol=1e-4, atol=1e-7)


def test_an_error_leaves_nothing_behind():
    unet = make_unet()
    before = bits(unet)

    def interrupted():
        loss_of(unet, 1)()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        summed_gradients(unet, [loss_of(unet, 0), interrupted])
    assert all(value.grad is None and not value.requires_grad for value in unet.parameters())
    assert all(torch.equal(value, before[name]) for name, value in unet.state_dict().items())
    assert not any("forward" in vars(module) for module in unet.modules())
    unreachable = make_unet(linear=Fused)
    with pytest.raises(UnsupportedModelError, match="cannot reach the weights of Fused layers"):
        summed_gradients(unreachable, [loss_of(unreachable, 0)])


def test_a_worked_layer_loses_the_weights_with_the_smallest_products():
    """Half of a layer of 3 x 4; the gradients are those of its squared error, checked by finite differences."""
    weight = torch.tensor([[0.50, -0.20, 0.10, 0.80], [-0.30, 0.60, -0.70, 0.05], [0.15, -0.90, 0.40, -0.25]])
    gradient = [
        [-0.104266667, 0.0018, -0.192133333, 0.051866667],
        [-0.234133333, 0.017633333, -0.491466667, 0.0464],
        [0.123266667, -0.011666667, 0.279666667, -0.0086],
    ]
    x = [
        [1.0, -0.5, 0.8, 1.2, -1.0],
        [0.1, 0.4, -0.2, 0.3, 0.05],
        [2.0, -1.5, 1.0, 2.5, -2.2],
        [0.6, 0.2, -0.9, 0.4, 0.7],
    ]
    y = torch.tensor([[1.0, -0.4, 0.2, 1.5, -0.3], [-1.2, 1.0, -0.8, -1.6, 1.4], [0.5, -0.7, 0.9, 0.6, -1.0]])
    slope = 2 / 15 * (weight @ torch.tensor(x) - y) @ torch.tensor(x).T
    torch.testing.assert_close(slope, torch.tensor(gradient), rtol=1e-4, atol=1e-6)

    module = nn.Linear(4, 3, bias=False)
    layer = Layer("one", "mid", "block", module)
    criterion, ratios = CRITERIA["taylor"].make(STATE, store_with({"one": slope})), Ratios(0.5, 0.5, 0.5)
    while (observer := criterion.observer(ratios)) is not None:
        observer.see(LinearCall(layer, weight))
        observer.finish(1)
    pruned = criterion.pruning(ratios).weight(LinearCall(layer, weight))
    expected = [[0.5, 0.0, 0.1, 0.8], [-0.3, 0.0, -0.7, 0.0], [0.0, 0.0, 0.4, 0.0]]
    assert pruned.tolist() == torch.tensor(expected).tolist()
    assert criterion.sparsity(ratios)["mid"].pruned == 6


def test_it_is_not_offered_where_nobody_gathers_gradients_and_refuses_without_them():
    assert "taylor" not in SPECS["criterion"].choices and "wanda" in SPECS["criterion"].choices
    with pytest.raises(MissingCalibrationError, match="taylor needs a calibration with gradients"):
        CRITERIA["taylor"].make(STATE, store_with(None))
    layer = Layer("two", "mid", "block", nn.Linear(4, 3))
    observer = CRITERIA["taylor"].make(STATE, store_with({"one": torch.ones(3, 4)})).observer(Ratios(0.5, 0.5, 0.5))
    with pytest.raises(UnsupportedModelError, match="no gradient of the model's layer two"):
        observer.see(LinearCall(layer, torch.ones(3, 4)))
