"""Criteria by scores: worked numbers, and a second implementation with loops on layers of odd shapes."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from crdiff.calibration.gathering import Gathering
from crdiff.errors import UnsupportedModelError
from crdiff.method.groups import GROUPS, Ratios
from crdiff.models.architecture import Layer
from crdiff.pruning.calibrations import Calibrations, MissingCalibrationError
from crdiff.pruning.criterion import LinearCall
from crdiff.pruning.registry import CRITERIA, Needs
from crdiff.pruning.statistics import LayerStatistics, Statistics
from crdiff.pruning.store import Store, WeightsState

STATE = WeightsState("checkpoint", "float32", (), "print")
SCORED = ["wanda", "wanda-layer", "wanda-group", "ria", "obs-saliency"]

# A layer of 4 inputs and 3 outputs, and 5 tokens that go through it.
W = [[0.50, -0.20, 0.10, 0.80], [-0.30, 0.60, -0.70, 0.05], [0.15, -0.90, 0.40, -0.25]]
X = [
    [1.0, 0.1, 2.0, 0.6],
    [-0.5, 0.4, -1.5, 0.2],
    [0.8, -0.2, 1.0, -0.9],
    [1.2, 0.3, 2.5, 0.4],
    [-1.0, 0.05, -2.2, 0.7],
]
SECOND_W = [[0.025, -0.004, 0.001, 0.064], [-0.009, 0.036, -0.049, 0.00025], [0.00225, -0.081, 0.016, -0.00625]]


def a_layer(name: str, weight: torch.Tensor, group: str = "mid") -> tuple[Layer, torch.Tensor]:
    module = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    module.weight = nn.Parameter(weight, requires_grad=False)
    return Layer(name, group, "block", module), weight


def pruned_by(name, layers, statistics, ratio, folder):
    """What a criterion makes of each weight, and what it says the ratio comes to."""
    calibrations = Calibrations(folder)
    calibrations.put(STATE, statistics)
    criterion = CRITERIA[name].make(STATE, Store(calibrations=calibrations))
    ratios = Ratios(*[ratio] * 3)
    while (observer := criterion.observer(ratios)) is not None:
        for layer, weight in layers:
            observer.see(LinearCall(layer, weight))
        observer.finish(len(layers))
    assert criterion.basis.startswith(statistics.id)
    pruning = criterion.pruning(ratios)
    calls = [LinearCall(layer, weight) for layer, weight in layers]
    return [
        pruning.weight(call).clone() if pruning and pruning.wants(call.layer) else call.weight for call in calls
    ], criterion.sparsity(ratios)


def watched(layers, inputs, hessians=GROUPS) -> Statistics:
    gathering = Gathering(hessians)
    for (layer, weight), x in zip(layers, inputs, strict=True):
        gathering.see(LinearCall(layer, weight, torch.tensor(x)))
    return gathering.statistics({})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("wanda", [[0.5, 0, 0, 0.8], [-0.3, 0, -0.7, 0], [0, -0.9, 0.4, 0]]),
        ("wanda-layer", [[0.5, 0, 0, 0.8], [-0.3, 0, -0.7, 0], [0, -0.9, 0.4, 0]]),
        ("wanda-group", [[0.5, 0, 0, 0.8], [-0.3, 0, -0.7, 0], [0, -0.9, 0.4, 0]]),
        ("ria", [[0.5, 0, 0, 0.8], [-0.3, 0, -0.7, 0], [0, -0.9, 0.4, 0]]),
        # The sixth of w^2 / [2.632381919, 2.293464565, 0.60832746, 0.469244655] is that of 0.5, 0.095.
        ("obs-saliency", [[0, 0, 0, 0.8], [0, 0.6, -0.7, 0], [0, -0.9, 0.4, -0.25]]),
    ],
)
def test_a_worked_layer(name, expected, tmp_path):
    layers = [a_layer("one", torch.tensor(W))]
    statistics = watched(layers, [X])
    np.testing.assert_allclose(
        statistics.layers["one"].norms * 5**0.5, [2.080865205, 0.55, 4.282522621, 1.36381817], rtol=1e-6
    )
    # The worked Hessian is a sum over the tokens.
    np.testing.assert_allclose(
        statistics.layers["one"].inverse / 5, [2.632381919, 2.293464565, 0.60832746, 0.469244655], rtol=1e-4
    )
    (found,), sparsity = pruned_by(name, layers, statistics, 0.5, tmp_path)
    assert found.tolist() == torch.tensor(expected).tolist()
    assert (sparsity["mid"].weights, sparsity["mid"].pruned) == (12, 6)
    assert sparsity["down"].weights == sparsity["up"].weights == 0


@pytest.mark.parametrize(("name", "shares"), [("wanda-group", (0.25, 0.75)), ("wanda-layer", (0.5, 0.5))])
def test_over_a_group_and_over_each_layer(name, shares, tmp_path):
    layers = [a_layer("one", torch.tensor(W)), a_layer("two", torch.tensor(SECOND_W))]
    second_x = 5.0 * np.array(X, np.float32)[:, ::-1].copy()
    found, sparsity = pruned_by(name, layers, watched(layers, [X, second_x]), 0.5, tmp_path)
    assert tuple(float((weight == 0).float().mean()) for weight in found) == shares
    assert sparsity["mid"].pruned == 12


def slow_masks(name, layers, statistics, ratio):
    """Which weights go, one by one in numpy's float32."""
    scores = []
    for layer, weight in layers:
        values, norms = np.abs(weight.float().numpy()), statistics.layers[layer.name].norms
        found = np.zeros_like(values)
        for i in range(values.shape[0]):
            for j in range(values.shape[1]):
                if name == "ria":
                    share = values[i, j] / max(values[:, j].sum(), 1e-30) + values[i, j] / max(values[i].sum(), 1e-30)
                    found[i, j] = share * norms[j] ** 0.5
                elif name == "obs-saliency":
                    found[i, j] = values[i, j] * (np.float32(1.0) / np.sqrt(statistics.layers[layer.name].inverse[j]))
                else:
                    found[i, j] = values[i, j] * norms[j]
        scores.append(found)
    groups = [layer.group for layer, _ in layers]
    compared = {
        "wanda": [list(found) for found in scores],
        "wanda-group": [[np.concatenate([f.ravel() for f, g in zip(scores, groups) if g == one])] for one in groups],
    }.get(name, [[found.ravel()] for found in scores])
    masks = []
    for found, sets in zip(scores, compared, strict=True):
        ranks = [int(len(one) * Fraction(ratio)) for one in sets]
        cuts = [np.sort(one)[rank - 1] if rank else np.float32(-1.0) for one, rank in zip(sets, ranks)]
        masks.append(found <= np.array(cuts)[:, None])
    return masks


