"""Profiles kept between runs and restarts: what is reused, what is ignored, and what is never written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from run_bench import Bench, mixed
from small_unet import make_inputs, make_unet, prunable_modules

from crdiff.guidance.run import Run
from crdiff.method.groups import Ratios
from crdiff.pruning.histogram import DetailBuilder, MagnitudeProfile, ProfileBuilder
from crdiff.pruning.magnitude import NAME
from crdiff.pruning.store import Store, WeightsState, drop_ambiguous, fingerprint

RATIOS = [Ratios(0.01, 0.2, 0.3), Ratios(0.5, 0.5, 0.5), Ratios(0.99, 0.9, 0.7)]


def bench(folder: Path | None, dtype: torch.dtype = torch.float16, seed: int = 0) -> Bench:
    found = Bench(unet=make_unet(seed, dtype=dtype), store=Store(folder))
    found.inputs = make_inputs(dtype=dtype)
    return found


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*")) if folder.exists() else []


def a_profile(dtype: torch.dtype = torch.float16, seed: int = 0) -> MagnitudeProfile:
    builder, details = ProfileBuilder(), []
    weights = [(group, module.weight) for group, module in prunable_modules(make_unet(seed, dtype=dtype))]
    for group, weight in weights:
        builder.add(group, weight)
    profile = builder.build()
    for ratios in RATIOS:
        if bins := profile.missing_bins(ratios):
            details.append(DetailBuilder(bins))
            for group, weight in weights:
                details[-1].add(group, weight)
            profile = details[-1].complete(profile)
    return profile


def put(store: Store, key: WeightsState, profile: MagnitudeProfile) -> None:
    store.put(NAME, key, profile, profile.to_record())


def get(store: Store, key: WeightsState) -> MagnitudeProfile | None:
    return store.get(NAME, key, MagnitudeProfile.from_record)


def state(name: str = "a", modifiers: tuple[str, ...] = ()) -> WeightsState:
    return WeightsState(name, "float16", modifiers, "f")


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=str)
def test_a_restart_costs_no_extra_pass(tmp_path, dtype):
    folder = tmp_path / "not" / "yet" / "there"
    first = bench(folder, dtype)
    expected = mixed(first.unet, first.inputs, 1.5)
    assert torch.equal(first.step(), expected)
    again = bench(folder, dtype)
    results = []
    assert again.passes(lambda: results.append(again.step())) == 2
    assert torch.equal(results[0], expected)
    assert len(again.run.applied) == 1
    assert again.run.applied[0].sparsity == first.run.applied[0].sparsity


def test_a_restart_knows_other_ratios_too(tmp_path):
    bench(tmp_path).step()
    again = bench(tmp_path)
    again.ratios = (0.1, 0.7, 0.6)
    expected = mixed(again.unet, again.inputs, 1.5, again.ratios)
    assert torch.equal(again.step(), expected)
    assert again.unet.passes == 2


@pytest.mark.parametrize("length", [0, 1, 8, 100, 0.5, 0.99, -1])
def test_a_truncated_file_is_counted_anew_and_replaced(tmp_path, length):
    first = bench(tmp_path)
    expected = mixed(first.unet, first.inputs, 1.5)
    first.step()
    (path,) = files(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(length * len(content)) if isinstance(length, float) else length])
    again = bench(tmp_path)
    assert torch.equal(again.step(), expected)
    assert again.unet.passes == 3
    assert torch.equal(bench(tmp_path).step(), expected)
    third = bench(tmp_path)
    assert third.passes(third.step) == 2


@pytest.mark.parametrize("content", [b"", b"{}", b"\0" * 4096, b"\xff" * 64, b"\2\0\0\0\0\0\0\0{}"], ids=len)
def test_a_file_of_something_else_is_counted_anew(tmp_path, content):
    bench(tmp_path).step()
    (path,) = files(tmp_path)
    path.write_bytes(content)
    again = bench(tmp_path)
    again.step()
    assert again.unet.passes == 3
    assert again.run.refusals == []


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=str)
def test_a_flipped_bit_is_noticed(tmp_path, dtype):
    """A wrong count would prune wrongly, in silence, for as long as the file lives."""
    put(Store(tmp_path), state(), a_profile(dtype))
    (path,) = files(tmp_path)
    content = path.read_bytes()
    expected = [get(Store(tmp_path), state()).sparsity(ratios) for ratios in RATIOS]
    noticed = 0
    places = [*range(8), *range(8, 2000, 37), *range(2000, len(content), len(content) // 200)]
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        found = get(Store(tmp_path), state())
        noticed += found is None
        assert found is None or [found.sparsity(ratios) for ratios in RATIOS] == expected
    assert noticed > len(places) // 2


def test_a_folder_where_a_file_should_be(tmp_path):
    first = bench(tmp_path)
    first.step()
    (path,) = files(tmp_path)
    path.unlink()
    path.mkdir()
    again = bench(tmp_path)
    assert torch.equal(again.step(), mixed(again.unet, again.inputs, 1.5))


@pytest.mark.parametrize("below", [".", "below"])
def test_a_folder_that_cannot_be_made_costs_a_recount_only(tmp_path, below):
    (tmp_path / "file").write_text("in the way")
    folder = tmp_path / "file" / below
    for _ in range(2):
        found = bench(folder)
        expected = mixed(found.unet, found.inputs, 1.5)
        assert torch.equal(found.step(), expected)
        assert torch.equal(found.step(), expected)
        assert found.unet.passes == 5
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_write_that_fails_leaves_no_debris(tmp_path, monkeypatch):
    def fail(source, target):
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "replace", fail)
    found = bench(tmp_path)
    assert torch.equal(found.step(), mixed(found.unet, found.inputs, 1.5))
    assert files(tmp_path) == []


def test_weights_with_a_lora_are_never_written(tmp_path):
    found = bench(tmp_path / "folder")
    found.access.modifiers = ("style:0.8",)
    found.step()
    assert files(tmp_path) == []
    again = bench(tmp_path / "folder")
    again.access.modifiers = ("style:0.8",)
    again.step()
    assert again.unet.passes == 3
    again.run.close()
    again.step()
    assert again.unet.passes == 5


def test_loras_merged_on_each_use_are_told_apart_by_what_they_hold():
    """The names of two may be the same, as of a file that was replaced."""
    store, passes = Store(), []
    for factor in (1.0, 2.0, 1.0):
        found = bench(None)
        found.run = Run(found.planner, found.access, store)
        found.access.modifiers = ("style:0.8",)
        for _, module in prunable_modules(found.unet):
            found.access.added[module] = [torch.full((4, 4), factor), "0.8"]
        found.step()
        passes.append(found.unet.passes)
    assert passes == [3, 3, 2]


@pytest.mark.parametrize("named", [True, False])
def test_weights_with_a_lora_are_not_read_from_the_checkpoints_file(tmp_path, named):
    """Even where the host merges them without a trace in the stored weights, and has no name for them."""
    bench(tmp_path).step()
    kept = files(tmp_path)
    found = bench(tmp_path)
    found.access.modifiers = ("style:0.8",) if named else ()
    for _, module in prunable_modules(found.unet):
        found.access.added[module] = [] if named else ["0.5"]
        inner = type(module).forward
        module.forward = lambda x, m=module, run=inner: _with_weight(m, m.weight * 0.5 - 0.01, x, run)
    found.step()
    pruned = found.run.applied[0].sparsity["down"].threshold
    own = bench(tmp_path)
    own.step()
    assert own.unet.passes == 2
    assert files(tmp_path) == kept
    assert pruned != own.run.applied[0].sparsity["down"].threshold


def _with_weight(module, weight, x, run):
    return torch.nn.functional.linear(x, weight, module.bias)


def test_what_version_1_0_0_stored_is_dropped_and_told(tmp_path, caplog):
    folder = tmp_path / "profiles"
    put(Store(folder), state(), a_profile())
    drop_ambiguous(folder)
    assert files(tmp_path) == []
    assert "Forge Neo" in caplog.text
    caplog.clear()
    drop_ambiguous(folder)
    assert not caplog.records


def test_each_state_has_its_own_profile(tmp_path):
    store = Store(tmp_path)
    states = [
        WeightsState("a", "fp16", (), "f"),
        WeightsState("b", "fp16", (), "f"),
        WeightsState("a", "fp32", (), "f"),
        WeightsState("a", "fp16", (), "g"),
        WeightsState("a", "fp16", ("lora",), "f"),
        WeightsState("a", "fp16", ("lora", "x"), "f"),
    ]
    expected = []
    for seed, key in enumerate(states):
        assert get(store, key) is None
        put(store, key, a_profile(seed=seed))
        expected.append(a_profile(seed=seed).sparsity(RATIOS[1]))
    assert [get(store, key).sparsity(RATIOS[1]) for key in states] == expected
    restarted = [get(Store(tmp_path), key) for key in states]
    assert [found and found.sparsity(RATIOS[1]) for found in restarted] == [*expected[:4], None, None]


def test_memory_holds_the_latest_few():
    store, profile = Store(capacity=3), a_profile()
    for name in "abc":
        put(store, state(name), profile)
    assert get(store, state("a")) is profile
    put(store, state("d"), profile)
    assert [get(store, state(name)) is not None for name in "abcd"] == [True, False, True, True]


def test_memory_of_one_profile_is_bounded(tmp_path):
    """A search tries hundreds of ratios, and each float32 one needs its own bin to the last bit."""
    weights, profile = torch.randn(1, 4000), ProfileBuilder()
    profile.add("down", weights)
    found, magnitudes = profile.build(), weights.abs().flatten().sort().values
    for number in range(1, 400):
        ratios = Ratios(down=number / 400)
        if bins := found.missing_bins(ratios):
            detail = DetailBuilder(bins)
            detail.add("down", weights)
            found = detail.complete(found)
        assert found.sparsity(ratios)["down"].threshold == magnitudes[int(4000 * ratios.down) - 1].item()
    put(Store(tmp_path), state(), found)
    assert sum(path.stat().st_size for path in files(tmp_path)) < 6e6


class TestFingerprint:
    def test_equal_for_equal_weights(self):
        assert self.of(make_unet()) == self.of(make_unet())
        with torch.inference_mode():
            assert self.of(make_unet()) == self.of(make_unet())

    def test_tells_values_dtypes_shapes_and_order_apart(self):
        weights = [module.weight for _, module in prunable_modules(make_unet())]
        seen = {fingerprint(weights), fingerprint(reversed(weights)), fingerprint(weights[1:])}
        seen |= {fingerprint([weight.half() for weight in weights]), fingerprint([w.view(-1, 8) for w in weights])}
        seen |= {fingerprint([]), self.of(make_unet(seed=1))}
        assert len(seen) == 7

    @pytest.mark.parametrize("index", [0, 17, 35])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
    def test_a_faint_lora_on_one_layer(self, index, dtype):
        unet = make_unet(dtype=dtype)
        before = self.of(unet)
        weight = [module.weight for _, module in prunable_modules(unet)][index]
        rows, columns = weight.shape
        weight += (torch.randn(rows, 1) @ torch.randn(1, columns) * 0.01).to(dtype)
        assert self.of(unet) != before

    def test_other_storage(self):
        fingerprint([torch.zeros(5, 3, dtype=torch.uint8), torch.zeros(0, 4), torch.ones(2, 2).to(torch.float8_e5m2)])

    @staticmethod
    def of(unet) -> str:
        return fingerprint(module.weight for _, module in prunable_modules(unet))
