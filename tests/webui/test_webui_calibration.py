"""A calibration as a job, without a host: what is kept of it, and what users are told."""

from __future__ import annotations

import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from crdiff.calibration import run
from crdiff.calibration.prompts import neutral_prompts
from crdiff.errors import CRDiffError, SettingsError
from crdiff.models.architecture import Layer, roles_of
from crdiff.models.checkpoint import Checkpoint
from crdiff.models.checkpoint_file import FileLayers
from crdiff.models.unet import SD15
from crdiff.presets.library import PresetLibrary
from crdiff.presets.size import Size
from crdiff.pruning.calibrations import Calibrations
from crdiff.pruning.criterion import LinearCall
from crdiff.pruning.registry import CRITERIA, CriterionKind, Needs
from crdiff.pruning.store import WeightsState
from crdiff.webui.calibration import report
from crdiff.webui.calibration.context import CalibrationContext
from crdiff.webui.calibration.job import CalibrationJob
from crdiff.webui.calibration.monitor import CalibrationStatus
from crdiff.webui.calibration.preparation import Setup, prepare, size_of
from crdiff.webui.calibration.request import CalibrationRequest
from crdiff.webui.generation import ActiveSlot

STATE = WeightsState("a" * 64, "float16", (), "print")
WITH_LORA = WeightsState("a" * 64, "float16", ("lora 0.8",), "print")
CHECKPOINT = Checkpoint("model", SD15, "a" * 64)
GROUPS = ("down", "mid", "up")
LAYERS = [Layer(group, group, "block", nn.Linear(4, 2)) for group in GROUPS]
CPU = torch.device("cpu")


class Images:
    """Stands in for the host's images: each shows every layer four tokens that follow from its seed."""

    def __init__(self, host, interrupt_in=None, states=None):
        self.host, self.interrupt_in = host, interrupt_in
        self.states = states or [STATE]
        self.seeds = []

    def draw(self, prompt, seed, calibration):
        if self.interrupt_in == 0:
            self.host.interrupted = True
            return
        gathering = calibration.gathering(self.states[len(self.seeds) % len(self.states)], LAYERS, CPU)
        for layer in LAYERS:
            x = torch.randn(1, 4, 4, generator=torch.Generator().manual_seed(seed))
            gathering.see(LinearCall(layer, layer.module.weight, x))
        self.seeds.append(seed)
        self.host.job_no += 1
        self.host.interrupted = len(self.seeds) == self.interrupt_in


@pytest.fixture
def host(monkeypatch):
    state = SimpleNamespace(
        interrupted=False, stopping_generation=False, skipped=False, job_no=0, job_count=-1, textinfo=None
    )
    shared = SimpleNamespace(state=state, opts=SimpleNamespace())
    monkeypatch.setitem(sys.modules, "modules", SimpleNamespace(shared=shared))
    monkeypatch.setitem(sys.modules, "modules.shared", shared)
    return state


@pytest.fixture
def context(tmp_path):
    checkpoints = SimpleNamespace(hashed=lambda override: CHECKPOINT)
    return CalibrationContext(Calibrations(tmp_path), PresetLibrary(), checkpoints, ActiveSlot())


def calibrated(context, images, count=5, hessians=(), whole=False):
    made = {"images": str(count), "size": "512x512", "hessians": ",".join(hessians)}
    context.monitor.begin(CalibrationStatus("running", images=count))
    setup = Setup(CHECKPOINT, Size(512, 512), tuple(("a cat", seed) for seed in range(count)), hessians, made, whole)
    return CalibrationJob(setup, images, context, context.monitor).run()


@pytest.fixture
def room_for(monkeypatch):
    """Free memory for the Hessians of so many groups."""

    def allow(count):
        monkeypatch.setattr(run, "fitting", lambda needed, *_: tuple(needed)[:count])

    return allow


def test_hessians_that_do_not_fit_together_are_gathered_one_after_the_other(host, context, room_for):
    """The same as all at once, from the same images."""
    room_for(3)
    assert calibrated(context, Images(host), hessians=GROUPS).state == "done"
    whole = context.calibrations.of(STATE)
    room_for(1)
    images = Images(host)
    status = calibrated(context, images, hessians=GROUPS)
    assert status.message == "model is calibrated with 5 images: 20 tokens at 512x512."
    assert images.seeds == [0, 1, 2, 3, 4] * 3
    parts = context.calibrations.of(STATE)
    for name, layer in whole.layers.items():
        np.testing.assert_array_equal(parts.layers[name].inverse, layer.inverse)
        np.testing.assert_array_equal(parts.layers[name].squares, layer.squares)
    assert (host.job_no, host.job_count) == (20, 20)


