"""The sizes that SDXL is told, against the vector of a host that is given them itself."""

from __future__ import annotations

import pytest
import torch
from run_bench import CPU, Access, mixed
from small_unet import make_inputs, make_unet
from torch import nn

from crdiff.errors import PresetError
from crdiff.guidance.run import Run
from crdiff.method.groups import Ratios
from crdiff.method.schedule import Schedule
from crdiff.models.checkpoint import Checkpoint
from crdiff.models.family import OTHER, transformer_family
from crdiff.models.unet import SD15, SDXL
from crdiff.plan import Plan, Planner, plan_for
from crdiff.presets.size import Size
from crdiff.settings import Settings

POOLED = torch.linspace(-1.0, 1.0, 1280)


def vector(*numbers):
    """A host's conditioning (2, 2816): the pooled text, then original, crop and wanted, height or top first."""
    frequencies = 10000.0 ** (-torch.arange(128, dtype=torch.float64) / 128)
    parts = [torch.cat([(number * frequencies).cos(), (number * frequencies).sin()]).float() for number in numbers]
    return torch.cat([POOLED, *parts]).repeat(2, 1)


def sized_unet(width=2816):
    """The small UNet with a host's layer for the vector, whose inputs are kept."""
    unet, seen = make_unet(), []
    unet.label_emb = nn.Sequential(nn.Sequential(nn.Linear(width, 4)))
    unet.label_emb[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    return unet, seen


def step(unet, given, told, ratios=(0.4, 0.5, 0.3)):
    """One step of a run in which the UNet embeds ``given``, and the run."""
    inputs = make_inputs()
    plan = Plan(Schedule.constant(Ratios(*ratios)), 1.5, "by hand", told=told)

    def forward():
        if given is not None:
            unet.label_emb(given)
        return unet(*inputs)

    with Run(Planner.fixed(plan), Access()) as run:
        prediction = run.predict(unet, forward, CPU, inputs[2], cells=30)
    return prediction, inputs, run


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_both_passes_are_told_the_other_size_and_the_same_crop(dtype):
    unet, seen = sized_unet()
    unet.label_emb.to(dtype)
    given = vector(400.0, 560.0, 8.0, 16.0, 400.0, 560.0).to(dtype)
    kept = given.clone()
    prediction, inputs, run = step(unet, given, Size(896, 1216))
    assert torch.allclose(prediction, mixed(unet, inputs, 1.5), atol=1e-5)
    expected = vector(896.0, 1216.0, 8.0, 16.0, 896.0, 1216.0).to(dtype)
    assert len(seen) >= 2
    assert all(one.dtype == dtype and torch.allclose(one, expected, atol=1e-3) for one in seen)
    assert torch.equal(given, kept)
    assert run.adapted is not None and run.inaction is None
    unet.label_emb(given)
    assert torch.equal(seen[-1], given) and "forward" not in vars(unet.label_emb)


def test_without_pruning_it_costs_one_pass():
    unet, seen = sized_unet()
    prediction, inputs, run = step(unet, vector(*[512.0] * 6), Size(1024, 1024), (0.0, 0.0, 0.0))
    assert torch.equal(prediction, unet(*inputs)) and len(seen) == 1
    assert torch.allclose(seen[0], vector(1024.0, 1024.0, 512.0, 512.0, 1024.0, 1024.0), atol=1e-4)
    assert run.inaction is None and run.refusals == []


@pytest.mark.parametrize("width", [None, 1280])
def test_a_model_that_is_told_no_sizes_is_drawn_dense_and_said(width):
    unet, given = (make_unet(), None) if width is None else (sized_unet(width)[0], torch.zeros(2, width))
    prediction, inputs, run = step(unet, given, Size(1024, 1024))
    assert torch.equal(prediction, unet(*inputs))
    assert len(run.refusals) == 1 and "size conditioning" in run.refusals[0]
    assert run.adapted is None


def _told(size, family=SDXL):
    return plan_for(Settings(True, size_conditioning="native", preset="custom"), size).make(Checkpoint("a", family))


def test_the_size_told_has_the_native_area_and_the_aspect():
    assert _told(Size(512, 512)).told == Size(1024, 1024)
    assert _told(Size(400, 560)).told == Size(896, 1216)
    assert _told(Size(400, 560)).adaptations == ("told the size 896x1216 (height x width)",)
    native = _told(Size(832, 1216))
    assert native.told is None and native.adaptations == ()


@pytest.mark.parametrize("family", [SD15, OTHER, transformer_family("flux", "Flux")], ids=str)
def test_other_families_are_told_so(family):
    with pytest.raises(PresetError, match=r"^The size conditioning is for SDXL only: switch it off\.$"):
        _told(Size(512, 512), family)
