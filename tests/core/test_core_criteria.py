"""Criteria of other kinds than magnitude, each as one class: what the seam carries, against UNets changed by hand."""

from __future__ import annotations

import copy
import json
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from run_bench import CPU, Bench
from safetensors.torch import save_file
from small_criteria import LayerDrop, QuietColumns, without_quiet_columns
from small_unet import (
    OwnLinear,
    SmallUNet,
    TransformerBlock,
    make_inputs,
    make_unet,
    prunable_modules,
    prunable_weights,
)
from torch import nn

from crdiff.__main__ import main
from crdiff.calibration.run import Calibration, CalibrationRun, Gathered
from crdiff.guidance.run import Run
from crdiff.json_schema import json_schema
from crdiff.method.groups import GROUPS
from crdiff.method.schedule import Position, Schedule
from crdiff.models.architecture import Layer
from crdiff.modes.registry import MODES
from crdiff.plan import Plan, Planner
from crdiff.presets.library import PresetLibrary
from crdiff.pruning import random_masks
from crdiff.pruning.calibrations import Calibrations
from crdiff.pruning.copies import CopyPolicy
from crdiff.pruning.criterion import LinearCall
from crdiff.pruning.registry import CRITERIA, CriterionKind
from crdiff.pruning.store import Store
from crdiff.pruning.surgery import Surgeon
from crdiff.settings import Settings
from crdiff.webui import infotext

RATIOS, K = (0.4, 0.5, 0.3), 1.5
KINDS = ["random", "attenuation", "dropped", "attenuation-outputs", "soft"]


def mask_of(name: str, weight: torch.Tensor, ratio: float) -> torch.Tensor:
    """Keeps a weight or not by its place alone: MurmurHash3's finalizer, in numpy's words of 32 bits."""

    def mixed(words: np.ndarray) -> np.ndarray:
        words = (words ^ (words >> np.uint32(16))) * np.uint32(0x85EBCA6B)
        words = (words ^ (words >> np.uint32(13))) * np.uint32(0xC2B2AE35)
        return words ^ (words >> np.uint32(16))

    start = np.uint32(zlib.crc32(f"2604 {name}".encode()))
    words = mixed(mixed(np.arange(weight.numel(), dtype=np.uint32)) ^ start)
    kept = (words >> np.uint32(8)) > np.float32(ratio) * 2**24
    return torch.from_numpy(kept).reshape(weight.shape)


@pytest.fixture(autouse=True)
def _criteria(monkeypatch) -> None:
    monkeypatch.setitem(CRITERIA, "dropped", CriterionKind("", LayerDrop))
    monkeypatch.setitem(CRITERIA, "quiet", CriterionKind("", QuietColumns))


def changed_by_hand(unet: SmallUNet, criterion: str, share: float = 1.0) -> SmallUNet:
    """A copy changed as the criterion says; with ``share`` k, as far as a pass with mixed weights is."""
    copied = copy.deepcopy(unet)
    if criterion == "dropped":
        return _weakened_blocks(copied, 1.0 - share)
    ratios = dict(zip(("down", "mid", "up"), RATIOS))
    names = {id(module): name for name, module in copied.named_modules()}
    for group, module in prunable_modules(copied):
        name, ratio = names[id(module)], ratios[group]
        if criterion == "random":
            pruned = module.weight * mask_of(name, module.weight, ratio)
        elif criterion == "soft":
            pruned = soft(unet, group, module.weight, ratio)
        elif criterion == "attenuation" or name.endswith(("to_out.0", "net.2")):
            pruned = module.weight * (1.0 - ratio)
        else:
            pruned = module.weight
        module.weight = torch.nn.Parameter(pruned + (1.0 - share) * (module.weight - pruned), requires_grad=False)
    return copied


def soft(unet: SmallUNet, group: str, weight: torch.Tensor, ratio: float) -> torch.Tensor:
    magnitudes = torch.cat([other.abs().flatten() for name, other in prunable_weights(unet) if name == group])
    threshold = magnitudes.kthvalue(int(magnitudes.numel() * ratio)).values
    return weight.sign() * (weight.abs() - threshold).clamp_min(0.0)


