"""The criterion taylor: gradients against plain autograd, the loss by its formula, and worked numbers."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from run_bench import CPU, Access, touched
from small_unet import Fused, TransformerBlock, make_inputs, make_unet
from torch import nn

from crdiff.calibration import gradients
from crdiff.calibration.denoising import Denoising, UNetCall
from crdiff.calibration.gradients import Gradients, NoGradientsError, summed_gradients
from crdiff.calibration.run import Calibration, CalibrationRun
from crdiff.errors import UnsupportedModelError
from crdiff.method.groups import Ratios
from crdiff.method.schedule import Position
from crdiff.models.architecture import Layer, find_layers
from crdiff.pruning.calibrations import Calibrations, MissingCalibrationError
from crdiff.pruning.criterion import LinearCall
from crdiff.pruning.registry import CRITERIA
from crdiff.pruning.statistics import LayerStatistics, Statistics
from crdiff.pruning.store import Store, WeightsState

STATE = WeightsState("checkpoint", "float32", (), "print")


def matrices_of(gradients):
    return SimpleNamespace(keys={name: name for name in gradients}, get=lambda key: gradients[key].numpy())


def store_with(gradients):
    gradients = None if gradients is None else matrices_of(gradients)
    statistics = Statistics({}, {}) if gradients is None else Statistics({}, {}).with_gradients(gradients)
    return Store(calibrations=SimpleNamespace(of=lambda _: statistics))


def bits(unet):
    return {name: value.clone() for name, value in unet.state_dict().items()}


def loss_of(unet, seed):
    inputs = make_inputs(seed)
    target = torch.randn(inputs[0].shape, generator=torch.Generator().manual_seed(seed))
    return lambda: nn.functional.mse_loss(unet(*inputs), target)


class Written(nn.Module):
    """A host's UNet that writes in place wherever Forge's do: around the blocks, in them, and into their input."""

    def __init__(self, unet):
        super().__init__()
        self.input_blocks, self.middle_block, self.output_blocks = (
            unet.input_blocks, unet.middle_block, unet.output_blocks,
        )  # fmt: skip
        self.time_embed, self.out, self.unet = unet.time_embed, unet.out, [unet]
        for module in unet.modules():
            if isinstance(module, TransformerBlock):
                module.__class__ = WrittenBlock

    def forward(self, x, timesteps, context):
        y = torch.nn.functional.silu(x)
        y *= 2.0
        y += x
        y = self.unet[0](y, timesteps, context)
        square = y**2
        y += x
        return y + square


class WrittenBlock(TransformerBlock):
    def forward(self, x, context):
        x += self.attn1(self.norm1(x))
        x += self.attn2(self.norm2(x), context)
        skipped = x
        x = self.ff(self.norm3(x))
        x += skipped
        return x


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("trainable", [False, True])
def test_gradients_are_those_of_autograd_and_the_model_keeps_none(mode, trainable):
    """Of a model that a host has made in inference mode too, and of one whose parameters could have gradients."""
    with mode():
        unet = Written(make_unet()).requires_grad_(trainable)
        before = bits(unet)
        found = summed_gradients(unet, [loss_of(unet, seed) for seed in range(4)]).sums
    assert all(value.grad is None and value.requires_grad == trainable for value in unet.parameters())
    assert all(torch.equal(value, before[name]) for name, value in unet.state_dict().items())
    assert not any("forward" in vars(module) for module in unet.modules())
    plain = make_unet().requires_grad_(True)
    for seed in range(4):
        x, times, context = make_inputs(seed)
        target = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
        y = plain(2.0 * nn.functional.silu(x) + x, times, context)
        nn.functional.mse_loss(y + x + y**2, target).backward()
    assert set(found) == {layer.name for layer in find_layers(unet).prunable}
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, plain.get_submodule(name).weight.grad, rtol=1e-4, atol=1e-7)


def test_a_model_that_writes_where_autograd_cannot_follow_is_refused():
    unet = make_unet()

    def halves():
        value, gate = unet(*make_inputs(0)).chunk(2)
        value += gate
        return value.sum()

    with pytest.raises(NoGradientsError, match="writes over what they need"):
        summed_gradients(unet, [halves])
    assert touched(unet) == []


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


def test_it_refuses_without_gradients():
    with pytest.raises(MissingCalibrationError, match="taylor needs a calibration with gradients"):
        CRITERIA["taylor"].make(STATE, store_with(None))
    layer = Layer("two", "mid", "block", nn.Linear(4, 3))
    observer = CRITERIA["taylor"].make(STATE, store_with({"one": torch.ones(3, 4)})).observer(Ratios(0.5, 0.5, 0.5))
    with pytest.raises(UnsupportedModelError, match="no gradient of the model's layer two"):
        observer.see(LinearCall(layer, torch.ones(3, 4)))


def test_they_are_kept_with_the_calibration_in_half_precision_all_times_one_power_of_two(tmp_path):
    gathered, calibrations = Gradients(), Calibrations(tmp_path)
    given = {"one": torch.randn(3, 4) * 1e-7, "two": torch.randn(5, 2) * 1e-3}
    for name, gradient in given.items():
        gathered.add(name, gradient)
    gathered.add("two", torch.full((5, 2), float("nan")))
    assert gathered.dropped == 1
    layer = LayerStatistics(7, np.ones(4, np.float32))
    calibrations.put(STATE, Statistics({"one": layer}, {}).with_gradients(gathered.halves()))
    (stored,) = calibrations.all()
    assert stored.bytes > sum(2 * gradient.numel() for gradient in given.values())
    kept = Calibrations(tmp_path).of(STATE).gradients
    scale = 2.0 ** round(np.log2(float((kept.get("two") / given["two"].numpy()).mean())))
    for name, gradient in given.items():
        np.testing.assert_allclose(kept.get(name) / scale, gradient, rtol=1e-3, atol=1e-11)
    assert CRITERIA["taylor"].make(STATE, Store(calibrations=calibrations)).basis == stored.statistics.id
    gathered.add("two", torch.ones(5, 2))
    calibrations.put(STATE, Statistics({"one": layer}, {}).with_gradients(gathered.halves()))
    (replaced,) = calibrations.all()
    assert replaced.statistics.id != stored.statistics.id, "what was counted by other gradients would be used"
    calibrations.delete(replaced)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("velocity", [False, True])
def test_the_loss_is_that_of_what_the_unet_predicts_at_the_calls_times(velocity):
    signal = torch.linspace(0.99, 0.01, 11)
    denoising = Denoising.of_signal(signal, velocity=velocity)
    torch.testing.assert_close(denoising.sigma(torch.tensor([5.0])) ** 2, (1 - signal[5:6]) / signal[5:6])
    images, context = torch.randn(1, 4, 3, 2), torch.randn(2, 1, 5)
    noise = torch.randn(2, 4, 3, 2, generator=torch.Generator().manual_seed(7))
    kept, noisy = signal[5].sqrt(), (1 - signal[5]).sqrt()
    mask, seen = torch.randn(2, 5, 3, 2), []

    def unet(x, timesteps, context):
        seen.append((x, context))
        return noisy * 0 + x[:, :4] * 0

    call = UNetCall(
        (torch.cat([torch.zeros(2, 4, 3, 2), mask], 1),), {"timesteps": torch.full((2,), 5.0), "context": context}
    )
    found = call.loss(unet, images, denoising, seed=7)
    torch.testing.assert_close(seen[0][0], torch.cat([kept * images + noisy * noise, mask], 1))
    assert seen[0][1] is context
    wanted = kept * noise - noisy * images if velocity else noise
    torch.testing.assert_close(found, (wanted**2).sum())


@pytest.mark.parametrize("host", [torch.no_grad, torch.inference_mode])
def test_a_calibration_gathers_those_of_its_own_images(host):
    """At the first step of the first image, the second of the next: as a UNet was called there."""
    with host():
        unet, images, denoising = make_unet(), torch.randn(1, 4, 5, 6), Denoising(torch.linspace(0.1, 9, 1000))
        calls, calibration = [make_inputs(seed) for seed in range(2)], Calibration(differentiated=True)
        for call in calls:
            with CalibrationRun(calibration, Access()) as run:
                for place in range(3):
                    run.position = Position(place, 3)
                    run.predict(unet, lambda call=call, place=place: unet(call[0] + place, *call[1:]), CPU)
                run.differentiate(images, denoising)
            assert run.refusals == []
    assert touched(unet) == [] and all(value.grad is None for value in unet.parameters())
    (gathering,) = calibration.gatherings.values()
    plain = make_unet()
    losses = [
        partial(UNetCall((call[0] + place, *call[1:]), {}).loss, plain, images.clone(), denoising, place)
        for place, call in enumerate(calls)
    ]
    for name, total in summed_gradients(plain, losses).sums.items():
        torch.testing.assert_close(gathering.gradients.sums[name], total, rtol=1e-4, atol=1e-6)


def test_where_memory_is_short_it_is_one_sentence_and_the_model_is_as_it_was(monkeypatch):
    unet = make_unet()
    with monkeypatch.context() as short:
        short.setattr(gradients, "free_bytes", lambda device: 1000)
        with pytest.raises(
            NoGradientsError, match=r"^There is not enough free memory for gradients, which take [0-9.]+ MB"
        ):
            summed_gradients(unet, [loss_of(unet, 0)])

    def ran_out():
        loss_of(unet, 0)()
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate")

    with pytest.raises(NoGradientsError, match=r"^The memory ran out while gradients were computed; nothing was kept"):
        summed_gradients(unet, [ran_out])
    assert touched(unet) == [] and all(value.grad is None for value in unet.parameters())
