"""A pipeline of diffusers calibrated in this process, against hooks of torch and its autograd."""

from __future__ import annotations

import copy
import gc
import re
import weakref

import numpy as np
import pytest
import torch
from small_pipeline import small_pipeline

from crdiff.calibration import run
from crdiff.calibration.gathering import Gathering
from crdiff.calibration.kept import Kept
from crdiff.evaluation import diffusers_engine
from crdiff.evaluation.diffusers_engine import DiffusersEngine
from crdiff.evaluation.engine import Request, Sampling
from crdiff.presets.library import PresetLibrary
from crdiff.presets.size import Size
from crdiff.settings import Settings

LAYERS = re.compile(r"transformer_blocks\.\d+\.(attn1\.(to_[qkv]|to_out\.0)|ff\.net\.(0\.proj|2))$")
IMAGES = STEPS = 2
SIZE = Size(64, 48)


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    return small_pipeline(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture
def engine(pipe, tmp_path, monkeypatch, one_thread):
    monkeypatch.setattr(diffusers_engine, "_CALIBRATED_WITH", IMAGES)
    monkeypatch.setattr(PresetLibrary, "native_size", lambda library, family: SIZE)
    return engine_of(pipe, tmp_path)


def engine_of(pipe, folder):
    return DiffusersEngine(pipe, Sampling(steps=STEPS), "small", weights="0123456789abcdef", calibrations=folder)


def layers_of(pipe):
    return {name: module for name, module in pipe.unet.named_modules() if LAYERS.search(name)}


def squares_and_gradients(pipe):
    """Sums over the inputs of each layer, and of the gradients of the squared error on what was drawn."""
    squares, calls, prompts = {}, [], diffusers_engine.neutral_prompts()
    layers = layers_of(pipe)
    for layer in layers.values():
        layer.weight.grad = None
    for number in range(IMAGES):
        hooks = [
            pipe.unet.register_forward_pre_hook(lambda _, args, kwargs: calls.append((args, kwargs)), with_kwargs=True)
        ]
        for name, layer in layers.items():

            def seen(_, args, name=name):
                squares[name] = squares.get(name, 0) + args[0].flatten(0, -2).square().sum(0)

            hooks.append(layer.register_forward_pre_hook(seen))
        generator = torch.Generator().manual_seed(1 + number)
        how = {"height": SIZE.height, "width": SIZE.width, "num_inference_steps": STEPS, "generator": generator}
        image = pipe(prompts[number], output_type="latent", **how).images
        for hook in hooks:
            hook.remove()
        ((_, t), kwargs) = calls[-STEPS + number % STEPS]
        noise = torch.randn((2, *image.shape[1:]), generator=torch.Generator().manual_seed(number))
        signal = pipe.scheduler.alphas_cumprod[t]
        predicted = pipe.unet(signal.sqrt() * image + (1 - signal).sqrt() * noise, t, **kwargs)[0]
        (predicted - noise).square().sum().backward()
    return squares, {name: layer.weight.grad for name, layer in layers.items()}


def test_it_keeps_what_the_layers_see_and_the_gradients_of_their_weights(pipe, engine):
    squares, gradients = squares_and_gradients(pipe)
    assert engine.calibrate(Kept("whole", gradients=True), lambda: False)
    found = engine._calibrations.in_force()
    assert set(found.layers) == set(squares)
    for name, layer in found.layers.items():
        np.testing.assert_allclose(layer.squares, squares[name].numpy(), rtol=1e-4)
    kept = {name: torch.from_numpy(found.gradients.get(key)).float() for name, key in found.gradients.keys.items()}
    together = [torch.cat([one[name].flatten() for name in squares]) for one in (kept, gradients)]
    assert torch.nn.functional.cosine_similarity(*together, dim=0) > 0.99999


def test_criteria_go_by_it_also_in_the_next_process(pipe, engine, tmp_path):
    settings = [
        Settings(enabled=True, preset="custom", up=0.4, criterion=name) for name in ("wanda", "obs-diff", "taylor")
    ]
    assert [engine.calibration(one) for one in settings] == [None, None, None]
    assert engine.calibration(Settings(enabled=True)) == engine.calibration(Settings()) == ""
    asked = iter((False, True))
    assert not engine.calibrate(Kept("whole", gradients=True), lambda: next(asked))
    assert not list(tmp_path.iterdir())
    assert engine.calibrate(Kept(), lambda: False)
    first = engine.calibration(settings[0])
    assert first and [engine.calibration(one) for one in settings] == [first, None, None]
    assert engine.calibrate(Kept("whole", gradients=True), lambda: False)
    elsewhere = copy.copy(pipe)
    elsewhere.register_to_config(_name_or_path="moved/small")
    again = engine_of(elsewhere, tmp_path)
    assert len({again.calibration(one) for one in settings} | {first}) == 2
    drawn = [again.draw(Request("a cat", 5, SIZE, one)).image.tobytes() for one in (Settings(), *settings)]
    assert len(set(drawn)) == 4


def test_groups_whose_hessians_do_not_fit_are_drawn_for_again_and_no_sum_stays(pipe, engine, monkeypatch):
    alive, fitting = [], []

    def one_at_a_time(needed, working, device):
        fitting.append(tuple(needed))
        alive[:] = [one for one in alive if one() is not None]
        assert not alive, "the sums of the round before are still in memory"
        return tuple(needed)[:1]

    class Watched(Gathering):
        def __init__(self, *args):
            super().__init__(*args)
            alive.append(weakref.ref(self))

    monkeypatch.setattr(run, "fitting", one_at_a_time)
    monkeypatch.setattr(run, "Gathering", Watched)
    assert engine.calibrate(Kept("whole"), lambda: False)
    assert fitting == [("down", "mid", "up"), ("mid", "up"), ("up",)]
    gc.collect()
    assert all(one() is None for one in alive)
    assert set(engine._calibrations.in_force().hessians.keys) == set(layers_of(pipe))