def _weakened_blocks(unet: SmallUNet, residual: float) -> SmallUNet:
    for block in unet.output_blocks.modules():
        if isinstance(block, TransformerBlock):
            inner = block.forward
            block.forward = lambda x, context, run=inner: x + residual * (run(x, context) - x)
    return unet


def predictions(bench: Bench, steps: int = 4) -> Iterator[tuple[torch.Tensor, tuple]]:
    for step in range(steps):
        bench.run.position = Position(step, steps)
        bench.inputs = (*make_inputs(seed=step)[:2], bench.inputs[2])
        yield bench.step(), bench.inputs


@pytest.mark.parametrize(
    ("criterion", "mode", "k"),
    [
        *((criterion, "exact", k) for criterion in KINDS for k in (1.0, K)),
        *((criterion, mode, K) for criterion in KINDS[:3] for mode in ("batched", "fast")),
    ],
)
def test_every_kind_of_answer_in_every_mode(criterion, mode, k):
    bench = Bench(k, criterion=criterion, mode=mode, policy=CopyPolicy.ALWAYS)
    dense, pruned = copy.deepcopy(bench.unet), changed_by_hand(bench.unet, criterion)
    mixed = changed_by_hand(bench.unet, criterion, k)
    for found, inputs in predictions(bench, 3):
        expected = mixed(*inputs) if mode == "fast" else k * pruned(*inputs) + (1.0 - k) * dense(*inputs)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(expected, dense(*inputs), atol=1e-3)
    assert bench.run.refusals == []
    bench.run.close()
    assert torch.equal(bench.unet(*bench.inputs), dense(*bench.inputs))


class WithLora(OwnLinear):
    """A LoRA that is added beside the product, from the same input."""

    def forward(self, x):
        return super().forward(x) + x @ self.added.to(x.dtype).t()

    @property
    def added(self):
        down = torch.linspace(-1, 1, 2 * self.weight.shape[1], dtype=torch.float64).reshape(2, -1)
        return torch.linspace(0.1, 0.2, 2 * len(self.weight), dtype=torch.float64).reshape(-1, 2) @ down


@pytest.mark.parametrize(
    ("linear", "storage"),
    [
        (nn.Linear, torch.float64),
        (OwnLinear, torch.float16),
        (OwnLinear, torch.float8_e4m3fn),
        (WithLora, torch.float16),
    ],
)
def test_attenuation_is_one_exact_pass_in_every_storage(linear, storage):
    """The first step finds out how the layers compute; from the second on plain ones run without their forward."""
    unet = make_unet(linear=linear).double()
    for _, module in prunable_modules(unet):
        module.weight = nn.Parameter(module.weight.to(storage), requires_grad=False)
    expected = copy.deepcopy(unet)
    ratios = dict(zip(("down", "mid", "up"), RATIOS))
    for group, module in prunable_modules(expected):
        merged = module.weight.double() + (module.added if linear is WithLora else 0.0)
        module.weight = nn.Parameter(merged * (1.0 - ratios[group]), requires_grad=False)
        module.__class__ = OwnLinear if linear is WithLora else linear
    bench = Bench(1.0, criterion="attenuation", unet=unet)
    for step in range(3):
        bench.inputs = make_inputs(seed=step, dtype=torch.float64)
        torch.testing.assert_close(bench.step(), expected(*bench.inputs), rtol=1e-9, atol=1e-12)
    assert unet.passes == 3


@pytest.mark.parametrize("criterion", KINDS[:3])
def test_balanced_lies_between_exact_and_fast(criterion):
    bench = Bench(K, criterion=criterion, mode="balanced")
    dense, pruned = copy.deepcopy(bench.unet), changed_by_hand(bench.unet, criterion)
    mixed = changed_by_hand(bench.unet, criterion, K)
    for step, (found, inputs) in enumerate(predictions(bench)):
        exact, fast = K * pruned(*inputs) + (1.0 - K) * dense(*inputs), mixed(*inputs)
        if step == 0:
            torch.testing.assert_close(found, fast, rtol=1e-4, atol=1e-5)
        elif step == 1:
            torch.testing.assert_close(found, exact, rtol=1e-4, atol=1e-5)
        else:
            assert (found - exact).norm() < (fast - exact).norm()


