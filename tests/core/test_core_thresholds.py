"""Thresholds and masks, against torch.kthvalue over each concatenated group."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crdiff.errors import UnsupportedModelError
from crdiff.method.groups import Ratios
from crdiff.models.architecture import Layer
from crdiff.pruning.criterion import LinearCall
from crdiff.pruning.magnitude import MagnitudeCriterion, MagnitudePruning
from crdiff.pruning.store import Store, WeightsState

HALF, BRAIN, SINGLE = torch.float16, torch.bfloat16, torch.float32
E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2
DTYPES = (HALF, BRAIN, SINGLE, E4M3, E5M2)
BITS = {HALF: (16, np.int16), BRAIN: (16, np.int16), SINGLE: (32, np.int32), E4M3: (8, np.uint8), E5M2: (8, np.uint8)}

# Not st.floats, which tends to tiny numbers, and those prune nothing of so few weights.
RATIO = st.integers(0, 9999).map(lambda number: number / 10000)


def from_bits(patterns: list[int], dtype: torch.dtype) -> torch.Tensor:
    width, signed = BITS[dtype]
    raw = np.array(patterns, dtype=f"uint{width}").view(signed)
    return torch.from_numpy(raw.copy()).view(dtype).reshape(1, -1)


@st.composite
def weights(draw: st.DrawFn, dtype: torch.dtype) -> torch.Tensor:
    """Any bit pattern at all: NaN, infinities, subnormals, both zeros; or few distinct ones, so that they tie."""
    top = (1 << BITS[dtype][0]) - 1
    pattern = st.integers(0, top)
    if draw(st.booleans()):
        pool = draw(st.lists(pattern, min_size=1, max_size=4))
        sign = top // 2 + 1
        pattern = st.sampled_from([*pool, *(value ^ sign for value in pool), 0, sign])
    return from_bits(draw(st.lists(pattern, min_size=1, max_size=40)), dtype)


@st.composite
def groups(draw: st.DrawFn, dtypes: st.SearchStrategy[torch.dtype]) -> dict[str, list[torch.Tensor]]:
    """Layers of the three groups; a group may have none."""
    return {
        group: [draw(weights(draw(dtypes))) for _ in range(draw(st.integers(0 if group == "mid" else 1, 3)))]
        for group in ("down", "mid", "up")
    }


def a_layer(name: str, group: str = "down") -> Layer:
    return Layer(name, group, "block", torch.nn.Module())


@dataclass
class Model:
    """Layers with weights, looked at as a pass of the UNet would."""

    groups: dict[str, list[torch.Tensor]]

    def __post_init__(self) -> None:
        self.layers = [
            (a_layer(f"{group}.{index}", group), weight)
            for group, members in self.groups.items()
            for index, weight in enumerate(members)
        ]
        self.criterion = MagnitudeCriterion(WeightsState("", "", (), ""), Store())

    def look(self, ratios: Ratios) -> int:
        """Show the weights as often as the criterion asks for it; returns how often that was."""
        passes = 0
        while (observer := self.criterion.observer(ratios)) is not None:
            for layer, weight in self.layers:
                before = weight.clone()
                observer.see(LinearCall(layer, weight))
                assert torch.equal(weight.float().nan_to_num(), before.float().nan_to_num())
            observer.finish(len(self.layers))
            passes += 1
            assert passes <= 2
        return passes


def reference(members: list[torch.Tensor], ratio: float) -> float | None:
    magnitudes = torch.cat([weight.float().abs().flatten() for weight in members]) if members else torch.empty(0)
    rank = int(magnitudes.numel() * ratio)
    return magnitudes.kthvalue(rank).values.item() if rank else None


def check(model: Model, ratios: Ratios) -> None:
    """Thresholds, counts and every masked weight, bit for bit."""
    found = model.criterion.sparsity(ratios)
    pruning = model.criterion.pruning(ratios)
    expected = {group: reference(members, ratios[group]) for group, members in model.groups.items()}
    assert (pruning is None) == all(value is None for value in expected.values())
    for group, members in model.groups.items():
        value, threshold = expected[group], found[group]
        assert threshold.weights == sum(weight.numel() for weight in members)
        if value is None:
            assert threshold.threshold is None
            assert threshold.pruned == 0
        elif math.isnan(value):
            assert math.isnan(threshold.threshold)
        else:
            assert threshold.threshold == value
            assert threshold.pruned == sum(int((weight.float().abs() <= value).sum()) for weight in members)
            assert threshold.sparsity == threshold.pruned / threshold.weights
    for layer, weight in model.layers:
        value = expected[layer.group]
        if value is None:
            assert pruning is None or not pruning.wants(layer)
            continue
        before = weight.clone()
        masked = pruning.weight(LinearCall(layer, weight))
        dense = weight.float()
        kept = torch.where((dense.abs() > value) | dense.isnan(), dense, 0.0)
        assert torch.equal(masked.float().nan_to_num(nan=0.25), kept.nan_to_num(nan=0.25))
        assert torch.equal(masked.isnan(), dense.isnan())
        assert masked.dtype == (torch.float16 if weight.element_size() == 1 else weight.dtype)
        assert masked.shape == weight.shape
        raw = torch.uint8
        assert torch.equal(weight.view(raw), before.view(raw))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(DTYPES).flatmap(lambda dtype: groups(st.just(dtype))), RATIO, RATIO, RATIO)
def test_any_weights_of_one_dtype(members, down, mid, up):
    model, ratios = Model(members), Ratios(down, mid, up)
    model.look(ratios)
    check(model, ratios)


@settings(max_examples=150, deadline=None)
@given(groups(st.sampled_from(DTYPES)), RATIO, RATIO, RATIO)
def test_any_weights_of_mixed_dtypes(members, down, mid, up):
    model, ratios = Model(members), Ratios(down, mid, up)
    model.look(ratios)
    check(model, ratios)


@st.composite
def near_ties(draw: st.DrawFn) -> dict[str, list[torch.Tensor]]:
    """One group whose layers hold almost the same values in several dtypes, also ones too large for some."""
    values = draw(st.lists(st.sampled_from([0.1, 0.3, 1.0, 1.5, 440.0, 6e4, 7e4, 1e30]), min_size=1, max_size=6))
    nudge = st.sampled_from([1.0, 1 - 2**-20, 1 + 2**-20, 1 - 2**-9, 1 + 2**-9])
    layers = []
    for dtype in draw(st.lists(st.sampled_from(DTYPES), min_size=2, max_size=4)):
        layers.append(torch.tensor([[value * draw(nudge) for value in values]]).to(dtype))
    return {"down": layers, "mid": [], "up": []}


@settings(max_examples=150, deadline=None)
@given(near_ties(), RATIO)
def test_near_ties_between_dtypes(members, ratio):
    """The threshold of a group need not be a value of each of its dtypes."""
    model, ratios = Model(members), Ratios(down=ratio)
    model.look(ratios)
    check(model, ratios)


@settings(max_examples=60, deadline=None)
@given(groups(st.just(SINGLE)), st.lists(st.tuples(RATIO, RATIO, RATIO), min_size=1, max_size=5))
def test_one_ratio_after_the_other(members, rows):
    """What earlier ratios have left behind does not matter."""
    model = Model(members)
    for row in rows:
        ratios = Ratios(*row)
        model.look(ratios)
        check(model, ratios)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("ratio", [1e-4, 0.1, 0.387, 0.5, 0.9, 0.9999])
def test_weights_as_in_a_checkpoint(dtype, ratio):
    generator = torch.Generator().manual_seed(3)

    def layer(rows, columns, spread):
        return (torch.randn(rows, columns, generator=generator) * spread).to(dtype)

    members = {
        "down": [layer(64, 64, 0.02), layer(512, 64, 0.05)],
        "mid": [layer(3, 5, 1.0)],
        "up": [layer(64, 256, 3)],
    }
    model, ratios = Model(members), Ratios(ratio, ratio, ratio)
    model.look(ratios)
    check(model, ratios)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_backend_without_the_kernel_masks_the_same(dtype, monkeypatch):
    monkeypatch.setattr("crdiff.pruning.masking._has_hardshrink", lambda *_: False)
    special = torch.tensor([[0.0, -0.0, 1e-3, -1e-3, 1e-3, 0.25, -0.5, 3.0, math.nan]])
    model, ratios = Model({"down": [special.to(dtype)], "mid": [], "up": [torch.ones(2, 2).to(dtype)]}), Ratios(0.5)
    model.look(ratios)
    check(model, ratios)


@pytest.mark.parametrize("dtype", [HALF, SINGLE], ids=str)
def test_a_layer_of_several_million_weights(dtype):
    generator = torch.Generator().manual_seed(4)
    members = {"down": [torch.randn(2100, 2100, generator=generator).to(dtype)], "mid": [], "up": []}
    model, ratios = Model(members), Ratios(down=0.41)
    model.look(ratios)
    check(model, ratios)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_constant_group_goes_as_a_whole(dtype):
    members = {"down": [torch.full((4, 5), -0.5).to(dtype)], "mid": [], "up": [torch.ones(2, 2).to(dtype)]}
    model, ratios = Model(members), Ratios(down=0.05)
    model.look(ratios)
    found = model.criterion.sparsity(ratios)
    assert (found["down"].threshold, found["down"].pruned, found["down"].sparsity) == (0.5, 20, 1.0)
    assert (found["mid"].threshold, found["mid"].pruned, found["mid"].sparsity) == (None, 0, 0.0)
    check(model, ratios)


def test_the_rank_is_the_product_rounded_down_as_floats_have_it():
    members = {"down": [torch.arange(1.0, 101.0).reshape(10, 10)], "mid": [], "up": []}
    model = Model(members)
    for ratio, expected in ((0.29, 28.0), (0.3, 30.0), (0.01, 1.0), (0.0099, None), (0.999, 99.0)):
        ratios = Ratios(down=ratio)
        model.look(ratios)
        assert model.criterion.sparsity(ratios)["down"].threshold == expected


def test_a_group_too_small_for_its_ratio_is_left_alone():
    model, ratios = Model({"down": [torch.rand(2, 3)], "mid": [torch.rand(1, 4)], "up": []}), Ratios(0.16, 0.24, 0.9)
    model.look(ratios)
    assert model.criterion.pruning(ratios) is None
    assert all(found.threshold is None for found in model.criterion.sparsity(ratios).values())


@pytest.mark.parametrize("dtype", [HALF, BRAIN, E4M3, E5M2], ids=str)
def test_16_and_8_bit_weights_are_looked_at_once_for_every_ratio(dtype):
    members = {"down": [torch.randn(32, 32).to(dtype)], "mid": [torch.randn(8, 8).to(dtype)], "up": []}
    model = Model(members)
    assert model.look(Ratios(0.3, 0.3, 0.3)) == 1
    assert [model.look(Ratios(ratio, 0.9 - ratio)) for ratio in (0.0, 0.1, 0.5, 0.7)] == [0, 0, 0, 0]
    check(model, Ratios(0.7, 0.2))


def test_float32_weights_take_a_second_look_for_the_last_bits():
    model = Model({"down": [torch.randn(64, 64)], "mid": [torch.randn(16, 16)], "up": [torch.randn(8, 8)]})
    assert model.look(Ratios(0.3, 0.3, 0.3)) == 2
    assert model.look(Ratios(0.3, 0.3, 0.3)) == 0
    assert model.look(Ratios(0.3, 0.3, 0.0)) == 0
    assert model.look(Ratios(0.6, 0.3, 0.3)) == 1
    check(model, Ratios(0.6, 0.3, 0.3))


def test_float32_weights_that_are_16_bit_values_do_not():
    model = Model(
        {"down": [torch.randn(64, 64).half().float()], "mid": [], "up": [torch.randn(8, 8).bfloat16().float()]}
    )
    assert model.look(Ratios(0.3, 0.0, 0.3)) == 1
    check(model, Ratios(0.3, 0.0, 0.3))


def test_the_last_bit_of_a_float32_decides():
    base = torch.full((1, 64), 1.0).view(torch.int32)
    values = (base + torch.arange(64, dtype=torch.int32)).view(torch.float32)
    model, ratios = Model({"down": [values.flip(1)], "mid": [], "up": []}), Ratios(down=0.5)
    model.look(ratios)
    assert model.criterion.sparsity(ratios)["down"].pruned == 32
    check(model, ratios)


def test_a_layer_that_runs_twice_in_a_pass_counts_once():
    layer = a_layer("down.0")
    criterion = MagnitudeCriterion(WeightsState("", "", (), ""), Store())
    observer = criterion.observer(Ratios(0.5, 0.5, 0.5))
    for _ in range(2):
        if observer.wants(layer):
            observer.see(LinearCall(layer, torch.ones(2, 3)))
    observer.finish(1)
    assert criterion.sparsity(Ratios(0.5, 0.5, 0.5))["down"].weights == 6


def test_transposed_and_strided_weights():
    whole = torch.randn(24, 30)
    members = {"down": [whole.t()], "mid": [whole[::2, 1::3]], "up": [whole.half().t()[5:]]}
    model, ratios = Model(members), Ratios(0.4, 0.5, 0.6)
    model.look(ratios)
    found = model.criterion.sparsity(ratios)
    for group, weights_of_group in members.items():
        assert found[group].threshold == reference(weights_of_group, ratios[group])


@pytest.mark.parametrize("threshold", [0.5, float(np.float32(0.1234567)), math.nan], ids=str)
@pytest.mark.parametrize("dtype", [HALF, BRAIN, SINGLE], ids=str)
@pytest.mark.parametrize("transposed", [False, True])
def test_a_copy_is_written_over_with_what_is_pruned_anew(dtype, threshold, transposed):
    weight = torch.randn(24, 30).to(dtype)
    # The last one is above 0.1234567, to which that is the nearest of bfloat16.
    weight[0, :5] = torch.tensor([0.5, -0.5, math.nan, math.inf, 0.12353515625])
    weight = weight.t() if transposed else weight
    pruning, call = MagnitudePruning({"down": threshold}), LinearCall(a_layer("down.0"), weight)
    copy = torch.full_like(weight, 7.0)
    pruning.write(call, copy)
    kept = weight.double().abs() > threshold if threshold == threshold else weight.isnan()
    expected = torch.where(kept | weight.isnan(), weight, torch.zeros_like(weight))
    assert torch.equal(copy.nan_to_num(nan=7.0), expected.nan_to_num(nan=7.0))
    assert copy.stride() == weight.stride()


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.float64, torch.complex64], ids=str)
def test_other_storage_is_refused_in_one_sentence(dtype):
    observer = MagnitudeCriterion(WeightsState("", "", (), ""), Store()).observer(Ratios(0.3, 0.3, 0.3))
    with pytest.raises(UnsupportedModelError, match=r"^CR-Diff cannot .*\.$"):
        observer.see(LinearCall(a_layer("down.0"), torch.ones(2, 2).to(dtype)))


@pytest.mark.parametrize("seen", [0, 1])
def test_a_pass_that_misses_layers_is_refused_in_one_sentence(seen):
    observer = MagnitudeCriterion(WeightsState("", "", (), ""), Store()).observer(Ratios(0.3, 0.3, 0.3))
    for index in range(seen):
        observer.see(LinearCall(a_layer(f"down.{index}"), torch.ones(2, 2)))
    with pytest.raises(UnsupportedModelError, match=rf"only {seen} of the model's 2 prunable layers.*\.$"):
        observer.finish(2)
