"""What a calibration gathers, against hooks on a copy of the model and numpy; and how it is kept."""

from __future__ import annotations

import copy
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from published_unets import UNETS, pruned_shapes
from run_bench import CPU, Access, touched
from small_unet import Fused, TransformerBlock, make_inputs, make_unet
from torch import nn

from crdiff.calibration.gathering import Gathering
from crdiff.calibration.memory import Input, column_bytes, first_fitting, hessian_bytes, working_bytes
from crdiff.calibration.prompts import neutral_prompts
from crdiff.calibration.run import Calibration, CalibrationRun
from crdiff.method.schedule import Position
from crdiff.models.architecture import Layer, find_layers
from crdiff.models.checkpoint import Checkpoint
from crdiff.models.unet import SDXL
from crdiff.presets.library import PresetLibrary
from crdiff.pruning.calibrations import Calibrations, MissingCalibrationError, needed
from crdiff.pruning.criterion import LinearCall
from crdiff.pruning.hessian import DAMPING
from crdiff.pruning.lacking import newest
from crdiff.pruning.statistics import LayerStatistics, Statistics
from crdiff.pruning.store import Store, WeightsState
from crdiff.scoring.prompts import plain_text
from crdiff.settings import Settings
from crdiff.webui.status import describe

STATE = WeightsState("a" * 64, "float16", (), "print")


def seen_by_hooks(unet, calls):
    """Every input of the prunable layers as rows, and the blocks' changes, of a copy that only hooks look at."""
    copied = copy.deepcopy(unet)
    inputs: dict[str, list[np.ndarray]] = {}
    changes: dict[str, list[float]] = {}
    for layer in find_layers(copied).layers:
        layer.module.register_forward_hook(
            lambda _, args, __, name=layer.name: inputs.setdefault(name, []).append(args[0].flatten(0, -2).numpy())
        )
    for name, block in copied.named_modules():
        if isinstance(block, TransformerBlock):
            block.register_forward_hook(
                lambda _, args, result, name=name: changes.setdefault(name, []).extend(map(change, args[0], result))
            )
    results = [copied(*call) for call in calls]
    return {name: np.concatenate(rows).astype(np.float64) for name, rows in inputs.items()}, changes, results


def change(before, after):
    a, b = before.flatten().double().numpy(), after.flatten().double().numpy()
    return 1.0 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)


@pytest.fixture(scope="module")
def calibrated():
    """Two runs of a model, of one call and of two."""
    unet, calls = make_unet(), [make_inputs(seed) for seed in range(3)]
    calibration, found = Calibration(hessians=("up",)), []
    for part in (calls[:1], calls[1:]):
        with CalibrationRun(calibration, Access()) as run:
            found += [run.predict(unet, lambda call=call: unet(*call), CPU) for call in part]
        assert run.refusals == []
    ((state, gathering),) = calibration.gatherings.items()
    assert (calibration.calls, state.checkpoint) == (3, "a")
    return unet, calls, found, gathering.statistics({"size": "48x40"})


def test_the_model_draws_as_without_it(calibrated):
    unet, calls, found, _ = calibrated
    _, _, expected = seen_by_hooks(unet, calls)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert touched(unet) == []


def test_sums_are_those_of_the_inputs(calibrated):
    unet, calls, _, statistics = calibrated
    inputs, changes, _ = seen_by_hooks(unet, calls)
    assert statistics.layers.keys() == inputs.keys()
    for name, rows in inputs.items():
        layer = statistics.layers[name]
        np.testing.assert_allclose(layer.squares, (rows**2).sum(0), rtol=1e-5)
        np.testing.assert_allclose(layer.norms, np.sqrt((rows**2).mean(0)), rtol=1e-5)
        assert (layer.tokens, layer.skipped) == (len(rows), 0)
    assert statistics.blocks == pytest.approx({name: np.mean(found) for name, found in changes.items()}, rel=1e-4)
    assert statistics.tokens == 180


def test_the_inverse_is_that_of_the_damped_hessian(calibrated):
    unet, calls, _, statistics = calibrated
    inputs, _, _ = seen_by_hooks(unet, calls)
    assert set(statistics.uninverted) == {name for name in inputs if not name.startswith("output_blocks.")}
    for name, rows in inputs.items():
        if name.startswith("output_blocks."):
            hessian = 2.0 * rows.T @ rows / len(rows)
            hessian += DAMPING * np.diag(hessian).mean() * np.eye(len(hessian))
            np.testing.assert_allclose(statistics.layers[name].inverse, np.diag(np.linalg.inv(hessian)), rtol=2e-3)