def test_a_skipped_block_is_not_computed():
    bench = Bench(1.0, criterion="dropped")
    ran = []
    for block in bench.unet.output_blocks.modules():
        if isinstance(block, TransformerBlock):
            block.attn2.register_forward_hook(lambda *_: ran.append("attn2"))
    bench.step()
    assert ran == []


def test_a_criterion_that_watches_inputs_over_two_steps():
    """It sees two dense steps, and prunes from the third on by what went through each layer."""
    bench = Bench(1.0, criterion="quiet")
    plain = copy.deepcopy(bench.unet)
    squares: dict[int, torch.Tensor] = {}
    modules = [module for _, module in prunable_modules(plain)]
    hooks = [
        module.register_forward_hook(
            lambda module, args, _: squares.__setitem__(
                id(module), squares.get(id(module), 0.0) + args[0].square().flatten(0, -2).sum(0)
            )
        )
        for module in modules
    ]
    steps = predictions(bench)
    for _ in range(2):
        found, inputs = next(steps)
        assert torch.equal(found, plain(*inputs))
    for hook in hooks:
        hook.remove()
    ratios = dict(zip(("down", "mid", "up"), RATIOS))
    for group, module in prunable_modules(plain):
        changed = without_quiet_columns(module.weight, squares[id(module)].sqrt(), ratios[group])
        module.weight = torch.nn.Parameter(changed, requires_grad=False)
    for found, inputs in steps:
        assert torch.equal(found, plain(*inputs))
    assert len(bench.run.applied) == 1


def test_a_calibrated_criterion_prunes_by_what_was_watched(tmp_path):
    bench = Bench(1.0, criterion="wanda", store=Store(calibrations=Calibrations(tmp_path)))
    calibration = Calibration()
    with CalibrationRun(calibration, bench.access) as run:
        dense = run.predict(bench.unet, lambda: bench.unet(*bench.inputs), CPU)
    assert torch.equal(bench.step(), dense) and bench.run.applied == []
    (reason,) = bench.run.refusals
    assert reason.endswith("calibrate this checkpoint without LoRAs first.")

    ((state, gathering),) = calibration.gatherings.items()
    bench.store.calibrations.put(state, gathering.statistics({}))
    pruned = copy.deepcopy(bench.unet)
    rows: dict[int, torch.Tensor] = {}
    for _, module in prunable_modules(pruned):
        module.register_forward_pre_hook(lambda module, args: rows.__setitem__(id(module), args[0].flatten(0, -2)))
    pruned(*bench.inputs)
    ratios = dict(zip(("down", "mid", "up"), RATIOS))
    for group, module in prunable_modules(pruned):
        scores = module.weight.abs() * rows[id(module)].norm(dim=0)
        cut = scores.sort(dim=1).values[:, int(scores.shape[1] * ratios[group]) - 1]
        module.weight.mul_(scores > cut[:, None])
    again = Bench(1.0, criterion="wanda", store=bench.store, unet=bench.unet)
    for _ in range(3):
        assert torch.equal(again.step(), pruned(*again.inputs))
    (applied,) = again.run.applied
    assert applied.basis == gathering.statistics({}).id
    infotext.write(params := {}, Settings(criterion="wanda"), {False: infotext.Outcome([applied])})
    assert params["CR-Diff criterion"] == "wanda"
    assert params["CR-Diff calibration"] == applied.basis
    assert again.run.refusals == []


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_second_weights_are_what_the_pruned_pass_multiplies_by(mode):
    k, bench = 1.5, Bench(1.5, criterion="obs-diff")
    calibration = Calibration(GROUPS)
    with CalibrationRun(calibration, bench.access) as run:
        run.predict(bench.unet, lambda: bench.unet(*bench.inputs), CPU)
    rows: dict[int, torch.Tensor] = {}
    pruned = copy.deepcopy(bench.unet)
    for _, module in prunable_modules(pruned):
        module.register_forward_pre_hook(lambda module, args: rows.__setitem__(id(module), args[0].flatten(0, -2)))
    dense = pruned(*bench.inputs)
    for group, module in prunable_modules(pruned):
        x = rows[id(module)]
        changed = Surgeon(x.T @ x * (2.0 / len(x))).by_ratio(module.weight, dict(zip(GROUPS, RATIOS))[group])
        mixed = changed if mode == "exact" else k * changed + (1 - k) * module.weight
        module.weight = torch.nn.Parameter(mixed, requires_grad=False)
    found = pruned(*bench.inputs)
    expected = k * found + (1 - k) * dense if mode == "exact" else found
    store = Store(calibrations=Gathered(calibration, {}))
    again = Bench(k, mode=mode, criterion="obs-diff", store=store, unet=bench.unet)
    for _ in range(3 if mode == "exact" else 1):
        torch.testing.assert_close(again.step(), expected, atol=2e-4, rtol=2e-3)
    assert again.run.refusals == [] and not torch.allclose(expected, dense, atol=1e-2)
    assert again.run.applied[0].basis == next(iter(calibration.gatherings.values())).statistics({}).id


