"""Criteria of other kinds than magnitude, each as one class: what the seam carries, against UNets changed by hand."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator

import pytest
import torch
from run_bench import Bench
from safetensors.torch import save_file
from small_unet import SmallUNet, TransformerBlock, make_inputs, make_unet, prunable_modules

from crdiff.__main__ import main
from crdiff.method.schedule import Position
from crdiff.modes.registry import MODES
from crdiff.pruning.copies import CopyPolicy
from crdiff.pruning.criterion import GroupSparsity, Pruning, check_complete
from crdiff.pruning.registry import CRITERIA
from crdiff.settings import Settings, json_schema
from crdiff.webui import infotext

RATIOS, K = (0.4, 0.5, 0.3), 1.5


def mask_of(weight: torch.Tensor, ratio: float) -> torch.Tensor:
    """Keeps a weight or not by its place alone."""
    places = torch.arange(weight.numel(), dtype=torch.int64)
    return ((places * 2654435761) % 997 >= ratio * 997).reshape(weight.shape)


class RandomMasks:
    """As many weights as the ratio says, at places that have nothing to do with them."""

    def __init__(self, state, store) -> None:
        self.weights: dict[str, int] = {}

    def observer(self, ratios):
        return None if self.weights else _Counting(self)

    def pruning(self, ratios):
        return _Masked(ratios)

    def sparsity(self, ratios):
        return {
            group: GroupSparsity(self.weights[group], int(self.weights[group] * ratios[group]))
            for group in ("down", "mid", "up")
        }


class _Counting:
    calls = 1

    def __init__(self, criterion: RandomMasks) -> None:
        self.criterion, self.seen = criterion, {}

    def wants(self, layer):
        return layer.name not in self.seen

    def see(self, call):
        self.seen[call.layer.name] = (call.layer.group, call.weight.numel())

    def finish(self, layers):
        check_complete(len(self.seen), layers)
        for group in ("down", "mid", "up"):
            self.criterion.weights[group] = sum(count for other, count in self.seen.values() if other == group)


class _Masked(Pruning):
    def __init__(self, ratios) -> None:
        self.ratios, self.masks = ratios, {}

    def wants(self, layer):
        return self.ratios[layer.group] > 0

    def weight(self, call):
        name = call.layer.name
        if name not in self.masks:
            self.masks[name] = call.weight * mask_of(call.weight, self.ratios[call.layer.group])
        # A stored weight: whoever wrote into it would draw other images from the next step on.
        return self.masks[name]


class Attenuation:
    """Nothing is left out; every product of a layer is smaller."""

    def __init__(self, state, store) -> None:
        pass

    def observer(self, ratios):
        return None

    def pruning(self, ratios):
        return _Weaker(ratios)

    def sparsity(self, ratios):
        return {group: GroupSparsity(0, 0) for group in ("down", "mid", "up")}


class _Weaker(Pruning):
    def __init__(self, ratios) -> None:
        self.ratios = ratios

    def wants(self, layer):
        return self.ratios[layer.group] > 0

    def factor(self, layer):
        return 1.0 - self.ratios[layer.group]


class LayerDrop(Attenuation):
    """Whole transformer blocks are skipped, here all of the up group."""

    def pruning(self, ratios):
        return _Dropped()


class _Dropped(Pruning):
    def residual(self, block):
        return 0.0 if block.startswith("output_blocks.") else 1.0


class QuietColumns:
    """Leaves out the columns whose inputs were smallest over two steps, as Wanda's scores need to know them."""

    def __init__(self, state, store) -> None:
        self.norms: dict[str, torch.Tensor] = {}

    def observer(self, ratios):
        return None if self.norms else _Watching(self)

    def pruning(self, ratios):
        return _Columns(self.norms, ratios)

    def sparsity(self, ratios):
        return {group: GroupSparsity(0, 0) for group in ("down", "mid", "up")}


class _Watching:
    calls = 2

    def __init__(self, criterion: QuietColumns) -> None:
        self.criterion, self.squares = criterion, {}

    def wants(self, layer):
        return True

    def see(self, call):
        square = call.input.float().square().flatten(0, -2).sum(0)
        self.squares[call.layer.name] = self.squares.get(call.layer.name, 0.0) + square

    def finish(self, layers):
        check_complete(len(self.squares), layers)
        self.criterion.norms = {name: square.sqrt() for name, square in self.squares.items()}


class _Columns(Pruning):
    def __init__(self, norms, ratios) -> None:
        self.norms, self.ratios = norms, ratios

    def wants(self, layer):
        return True

    def weight(self, call):
        return without_quiet_columns(call.weight, self.norms[call.layer.name], self.ratios[call.layer.group])