@pytest.mark.parametrize("room", [1, 3])
def test_whole_hessians_are_on_disk_when_the_next_ones_are_gathered(host, context, room_for, room):
    room_for(room)
    calibrated(context, Images(host), hessians=GROUPS, whole=True)
    tokens = [torch.randn(1, 4, 4, generator=torch.Generator().manual_seed(seed))[0] for seed in range(5)]
    rows = torch.cat(tokens).double().numpy()
    found = context.calibrations.of(STATE).hessians
    assert set(found.keys) == set(GROUPS)
    for key in found.keys.values():
        np.testing.assert_allclose(found.get(key), 2 * rows.T @ rows / 20, rtol=1e-5)


@pytest.mark.parametrize(("interrupt_in", "kept"), [(1, None), (3, {"down"}), (7, {"down"})])
def test_of_whole_hessians_a_stopped_job_leaves_those_that_it_keeps(
    host, context, room_for, tmp_path, interrupt_in, kept
):
    room_for(1)
    calibrated(context, Images(host, interrupt_in), hessians=GROUPS, whole=True)
    found = context.calibrations.of(STATE)
    assert (None if found is None else set(found.hessians.keys)) == kept
    assert len(list(tmp_path.glob("*.hessians"))) == (kept is not None)


def test_whole_hessians_for_which_there_is_no_room_on_disk_are_refused(host, context, monkeypatch):
    name, asked = "middle_block.1.transformer_blocks.0.ff.net.2", CalibrationRequest(hessians="whole")
    architecture, roles = roles_of([name])
    layers = FileLayers({name: (500, 1000)}, roles, architecture)
    context.checkpoints.layers, context.checkpoints.selected = lambda: layers, lambda: CHECKPOINT
    monkeypatch.setattr(Calibrations, "free_bytes", lambda self: 3_900_000)
    for check in (lambda: report.estimate(asked, context), lambda: prepare(job(), asked, context)):
        with pytest.raises(SettingsError, match=r"^Whole Hessians take 4 MB on disk, where 3.9 MB are free\.$"):
            check()
    monkeypatch.setattr(Calibrations, "free_bytes", lambda self: 4_000_000)
    assert report.estimate(asked, context).endswith(" They take 4 MB on disk.")
    assert prepare(job(), asked, context).whole


def test_hessians_for_which_there_is_no_memory_are_missing_in_words(host, context, room_for):
    room_for(0)
    images = Images(host)
    status = calibrated(context, images, hessians=GROUPS)
    assert status.state == "done"
    assert "The Hessians of down, mid, up are missing because they do not fit into free memory." in status.message
    assert context.calibrations.of(STATE).uninverted == GROUPS


def test_an_interrupt_keeps_whole_images(host, context):
    status = calibrated(context, Images(host, interrupt_in=3))
    assert (status.state, status.drawn) == ("stopped", 2)
    assert status.message.startswith("model is calibrated with 2 of 5 images (it was stopped): ")
    assert context.calibrations.of(STATE).made["images"] == "2"


@pytest.mark.parametrize(
    ("interrupt_in", "sentence"),
    [
        (0, "stopped before its first image was done; nothing was kept."),
        (1, "stopped before its first image was done; nothing was kept."),
        (3, "the earlier one with 5 images is kept instead"),
    ],
)
def test_an_interrupt_loses_no_earlier_calibration(host, context, interrupt_in, sentence):
    calibrated(context, Images(host))
    (before,) = context.calibrations.all()
    status = calibrated(context, Images(host, interrupt_in))
    assert (status.state, status.name) == ("stopped", None)
    assert sentence in status.message
    assert [one.path for one in context.calibrations.all()] == [before.path]


def test_an_interrupt_while_hessians_are_gathered_keeps_those_there_are(host, context, room_for):
    room_for(1)
    status = calibrated(context, Images(host, interrupt_in=7), hessians=GROUPS)
    assert status.state == "stopped"
    assert "with 5 images" in status.message
    assert "The Hessians of mid, up are missing because it was stopped." in status.message
    assert context.calibrations.of(STATE).uninverted == ("mid", "up")