@pytest.mark.parametrize("name", SCORED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_masks_against_loops(name, dtype, tmp_path):
    """Odd shapes, ties and inputs that never moved; what is counted is what is masked."""
    random = np.random.default_rng(len(name))
    shapes = [(5, 7, "down"), (1, 9, "down"), (8, 1, "mid"), (16, 33, "up"), (3, 4, "up")]
    layers, known = [], {}
    for place, (rows, columns, group) in enumerate(shapes):
        weight = random.standard_normal((rows, columns)).astype(np.float32)
        if name != "ria":  # whose sums differ in their last bits, by which equal scores would be told apart
            weight = np.round(weight * 4) / 4
        squares = random.random(columns).astype(np.float32) * 50
        squares[columns // 2] = 0.0 if columns > 1 else 1.0
        layers.append(a_layer(f"layer {place}", torch.from_numpy(weight).to(dtype), group))
        inverse = random.random(columns).astype(np.float32) + np.float32(0.1)
        known[f"layer {place}"] = LayerStatistics(10, squares, 0, inverse)
    statistics = Statistics(known, {})
    for ratio in (0.0, 0.13, 0.5, 0.99):
        found, sparsity = pruned_by(name, layers, statistics, ratio, tmp_path)
        expected = slow_masks(name, layers, statistics, ratio)
        counts = dict.fromkeys(GROUPS, 0)
        for (layer, weight), pruned, mask in zip(layers, found, expected, strict=True):
            kept = torch.where(torch.from_numpy(mask), 0.0, weight.float())
            assert torch.equal(pruned.float(), kept), (layer.name, ratio)
            counts[layer.group] += int(mask.sum())
        assert {group: one.pruned for group, one in sparsity.items()} == counts


@pytest.mark.parametrize("name", [name for name, kind in CRITERIA.items() if kind.needs is not Needs.NOTHING])
def test_without_a_calibration_it_refuses(name):
    with pytest.raises(MissingCalibrationError, match=f"^The criterion {name} has to know what the model's layers see"):
        CRITERIA[name].make(STATE, Store())


def test_layers_without_a_hessian_go_by_magnitude_and_it_says_so(tmp_path):
    layers = [a_layer("one", torch.tensor(W)), a_layer("two", torch.tensor(W), "up")]
    statistics = watched(layers, [X, X], hessians=("mid",))
    (_, second), _ = pruned_by("obs-saliency", layers, statistics, 0.5, tmp_path)
    assert second.tolist() == torch.tensor([[0.5, 0, 0, 0.8], [0, 0.6, -0.7, 0], [0, -0.9, 0.4, 0]]).tolist()
    criterion = CRITERIA["obs-saliency"].make(STATE, Store(calibrations=Calibrations(tmp_path)))
    assert criterion.basis == f"{statistics.id} (1 layer without a Hessian by magnitude)"


def test_a_calibration_without_hessians_is_not_enough_for_saliency(tmp_path):
    layers = [a_layer("one", torch.tensor(W))]
    with pytest.raises(MissingCalibrationError, match=r"needs a calibration with Hessians; .* has none\.$"):
        pruned_by("obs-saliency", layers, watched(layers, [X], hessians=()), 0.5, tmp_path)


def test_a_layer_that_the_calibration_does_not_know(tmp_path):
    layers = [a_layer("one", torch.tensor(W))]
    other = [a_layer("two", torch.tensor(W))]
    with pytest.raises(UnsupportedModelError, match="does not know the model's layer two: calibrate it anew"):
        pruned_by("wanda", other, watched(layers, [X]), 0.5, tmp_path)


def test_channels_go_whole_and_only_where_a_branch_ends(tmp_path):
    random = np.random.default_rng(3)
    weight, x = random.standard_normal((5, 8)).astype(np.float32), random.standard_normal((40, 8)).astype(np.float32)
    (inner, first), (end, second) = a_layer("inner", torch.from_numpy(weight)), a_layer("end", torch.from_numpy(weight))
    layers = [(inner, first), (replace(end, ends_branch=True), second)]
    hessian = 2.0 * x.astype(np.float64).T @ x / len(x)
    inverse = np.linalg.inv(hessian + 0.01 * np.diag(hessian).mean() * np.eye(8))
    scores = [sum(weight[i, j] ** 2 for i in range(5)) / inverse[j, j] for j in range(8)]
    gone = np.argsort(scores)[: int(8 * 0.4)]
    (unchanged, pruned), sparsity = pruned_by("channels", layers, watched(layers, [x, x]), 0.4, tmp_path)
    assert torch.equal(unchanged, first)
    expected = weight.copy()
    expected[:, gone] = 0.0
    assert torch.equal(pruned, torch.from_numpy(expected))
    assert (sparsity["mid"].weights, sparsity["mid"].pruned) == (80, 15)


@pytest.mark.parametrize("name", SCORED)
def test_gradients_go_through_the_weights_that_stay(name, tmp_path):
    """Also where the weights were looked at in inference mode, in which hosts draw."""
    layer, weight = a_layer("one", torch.tensor(W))
    calibrations = Calibrations(tmp_path)
    calibrations.put(STATE, watched([(layer, weight)], [X]))
    criterion, ratios = CRITERIA[name].make(STATE, Store(calibrations=calibrations)), Ratios(0.5, 0.5, 0.5)
    with torch.inference_mode():
        while (observer := criterion.observer(ratios)) is not None:
            observer.see(LinearCall(layer, weight))
            observer.finish(1)
    learning = weight.clone().requires_grad_()
    pruned = criterion.pruning(ratios).weight(LinearCall(layer, learning))
    pruned.sum().backward()
    assert torch.equal(learning.grad, (pruned != 0).float())


def test_what_ratios_come_to_is_known_the_next_time(tmp_path):
    layers = [a_layer("one", torch.tensor(W))]
    calibrations = Calibrations(tmp_path)
    calibrations.put(STATE, watched(layers, [X]))
    store = Store(calibrations=calibrations)
    ratios = Ratios(0.5, 0.5, 0.5)
    first = CRITERIA["wanda"].make(STATE, store)
    observer = first.observer(ratios)
    observer.see(LinearCall(*layers[0]))
    observer.finish(1)
    again = CRITERIA["wanda"].make(STATE, store)
    assert again.observer(ratios) is None and again.sparsity(ratios) == first.sparsity(ratios)
    assert again.observer(Ratios(0.5, 0.5001, 0.5)) is not None
    # Another calibration means other thresholds.
    calibrations.put(STATE, Statistics(watched(layers, [-2.0 * np.array(X, np.float32)]).layers, {}, {"size": "other"}))
    assert CRITERIA["wanda"].make(STATE, store).observer(ratios) is not None