def without_quiet_columns(weight: torch.Tensor, norms: torch.Tensor, ratio: float) -> torch.Tensor:
    quiet = norms.argsort()[: int(len(norms) * ratio)]
    changed = weight.clone()
    changed[:, quiet] = 0.0
    return changed


@pytest.fixture(autouse=True)
def _criteria(monkeypatch) -> None:
    for name, criterion in (
        ("random", RandomMasks), ("attenuation", Attenuation), ("layerdrop", LayerDrop), ("quiet", QuietColumns)
    ):  # fmt: skip
        monkeypatch.setitem(CRITERIA, name, criterion)


def changed_by_hand(unet: SmallUNet, criterion: str, share: float = 1.0) -> SmallUNet:
    """A copy changed as the criterion says; with ``share`` k, as far as a pass with mixed weights is."""
    copied = copy.deepcopy(unet)
    ratios = dict(zip(("down", "mid", "up"), RATIOS))
    for group, module in prunable_modules(copied):
        if criterion == "random":
            pruned = module.weight * mask_of(module.weight, ratios[group])
        elif criterion == "attenuation":
            pruned = module.weight * (1.0 - ratios[group])
        else:
            return _weakened_blocks(copied, 1.0 - share)
        module.weight = torch.nn.Parameter(pruned + (1.0 - share) * (module.weight - pruned), requires_grad=False)
    return copied


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


@pytest.mark.parametrize("criterion", ["random", "attenuation", "layerdrop"])
@pytest.mark.parametrize("mode", ["exact", "batched", "fast"])
@pytest.mark.parametrize("k", [1.0, K])
def test_every_kind_of_answer_in_every_mode(criterion, mode, k):
    bench = Bench(k, criterion=criterion, mode=mode, policy=CopyPolicy.ALWAYS)
    dense, pruned = copy.deepcopy(bench.unet), changed_by_hand(bench.unet, criterion)
    mixed = changed_by_hand(bench.unet, criterion, k)
    for found, inputs in predictions(bench):
        expected = mixed(*inputs) if mode == "fast" else k * pruned(*inputs) + (1.0 - k) * dense(*inputs)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(expected, dense(*inputs), atol=1e-3)
    assert bench.run.refusals == []
    bench.run.close()
    assert torch.equal(bench.unet(*bench.inputs), dense(*bench.inputs))


@pytest.mark.parametrize("criterion", ["random", "attenuation", "layerdrop"])
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
    bench = Bench(1.0, criterion="layerdrop")
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


def test_settings_infotext_and_schema_know_it():
    settings = Settings(enabled=True, preset="custom", criterion="random")
    params: dict[str, object] = {}
    infotext.write_settings(params, settings, K)
    texts = {key: str(value) for key, value in params.items()}
    assert texts["CR-Diff criterion"] == "random"
    assert infotext.reader("criterion", lambda name: True)(texts) == "random"
    assert "random" in json_schema()["properties"]["criterion"]["enum"]
    infotext.write_settings(params := {}, Settings(enabled=True), K)
    assert "CR-Diff criterion" not in params


def test_inspect_knows_it(tmp_path, capsys):
    unet = make_unet()
    path = tmp_path / "model.safetensors"
    save_file({f"model.diffusion_model.{name}": weight for name, weight in unet.state_dict().items()}, str(path))
    assert main(["inspect", str(path), "--ratios", "0.4/0.5/0.3", "--criterion", "random", "--json"]) == 0
    groups = json.loads(capsys.readouterr().out)["groups"]
    counts = dict.fromkeys(groups, 0)
    for group, module in prunable_modules(unet):
        counts[group] += module.weight.numel()
    assert {group: found["weights"] for group, found in groups.items()} == counts
    assert {group: found["pruned"] for group, found in groups.items()} == {
        group: int(counts[group] * ratio) for group, ratio in zip(("down", "mid", "up"), RATIOS)
    }


def test_inspect_of_a_criterion_that_has_to_see_images(tmp_path, capsys):
    path = tmp_path / "model.safetensors"
    save_file(dict(make_unet().state_dict()), str(path))
    assert main(["inspect", str(path), "--ratios", "0.4/0.5/0.3", "--criterion", "quiet"]) == 2
    assert capsys.readouterr().err == "crdiff: quiet has to see the model draw; a file is not enough.\n"


def test_the_modes_are_those_users_see():
    assert list(MODES) == json_schema()["properties"]["mode"]["enum"] == ["exact", "batched", "balanced", "fast"]