def test_whole_hessians_weigh_the_tokens_of_early_steps_more():
    unet, calls = make_unet(), [make_inputs(seed) for seed in range(2)]
    calibration = Calibration(hessians=("up",), by_step=True)
    with CalibrationRun(calibration, Access()) as run:
        for step, call in enumerate(calls):
            run.position = Position(step, 2)
            run.predict(unet, lambda call=call: unet(*call), CPU)
    inputs, _, _ = seen_by_hooks(unet, calls)
    (gathering,) = calibration.gatherings.values()
    whole, statistics = gathering.whole(), gathering.statistics({})
    assert set(whole.keys) == {name for name in inputs if name.startswith("output_blocks.")}
    for name, key in whole.keys.items():
        first, second = np.split(inputs[name], 2)
        expected = 2.0 * (1.2 * first.T @ first + 0.8 * second.T @ second) / (1.2 * len(first) + 0.8 * len(second))
        np.testing.assert_allclose(whole.get(key), expected, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(statistics.layers[name].squares, (inputs[name] ** 2).sum(0), rtol=1e-5)
    named = {name.rpartition(".")[0] for name in whole.keys if name.endswith((".to_q", ".to_k", ".to_v"))}
    assert len(set(whole.keys.values())) == len(whole.keys) - 2 * len(named), "queries, keys and values have one"


def watched(*inputs: torch.Tensor, hessian: bool = False) -> LayerStatistics:
    layer = Layer("layer", "mid", "block", nn.Linear(3, 2))
    gathering = Gathering(("mid",) if hessian else ())
    for x in inputs:
        gathering.see(LinearCall(layer, layer.module.weight, x))
    return gathering.statistics({}).layers["layer"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_tokens_that_are_not_finite_are_skipped_and_counted(dtype):
    x = torch.tensor([[1.0, 2.0, 3.0], [1.0, float("inf"), 0.0], [float("nan"), 0.0, 0.0], [-2.0, 0.0, 200.0]])
    found = watched(x.to(dtype)[None], hessian=True)
    assert (found.tokens, found.skipped) == (2, 2)
    assert found.squares.tolist() == [5.0, 4.0, 40009.0]
    assert np.isfinite(found.inverse).all()


def test_an_input_that_never_moves_does_not_spoil_the_inverse():
    """The Hessian of a dead input is 1, as in the authors' code."""
    rows = torch.tensor([[1.0, 0.0, 2.0], [3.0, 0.0, -1.0]])
    damping = DAMPING * (10.0 + 1.0 + 5.0) / 3
    inverse = np.linalg.inv(np.array([[10.0, 0.0, -1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 5.0]]) + damping * np.eye(3))
    np.testing.assert_allclose(watched(rows, hessian=True).inverse, np.diag(inverse), rtol=1e-5)


def test_layers_that_cannot_be_reached_are_refused_and_drawn():
    """From the random numbers it would have had."""
    unet, inputs = make_unet(linear=Fused, noisy=True), make_inputs()
    with CalibrationRun(Calibration(), Access()) as run:
        run.predict(unet, lambda: unet(*inputs), CPU)
    first, again = unet.drawn
    assert first == again
    (reason,) = run.refusals
    assert "cannot reach the weights of Fused layers" in reason
    assert touched(unet) == []


def some(value: float, **made: str) -> Statistics:
    layer = LayerStatistics(7, np.array([value, 2.0], np.float32), 1, np.array([0.5, 0.25], np.float32))
    return Statistics({"a.b": layer}, {"a": 0.125}, made)


def test_kept_until_deleted(tmp_path):
    Calibrations(tmp_path / "new").put(STATE, some(1.0, size="512x512"))
    calibrations = Calibrations(tmp_path / "new")
    found = calibrations.of(STATE)
    assert found.id == some(1.0, size="512x512").id != some(1.5, size="512x512").id
    assert (found.blocks, found.made, found.tokens, found.skipped) == ({"a": 0.125}, {"size": "512x512"}, 7, 1)
    assert found.layers["a.b"].inverse.tolist() == [0.5, 0.25]
    (stored,) = calibrations.of_checkpoint(STATE.checkpoint)
    assert (stored.checkpoint, stored.modifiers) == (STATE.checkpoint, ())
    assert stored.bytes == stored.path.stat().st_size
    calibrations.delete(stored)
    assert calibrations.of(STATE) is None and calibrations.all() == ()


def test_each_state_of_the_weights_has_its_own(tmp_path):
    calibrations = Calibrations(tmp_path)
    with_lora = WeightsState(STATE.checkpoint, STATE.precision, ("lora 0.8",), STATE.fingerprint)
    calibrations.put(with_lora, some(3.0))
    store = Store(calibrations=calibrations)
    assert needed("wanda", with_lora, store).layers["a.b"].squares[0] == 3.0
    with pytest.raises(MissingCalibrationError, match=r"^The criterion wanda has to know .* without LoRAs first.$"):
        needed("wanda", STATE, store)
    with pytest.raises(MissingCalibrationError):
        needed("wanda", STATE, Store())
    assert [one.modifiers for one in calibrations.of_checkpoint(STATE.checkpoint)] == [("lora 0.8",)]
    assert calibrations.of_checkpoint("another") == ()


def test_the_status_line_says_what_a_criterion_lacks(tmp_path):
    calibrations, checkpoint = Calibrations(tmp_path), Checkpoint("model", SDXL, STATE.checkpoint)

    def told(criterion):
        return describe(Settings(enabled=True, criterion=criterion), PresetLibrary(), checkpoint, None, calibrations)

    for criterion, needs in (("wanda", "a calibration"), ("obs-saliency", "a calibration with Hessians")):
        status = told(criterion)
        assert status.level == "problem"
        assert status.text == (
            f"SDXL: the criterion {criterion} needs {needs} of this checkpoint first. Images are drawn without CR-Diff."
        )
    assert told("attenuation").level == "estimated"
    known = some(1.0)
    without = replace(known, layers={"a.b": replace(known.layers["a.b"], inverse=None)})
    calibrations.put(STATE, without)
    # What a search writes into its journal.
    found = [newest(name, STATE.checkpoint, calibrations) for name in ("wanda", "obs-saliency", "magnitude")]
    assert found == [without.id, "", ""] and newest("wanda", None, calibrations) == ""
    assert [told(criterion).level for criterion in ("wanda", "obs-saliency")] == ["estimated", "problem"]
    calibrations.put(STATE, known)
    assert told("obs-saliency").level == "estimated"
    later = calibrations.put(STATE, replace(without, made={"size": "another"}))
    os.utime(later, ns=(later.stat().st_atime_ns, later.stat().st_mtime_ns + 10**9))
    assert told("obs-saliency").level == "problem"  # runs go by the latest of the weights alone


def test_the_latest_counts_and_the_same_way_replaces(tmp_path):
    calibrations = Calibrations(tmp_path)
    first = calibrations.put(STATE, some(1.0, size="512x512"))
    second = calibrations.put(STATE, some(2.0, size="80x128"))
    for age, path in enumerate([second, first]):
        stamp = path.stat().st_mtime_ns - age * 10**9
        os.utime(path, ns=(stamp, stamp))
    assert calibrations.of(STATE).made == {"size": "80x128"}
    assert calibrations.put(STATE, some(5.0, size="512x512")) == first
    assert len(calibrations.all()) == 2


def test_a_damaged_file_counts_as_none(tmp_path):
    path = Calibrations(tmp_path).put(STATE, some(1.0))
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    assert Calibrations(tmp_path).of(STATE) is None
    path.write_bytes(b"short")
    assert Calibrations(tmp_path).of(STATE) is None


def inputs_of(stacks):
    groups = pruned_shapes(stacks, "ldm")
    return [Input.of(name, group, shape[1]) for group, shapes in groups.items() for name, shape in shapes.items()]


@pytest.mark.parametrize(
    ("family", "columns", "hessians"), [("sdxl", 582_400, (2494, 1188, 3741)), ("sd15", 87_360, (312, 119, 467))]
)
def test_memory_is_told_beforehand(family, columns, hessians):
    """By arithmetic: a block of width C has inputs of C, C, C and 4 C; four of the largest are needed to work with."""
    inputs = inputs_of(UNETS[family][0])
    assert column_bytes(inputs) == 4 * columns
    assert [size / 2**20 for size in hessian_bytes(inputs).values()] == pytest.approx(hessians, abs=1.0)
    assert working_bytes(inputs) == 4 * 4 * (4 * 1280) ** 2


def test_as_many_groups_as_fit_the_first_ones_first():
    sizes = {"down": 5, "mid": 3, "up": 7}
    found = [first_fitting(sizes, available) for available in (15, 14, 7, 4, 2)]
    assert found == [("down", "mid", "up"), ("down", "mid"), ("down",), ("mid",), ()]


def test_layers_of_one_input_have_one_sum_until_they_see_another():
    """As if each had been seen alone."""
    layers = [Layer(name, "mid", "block", nn.Linear(3, 2)) for name in ("q", "k")]
    gathering = Gathering(("mid",))
    first, second, third = (torch.tensor([[1.0, 2.0, value]]) for value in (3.0, 5.0, 7.0))
    for layer, x in [(layers[0], first), (layers[1], first), (layers[0], second), (layers[1], third)]:
        gathering.see(LinearCall(layer, layer.module.weight, x))
    found = gathering.statistics({}).layers
    assert found["q"].squares.tolist() == [2.0, 8.0, 34.0]
    assert found["k"].squares.tolist() == [2.0, 8.0, 58.0]
    for name, rows in (("q", torch.cat([first, second])), ("k", torch.cat([first, third]))):
        np.testing.assert_array_equal(found[name].inverse, watched(rows, hessian=True).inverse)


def test_neutral_prompts_are_64_and_plain():
    prompts = neutral_prompts()
    assert len(set(prompts)) == 64
    assert all(prompt == plain_text(prompt) != "" for prompt in prompts)