def test_weights_that_change_between_the_images_are_refused(host, context):
    with pytest.raises(CRDiffError, match=r"^The weights changed between the images, .*; nothing was kept.$"):
        calibrated(context, Images(host, states=[STATE, WITH_LORA]))
    assert context.calibrations.all() == ()


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"images": 0}, "images of a calibration must be an integer in [1, 10000], not 0."),
        ({"images": 2.5}, "images of a calibration must be an integer in [1, 10000], not 2.5."),
        ({"prompts": "mine"}, "prompts of a calibration must be one of neutral, tab, not 'mine'."),
        ({"prompts": []}, "prompts of a calibration must be neutral, tab or a list of texts, not []."),
        ({"prompts": ["a", 1]}, "prompts of a calibration must be neutral, tab or a list of texts, not ['a', 1]."),
        ({"size": "large"}, "A size is written HEIGHTxWIDTH, such as 400x560, not 'large'."),
        ({"size": "100x96"}, "size of a calibration must have 64 to 4096 pixels a side, in steps of 8, not 100x96."),
        ({"hessians": "yes"}, "hessians of a calibration must be one of none, diagonals, whole, not 'yes'."),
        ({"seed": -1}, "seed of a calibration must be an integer in [0, 4294967295], not -1."),
    ],
)
def test_what_cannot_be_calibrated_is_one_sentence(asked, sentence):
    with pytest.raises(CRDiffError) as refused:
        CalibrationRequest.from_dict(asked)
    assert str(refused.value) == sentence


def test_the_size_is_the_native_one_whatever_the_tab_says(context):
    assert size_of(CalibrationRequest(), CHECKPOINT, context) == Size(512, 512)
    assert size_of(CalibrationRequest(size="96x128"), CHECKPOINT, context) == Size(96, 128)
    with pytest.raises(SettingsError, match="It is not known what size model was trained at"):
        size_of(CalibrationRequest(), Checkpoint("model", None, "b" * 64), context)


def job(prompt="a <lora:x:0.8> cat <hypernet:y:1>", negative="dark", **more):
    more = {"override_settings": {}, "styles": [], "scheduler": "Simple", **more}
    return SimpleNamespace(
        prompt=prompt,
        negative_prompt=negative,
        steps=20,
        sampler_name="Euler",
        cfg_scale=7.0,
        width=64,
        height=96,
        **more,
    )


def test_neutral_prompts_are_drawn_with_the_networks_of_the_tab(host, context):
    """It is the model with these that the user draws with."""
    found = prepare(job(), CalibrationRequest(images=66, seed=5), context)
    neutral = neutral_prompts()
    expected = [f"{text} <lora:x:0.8><hypernet:y:1>" for text in (*neutral, *neutral[:2])]
    assert [prompt for prompt, _ in found.images] == expected
    assert [seed for _, seed in found.images] == list(range(5, 71))
    assert found.size == Size(512, 512)
    own = prepare(job(), CalibrationRequest("tab", images=2), context)
    assert own.images == (("a <lora:x:0.8> cat <hypernet:y:1>", 1), ("a <lora:x:0.8> cat <hypernet:y:1>", 2))


def test_what_it_was_made_with_tells_calibrations_apart(host, context):
    plain = prepare(job(), CalibrationRequest(), context).made
    assert (plain["steps"], plain["sampler"], plain["cfg scale"], plain["size"]) == (
        "20",
        "Euler Simple",
        "7",
        "512x512",
    )
    assert "token merging" not in plain
    others = [prepare(job(negative="blurred"), CalibrationRequest(), context).made]
    others += [prepare(job(), CalibrationRequest(**change), context).made for change in ({"seed": 2}, {"images": 3})]
    sys.modules["modules.shared"].opts.token_merging_ratio = 0.5
    others.append(prepare(job(), CalibrationRequest(), context).made)
    assert others[-1]["token merging"] == "0.5"
    assert all(other != plain for other in others)


def test_hypertile_is_refused(host, context):
    sys.modules["modules.shared"].opts.hypertile_enable_unet = True
    with pytest.raises(SettingsError, match=r"^HyperTile cuts up what the layers would see"):
        prepare(job(), CalibrationRequest(), context)


def test_users_are_told_what_is_known_and_what_a_criterion_lacks(host, context, monkeypatch):
    for name in list(CRITERIA):
        monkeypatch.delitem(CRITERIA, name)
    for name, needs in (("plain", Needs.NOTHING), ("columns", Needs.CALIBRATION), ("inverses", Needs.HESSIANS)):
        monkeypatch.setitem(CRITERIA, name, CriterionKind("", lambda *_: None, needs))
    assert report.describe(CHECKPOINT, ()) == "model is not calibrated. columns, inverses need it."
    calibrated(context, Images(host))
    told = report.describe(CHECKPOINT, context.calibrations.of_checkpoint("a" * 64))
    assert told.startswith("model is calibrated: 5 images at 512x512, 20 tokens, 20")
    assert ". inverses still needs a calibration with Hessians." in told
    assert re.search(r" [0-9.]+ (bytes|KB) on disk\.$", told)
    calibrated(context, Images(host), hessians=GROUPS)
    (latest, _) = context.calibrations.of_checkpoint("a" * 64)
    assert "still needs" not in report.describe(CHECKPOINT, [latest])
    assert report.to_dict(latest)["lacking"] == {}