@pytest.fixture(scope="module")
def gathered() -> Gathered:
    """Of the small UNet at work."""
    bench, calibration = Bench(), Calibration(hessians=GROUPS)
    with torch.no_grad(), CalibrationRun(calibration, bench.access) as run:
        run.predict(bench.unet, lambda: bench.unet(*bench.inputs), CPU)
    return Gathered(calibration, {})


@pytest.mark.parametrize(
    "criterion", ["attenuation", "soft", "random", "wanda", "wanda-group", "obs-diff", "channels", "layerdrop"]
)
def test_stages_of_every_kind_of_criterion_are_what_separate_runs_at_their_ratios_are(criterion, gathered):
    stages = Schedule.parse("0.4/0.5/0.3; 0.7/0/0.6 from 0.3; 0.7/0/0.6/2 from 0.6")
    with torch.no_grad():
        bench = Bench(criterion=criterion, store=Store(calibrations=gathered))
        planner = Planner.fixed(Plan(stages, K, "stages"), criterion=criterion)
        bench.run, bench.plain = Run(planner, bench.access, bench.store), copy.deepcopy(bench.unet)
        for step in (0, 3, 4, 6):
            bench.run.position = Position(step, 10)
            found, stage = bench.step(), stages.at(step / 10)
            k = K if stage.k is None else stage.k
            alone = Bench(
                k, tuple(stage.ratios), criterion=criterion, store=bench.store, unet=copy.deepcopy(bench.plain)
            )
            torch.testing.assert_close(found, alone.step(), rtol=0, atol=1e-5)
        assert bench.run.refusals == [] and bench.run.amplified


def test_layerdrop_skips_the_blocks_that_change_least(tmp_path):
    bench = Bench(
        1.0, criterion="layerdrop", ratios=(0.5, 0.99, 2 / 3), store=Store(calibrations=Calibrations(tmp_path))
    )
    calibration = Calibration()
    with CalibrationRun(calibration, bench.access) as run:
        run.predict(bench.unet, lambda: bench.unet(*bench.inputs), CPU)
    ((state, gathering),) = calibration.gatherings.items()
    bench.store.calibrations.put(state, gathering.statistics({}))
    by_hand, changes = copy.deepcopy(bench.unet), {}
    blocks = {name: module for name, module in by_hand.named_modules() if isinstance(module, TransformerBlock)}
    for name, block in blocks.items():
        block.register_forward_hook(
            lambda _, args, result, name=name: changes.__setitem__(
                name, float(1 - nn.functional.cosine_similarity(args[0].flatten(1), result.flatten(1)).mean())
            )
        )
    by_hand(*bench.inputs)
    skipped = []
    # Of 2 blocks down half, of 1 mid less than one, of 3 up two.
    for stage, count in (("input", 1), ("output", 2)):
        names = sorted((name for name in blocks if name.startswith(stage)), key=changes.__getitem__)
        skipped += names[:count]
    for name in skipped:
        blocks[name].forward = lambda x, context: x
    for _ in range(2):
        assert torch.equal(bench.step(), by_hand(*bench.inputs))
    (applied,) = bench.run.applied
    assert [found.sparsity for found in applied.sparsity.values()] == [0.5, 0.0, pytest.approx(2 / 3)]
    assert bench.run.refusals == []


