"""Criteria with whole Hessians: worked numbers, and least squares one weight after the other on odd shapes."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from crdiff.bench.random_model import PUBLISHED, build_model
from crdiff.calibration.gathering import Gathering
from crdiff.calibration.run import step_weight
from crdiff.errors import UnsupportedModelError
from crdiff.method.groups import GROUPS, Ratios
from crdiff.method.schedule import Position
from crdiff.models.architecture import Layer, find_layers
from crdiff.models.unet import SD15, SDXL
from crdiff.pruning import hessian, obs_diff
from crdiff.pruning.calibrations import Calibrations, MissingCalibrationError
from crdiff.pruning.criterion import LinearCall
from crdiff.pruning.heads import head_scores
from crdiff.pruning.matrix_files import MatrixFiles
from crdiff.pruning.registry import CRITERIA
from crdiff.pruning.statistics import LayerStatistics, Statistics
from crdiff.pruning.store import Store, WeightsState, read_record, write_record
from crdiff.pruning.surgery import Surgeon

STATE = WeightsState("checkpoint", "float32", (), "print")
OTHER = WeightsState("other", "float32", (), "print")

W = torch.tensor([[0.50, -0.20, 0.10, 0.80], [-0.30, 0.60, -0.70, 0.05], [0.15, -0.90, 0.40, -0.25]])
H = torch.tensor(
    [[8.66, 0.1, 17.5, -0.88], [0.1, 0.605, 0.08, 0.95], [17.5, 0.08, 36.68, -1.08], [-0.88, 0.95, -1.08, 3.72]]
)


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (4, [[0, 0, 0.334433714, 0.701978236], [0, 0, -0.836098372, 0], [0, -0.853113488, 0.470454743, 0]]),
        (2, [[0, 0, 0, 0], [0, 0.506226977, -0.840909486, 0], [0, -0.853113488, 0.470454743, 0]]),
    ],
)
def test_a_worked_layer(block, expected):
    found = Surgeon(H, block).by_ratio(W, 0.5)
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-5)
    assert (found == 0).tolist() == (np.array(expected) == 0).tolist()


def test_a_worked_layer_two_of_four():
    expected = [[0, 0, 0.334433714, 0.701978236], [0, 0.506226977, -0.840909486, 0], [0, -0.853113488, 0.470454743, 0]]
    np.testing.assert_allclose(Surgeon(H).two_of_four(W).numpy(), expected, atol=2e-5)


def slow(weight, hessian, block, ratio):
    """Float64: a weight that goes is made up for by the best change of the weights to its right, all others held.

    ``ratio`` is that of each block, or None for two of every four.
    """
    hessian = hessian.astype(np.float64).copy()
    dead = np.diag(hessian) == 0
    hessian[dead, dead] = 1.0
    hessian += 0.01 * np.diag(hessian).mean() * np.eye(len(hessian))
    weight = np.where(dead, 0.0, weight.astype(np.float64))
    rows, columns = weight.shape
    curvature = [1.0 / np.linalg.inv(hessian[j:, j:])[0, 0] for j in range(columns)]
    masks = np.zeros(weight.shape, bool)
    for j in range(columns):
        if ratio is not None and j % block == 0:
            saliency = weight[:, j : j + block] ** 2 * curvature[j : j + block]
            masks[:, j : j + block] = saliency <= np.sort(saliency.ravel())[int(saliency.size * ratio)]
        if ratio is None and j % 4 == 0:
            for i in range(rows):
                saliency = weight[i, j : j + 4] ** 2 * curvature[j : j + 4]
                masks[i, j + np.argsort(saliency, kind="stable")[: len(saliency) // 2]] = True
        for i in range(rows):
            if masks[i, j]:
                # The least of e^T H e over the changes e of the columns from j on, of which the first is -w.
                weight[i, j + 1 :] += np.linalg.solve(hessian[j + 1 :, j + 1 :], hessian[j + 1 :, j] * weight[i, j])
                weight[i, j] = 0.0
    return weight


@pytest.mark.parametrize(("rows", "columns"), [(5, 7), (1, 9), (16, 33), (3, 1), (9, 16)])
@pytest.mark.parametrize("ratio", [0.13, 0.5, 0.9, None])
def test_against_least_squares(rows, columns, ratio):
    random = np.random.default_rng(rows * columns)
    weight = random.standard_normal((rows, columns)).astype(np.float32)
    x = random.standard_normal((4 * columns, columns)) @ (np.eye(columns) + 0.3 * random.random((columns, columns)))
    if columns > 3:
        x[:, 2] = 0.0  # an input that never moved
    hessian = (2.0 * x.T @ x / len(x)).astype(np.float32)
    surgeon = Surgeon(torch.from_numpy(hessian), block=8)
    given = torch.from_numpy(weight)
    found = surgeon.two_of_four(given) if ratio is None else surgeon.by_ratio(given, ratio)
    assert np.array_equal(given.numpy(), weight), "the weight given is left alone"
    expected = slow(weight, hessian, 8, ratio)
    np.testing.assert_allclose(found.numpy(), expected, atol=3e-4)
    assert np.array_equal(found.numpy() == 0, expected == 0)


def test_a_hessian_without_an_inverse_is_refused():
    with pytest.raises(ValueError, match="cannot be inverted"):
        Surgeon(torch.tensor([[1.0, 3.0], [3.0, 1.0]]))


def test_early_steps_count_for_more():
    """A worked Hessian of five steps, each of two images; of one step, as if there were no weights."""
    found = [step_weight(Position(step, 5)) for step in range(5)]
    assert found == pytest.approx([1.2, 1.144541246, 1.073042478, 0.972270623, 0.8])
    assert [step_weight(Position(step, 25)) for step in (0, 1, 12, 24)] == pytest.approx(
        [1.2, 1.194927174, 1.118738528, 0.8]
    )
    assert step_weight(Position(0, 1)) == 1.0 and step_weight(Position(9, 5)) == pytest.approx(0.8)
    layer, gathering = a_layer("one", torch.zeros(1, 2)), Gathering(GROUPS)
    for step, x in enumerate(([1.0, 0.0], [1.0, 2.0])):
        gathering.weight = (1.2, 0.8)[step]
        gathering.see(LinearCall(layer, layer.module.weight, torch.tensor([x])))
    whole = gathering.whole()
    np.testing.assert_allclose(whole.get(whole.keys["one"]), [[2.0, 1.6], [1.6, 3.2]], rtol=1e-6)
    assert gathering.statistics({}).layers["one"].squares.tolist() == [2.0, 4.0]


def a_layer(name: str, weight: torch.Tensor, group: str = "mid") -> Layer:
    module = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    module.weight = nn.Parameter(weight, requires_grad=False)
    return Layer(name, group, "block", module)


class Known:
    """Whole Hessians in memory, which counts how often each is read."""

    def __init__(self, hessians, shared=()):
        self.hessians = {name: one.numpy() for name, one in hessians.items()}
        self.keys = {name: name for name in hessians} | dict(shared)
        self.read = []

    def get(self, key):
        self.read.append(key)
        return self.hessians[key]


def statistics_of(layers, hessians, **made):
    known = {
        layer.name: LayerStatistics(4, np.ones(layer.features[1], np.float32), 0, np.ones(4, np.float32))
        for layer in layers
    }
    return Statistics(known, {}, made, hessians)


class Source:
    def __init__(self, statistics):
        self.statistics = statistics

    def of(self, state):
        return self.statistics


def looked(criterion, layers, ratios):
    observer = criterion.observer(ratios)
    assert observer is not None and observer.calls == 1
    with torch.inference_mode():  # in which hosts draw
        for layer in layers:
            observer.see(LinearCall(layer, layer.module.weight))
    observer.finish(len(layers))
    return criterion.pruning(ratios)


def weight_of(pruning, layer):
    return pruning.weight(LinearCall(layer, layer.module.weight))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_layers_get_second_weights_in_what_they_compute_in(dtype):
    layers = [a_layer("q", W.to(dtype)), a_layer("k", W.flip(0).to(dtype)), a_layer("up", W.to(dtype), "up")]
    hessians = Known({"q": H, "up": H}, {"k": "q"})
    statistics = statistics_of(layers, hessians)
    store = Store(calibrations=Source(statistics))
    criterion, ratios = CRITERIA["obs-diff"].make(STATE, store), Ratios(0.3, 0.5, 0.0)
    pruning = looked(criterion, layers, ratios)
    assert hessians.read == ["q"], "layers with one input are solved with one factor"
    computed = torch.float16 if dtype is torch.float8_e4m3fn else dtype
    for layer in layers[:2]:
        expected = Surgeon(H).by_ratio(layer.module.weight.float(), 0.5).to(computed)
        assert torch.equal(weight_of(pruning, layer), expected)
    assert not pruning.wants(layers[2])
    sparsity = criterion.sparsity(ratios)
    assert {group: (one.weights, one.pruned) for group, one in sparsity.items()} == {
        "down": (0, 0), "mid": (24, 14), "up": (12, 0)
    }  # fmt: skip
    assert criterion.basis == statistics.id

    # The next image: nothing to look at; another ratio of one group: that group alone.
    again = CRITERIA["obs-diff"].make(STATE, store)
    assert again.observer(ratios) is None
    changed = Ratios(0.3, 0.5, 0.25)
    pruning = looked(again, layers, changed)
    assert hessians.read == ["q", "up"]
    assert torch.equal(
        weight_of(pruning, layers[2]), Surgeon(H).by_ratio(layers[2].module.weight.float(), 0.25).to(computed)
    )
    # Only one set is kept: another model, or another way, lets it go.
    looked(CRITERIA["obs-diff-2of4"].make(OTHER, store), layers, changed)
    assert CRITERIA["obs-diff"].make(STATE, store).observer(changed) is not None
    store.release("obs-diff-2of4")
    assert CRITERIA["obs-diff-2of4"].make(OTHER, store).observer(changed) is None
    store.release("magnitude")
    assert CRITERIA["obs-diff-2of4"].make(OTHER, store).observer(changed) is not None


def test_two_of_four_wherever_the_ratio_is_not_0():
    layers = [a_layer("one", W), a_layer("up", W, "up")]
    store = Store(calibrations=Source(statistics_of(layers, Known({"one": H, "up": H}))))
    criterion = CRITERIA["obs-diff-2of4"].make(STATE, store)
    pruning = looked(criterion, layers, Ratios(0.0, 0.1, 0.0))
    assert torch.equal(weight_of(pruning, layers[0]), Surgeon(H).two_of_four(W))
    assert not pruning.wants(layers[1])
    assert criterion.observer(Ratios(0.0, 0.7, 0.0)) is None and criterion.observer(Ratios(0.0, 0.7, 0.1)) is not None


def test_a_layer_without_a_hessian_goes_by_magnitude_and_nothing_makes_up_for_it():
    singular = torch.tensor([[1.0, 3.0, 0, 0], [3.0, 1.0, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1.0]])
    layers = [a_layer("none", W), a_layer("singular", W)]
    statistics = statistics_of(layers, Known({"singular": singular}))
    criterion = CRITERIA["obs-diff"].make(STATE, Store(calibrations=Source(statistics)))
    pruning = looked(criterion, layers, Ratios(0.5, 0.5, 0.5))
    for layer in layers:
        # The seven smallest magnitudes.
        assert weight_of(pruning, layer).tolist() == W.masked_fill(W.abs() <= 0.4, 0.0).tolist()
    assert criterion.basis == f"{statistics.id} (1 layer without a Hessian by magnitude)"


def test_what_stands_in_the_way_is_one_sentence(monkeypatch, tmp_path):
    layers = [a_layer("one", W)]
    with pytest.raises(MissingCalibrationError, match=r"needs a calibration with whole Hessians; .* has none\.$"):
        CRITERIA["obs-diff"].make(STATE, Store(calibrations=Source(statistics_of(layers, None))))
    calibrations = Calibrations(tmp_path)
    calibrations.put(STATE, statistics_of(layers, Known({"one": H})))
    (file,) = tmp_path.glob("*.hessians/*")
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    criterion = CRITERIA["obs-diff"].make(STATE, Store(calibrations=calibrations))
    with pytest.raises(UnsupportedModelError, match="The Hessian of the layer one is missing: calibrate"):
        looked(criterion, layers, Ratios(0.5, 0.5, 0.5))
    monkeypatch.setattr(obs_diff, "free_bytes", lambda device: 2**30)
    with pytest.raises(UnsupportedModelError, match="there is not enough of it free"):
        looked(criterion, layers, Ratios(0.5, 0.5, 0.5))


def test_whole_hessians_are_kept_in_files_of_their_own_and_go_with_the_calibration(tmp_path):
    layers = [a_layer("q", W), a_layer("k", W)]
    calibrations = Calibrations(tmp_path)
    path = calibrations.put(STATE, statistics_of(layers, Known({"q": H}, {"k": "q"}), size="512x512"))
    (folder,) = tmp_path.glob("*.hessians")
    assert len(list(folder.iterdir())) == 1
    found = Calibrations(tmp_path).of(STATE)
    assert found.hessians.keys == {"q": "q", "k": "q"}
    assert np.array_equal(found.hessians.get("q"), H.numpy())
    (stored,) = calibrations.all()
    assert stored.bytes == path.stat().st_size + next(folder.iterdir()).stat().st_size
    # The same way again replaces both; so does one without.
    calibrations.put(STATE, statistics_of(layers, Known({"q": 2 * H}), size="512x512"))
    (second,) = tmp_path.glob("*.hessians")
    assert second != folder
    assert np.array_equal(calibrations.of(STATE).hessians.get("q"), 2 * H.numpy())
    calibrations.put(STATE, calibrations.of(STATE))
    assert list(tmp_path.glob("*.hessians")) == [second] and second.is_dir()
    calibrations.delete(calibrations.all()[0])
    assert list(tmp_path.iterdir()) == []


def test_a_calibration_deletes_no_folder_but_its_own(tmp_path):
    calibrations, layers = Calibrations(tmp_path / "kept"), [a_layer("one", W)]
    for name in ("../mine", "mine.hessians/../../mine", "kept"):
        (tmp_path / "mine").mkdir(exist_ok=True)
        calibrations.put(STATE, statistics_of(layers, MatrixFiles(Path(name), {"one": "one"})))
        damaged = next((tmp_path / "kept").glob("*.safetensors"))
        record = read_record(damaged, lambda record: record)
        record.header["hessians"] = json.dumps({"folder": name, "keys": {}})
        write_record(damaged, record)
        assert Calibrations(tmp_path / "kept").all() == ()
        damaged.unlink()


def test_what_a_killed_calibration_has_left_is_deleted_by_a_later_one(tmp_path):
    calibrations = Calibrations(tmp_path)
    calibrations.put(STATE, statistics_of([a_layer("one", W)], Known({"one": H})))
    (kept,) = tmp_path.glob("*.hessians")
    under_way, left = (calibrations.files().with_those_of(Known({"one": H})).folder for _ in range(2))
    for folder in (kept, left):
        os.utime(folder, (0, 0))
    calibrations.files()
    assert set(tmp_path.glob("*.hessians")) == {kept, under_way}


def test_worked_heads(monkeypatch):
    monkeypatch.setattr(hessian, "DAMPING", 0.0)
    assert head_scores(W, H, 2) == pytest.approx((0.404369195, 2.23748739), rel=1e-3)
    squares = W.square().reshape(3, 2, 2).sum((0, 2)).tolist()
    assert head_scores(W, None, 2) == pytest.approx(squares)


@pytest.mark.parametrize(("rows", "columns", "heads"), [(5, 6, 3), (1, 9, 1), (7, 8, 8), (4, 12, 2)])
def test_a_heads_score_is_what_the_others_cannot_make_up_for(rows, columns, heads):
    random = np.random.default_rng(columns)
    weight, x = random.standard_normal((rows, columns)), random.standard_normal((3 * columns, columns))
    given = 2.0 * x.T @ x / len(x)
    damped = given + 0.01 * np.diag(given).mean() * np.eye(columns)
    width, expected = columns // heads, []
    for head in range(heads):
        gone = np.arange(head * width, (head + 1) * width)
        rest = np.setdiff1d(np.arange(columns), gone)
        change = np.zeros_like(weight)
        change[:, gone] = -weight[:, gone]
        change[:, rest] = weight[:, gone] @ np.linalg.solve(damped[np.ix_(rest, rest)], damped[np.ix_(rest, gone)]).T
        expected.append(np.trace(change @ damped @ change.T))
    found = head_scores(torch.tensor(weight, dtype=torch.float32), torch.tensor(given, dtype=torch.float32), heads)
    assert found == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float8_e4m3fn])
def test_heads_go_whole_and_only_where_self_attention_ends(dtype):
    end, up = (replace(a_layer(name, W.to(dtype), name), heads=2) for name in ("mid", "up"))
    layers = [end, up, a_layer("ff", W.to(dtype))]
    store = Store(calibrations=Source(statistics_of(layers, Known({"mid": H, "up": H, "ff": H}))))
    criterion, ratios = CRITERIA["heads"].make(STATE, store), Ratios(0.9, 0.5, 0.49)
    pruning = looked(criterion, layers, ratios)
    computed = torch.float16 if dtype is torch.float8_e4m3fn else dtype
    expected = end.module.weight.to(computed).clone()
    expected[:, :2] = 0.0  # the head whose score is smaller
    assert torch.equal(weight_of(pruning, end), expected)
    assert [layer.name for layer in layers if pruning.wants(layer)] == ["mid"]
    assert {group: (one.weights, one.pruned) for group, one in criterion.sparsity(ratios).items()} == {
        "down": (0, 0), "mid": (24, 6), "up": (12, 0)
    }  # fmt: skip
    again = CRITERIA["heads"].make(STATE, store)
    assert again.observer(Ratios(0.5, 0.5, 0.5)) is None, "one look serves every ratio"
    assert again.pruning(Ratios(0.5, 0.49, 0.49)) is None
    with pytest.raises(UnsupportedModelError, match="cannot tell the heads"):
        looked(CRITERIA["heads"].make(OTHER, store), layers[2:], ratios)


@pytest.mark.parametrize(("family", "heads"), [(SD15, {8}), (SDXL, {10, 20})])
def test_the_heads_of_a_model_are_known(family, heads):
    layers = find_layers(build_model(PUBLISHED[family], torch.device("meta"), torch.float16)).layers
    assert {layer.heads for layer in layers if ".attn1.to_out" in layer.name} == heads
    assert {layer.heads for layer in layers if ".attn1.to_out" not in layer.name} == {0}