def test_settings_infotext_and_schema_know_it():
    settings = Settings(enabled=True, preset="custom", criterion="random")
    params: dict[str, object] = {}
    infotext.write(params, settings, {})
    texts = {key: str(value) for key, value in params.items()}
    assert texts["CR-Diff criterion"] == "random"
    assert infotext.reader("criterion", PresetLibrary())(texts) == "random"
    assert "random" in json_schema()["properties"]["criterion"]["enum"]
    infotext.write(params := {}, Settings(enabled=True), {})
    assert "CR-Diff criterion" not in params


def test_inspect_knows_it(tmp_path, capsys):
    unet = make_unet()
    path = tmp_path / "model.safetensors"
    save_file(dict(unet.state_dict()), str(path))
    assert main(["inspect", str(path), "--ratios", "0.4/0.5/0.3", "--criterion", "random", "--json"]) == 0
    groups = json.loads(capsys.readouterr().out)["groups"]
    counts = dict.fromkeys(groups, 0)
    for group, module in prunable_modules(unet):
        counts[group] += module.weight.numel()
    assert {group: found["weights"] for group, found in groups.items()} == counts
    names = {id(module): name for name, module in unet.named_modules()}
    left_out = dict.fromkeys(groups, 0)
    for group, module in prunable_modules(unet):
        ratio = dict(zip(("down", "mid", "up"), RATIOS))[group]
        left_out[group] += int((~mask_of(names[id(module)], module.weight, ratio)).sum())
    assert {group: found["pruned"] for group, found in groups.items()} == left_out
    assert [found["sparsity"] for found in groups.values()] == pytest.approx(RATIOS, abs=0.02)


def test_random_masks_of_a_large_layer(monkeypatch):
    """Computed in parts, the masks are those of the whole."""
    weight = torch.ones(40, 61)
    call = LinearCall(Layer("large", "mid", "block", nn.Linear(61, 40)), weight)
    monkeypatch.setattr(random_masks, "_PART", 1000)
    kept = random_masks.noise(call) > np.float32(0.3)
    assert torch.equal(kept, mask_of("large", weight, 0.3))


def test_inspect_of_a_criterion_that_has_to_see_images(tmp_path, capsys):
    path = tmp_path / "model.safetensors"
    save_file(dict(make_unet().state_dict()), str(path))
    assert main(["inspect", str(path), "--ratios", "0.4/0.5/0.3", "--criterion", "quiet"]) == 2
    assert capsys.readouterr().err == "crdiff: quiet has to see the model draw; a file is not enough.\n"


def test_inspect_takes_no_preset_of_another_criterion(tmp_path, capsys):
    path = tmp_path / "model.safetensors"
    save_file(dict(make_unet().state_dict()), str(path))
    assert main(["inspect", str(path), "--preset", "512x512", "--criterion", "attenuation"]) == 2
    assert "no preset for its family (SD1.x) and the criterion attenuation; give ratios" in capsys.readouterr().err
    assert main(["inspect", str(path), "--ratios", "0.4/0.5/0.3", "--criterion", "attenuation", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["criterion"] == "attenuation"
    assert [(group["weights"] > 0, group["pruned"]) for group in found["groups"].values()] == [(True, 0)] * 3


def test_the_modes_are_those_users_see():
    assert list(MODES) == json_schema()["properties"]["mode"]["enum"] == ["exact", "batched", "balanced", "fast"]
