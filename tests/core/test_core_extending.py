"""Another kind of model and another mode, each as one class; and the public face on a UNet that no WebUI holds."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
import torch
from run_bench import Bench, mixed
from safetensors.torch import save_file
from small_unet import make_inputs, make_unet
from torch import nn

from crdiff.cost import unet_passes
from crdiff.guidance.access import PlainAccess
from crdiff.guidance.run import Run
from crdiff.json_schema import json_schema
from crdiff.method.groups import Ratios
from crdiff.method.schedule import Position, Schedule, StepWindow
from crdiff.models.architecture import ARCHITECTURES, find_layers
from crdiff.models.checkpoint_file import read_family
from crdiff.models.family import Family
from crdiff.models.role import Role
from crdiff.modes.registry import MODES
from crdiff.plan import Plan, Planner
from crdiff.presets.own_document import from_text, to_text
from crdiff.presets.size import Size
from crdiff.presets.table import Preset
from crdiff.settings import Settings

CPU, WIDTH, K = torch.device("cpu"), 12, 1.5


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix, self.mlp = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        x = x + torch.tanh(self.mix(x)).cumsum(1)
        return x + torch.tanh(self.mlp(x))


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Linear(WIDTH, WIDTH)
        self.layers = nn.ModuleList([Block() for _ in range(4)])

    def forward(self, x):
        x = self.embed(x)
        for layer in self.layers:
            x = layer(x)
        return x


TOY = Family("toy", "Toy")


class ToyArchitecture:
    families = (TOY,)

    def roles(self, names):
        found = {name: match for name in names if (match := re.fullmatch(r"layers\.(\d)\.(mix|mlp)", name))}
        return {
            name: Role("down" if match[1] in "01" else "up", f"layers.{match[1]}", match[2])
            for name, match in found.items()
        }

    def family(self, shapes):
        return TOY

    def shared_prefix(self, model, pruned):
        inside = {name.split(".")[1] for name in pruned}
        first = min(map(int, inside))
        return (model.embed, *(model.layers[place] for place in range(first)))

    def shared_projections(self, model, prefix):
        return ()


@pytest.fixture
def _toy(monkeypatch) -> None:
    monkeypatch.setitem(ARCHITECTURES, "toy", ToyArchitecture())


def pruned_by_hand(model: Transformer, down: float, up: float) -> Transformer:
    pruned = copy.deepcopy(model)
    for ratio, layers in ((down, pruned.layers[:2]), (up, pruned.layers[2:])):
        weights = [linear.weight for layer in layers for linear in (layer.mix, layer.mlp)]
        magnitudes = torch.cat([weight.abs().flatten() for weight in weights])
        if rank := int(magnitudes.numel() * ratio):
            threshold = magnitudes.kthvalue(rank).values
            for weight in weights:
                weight.mul_(weight.abs() > threshold)
    return pruned


@pytest.mark.usefixtures("_toy")
@pytest.mark.parametrize(("down", "up"), [(0.4, 0.3), (0.0, 0.3)])
def test_a_transformer_is_pruned(down, up):
    model, x = Transformer().requires_grad_(False), torch.randn(2, 5, WIDTH)
    dense, pruned = copy.deepcopy(model)(x), pruned_by_hand(model, down, up)(x)
    with Run(Planner.fixed(Plan(Schedule.constant(Ratios(down, 0.0, up)), K, "by hand")), PlainAccess()) as run:
        for _ in range(3):
            assert torch.equal(run.predict(model, lambda: model(x), CPU), K * pruned + (1 - K) * dense)
    assert run.applied[0].family == TOY
    assert torch.equal(model(x), dense)


@pytest.mark.usefixtures("_toy")
def test_what_a_transformers_passes_have_in_common_is_computed_once():
    model, x = Transformer().requires_grad_(False), torch.randn(2, 5, WIDTH)
    counted, tanh = [], torch.tanh
    with Run(Planner.fixed(Plan(Schedule.constant(Ratios(0.0, 0.0, 0.3)), K, "by hand")), PlainAccess()) as run:
        run.predict(model, lambda: model(x), CPU)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "tanh", lambda value: counted.append(1) or tanh(value))
            run.predict(model, lambda: model(x), CPU)
    assert len(counted) == (4 + 2) * 2  # two of each block; the second pass computes the last two blocks alone


@pytest.mark.usefixtures("_toy")
def test_its_files_and_presets_are_known(tmp_path):
    path = tmp_path / "toy.safetensors"
    save_file(dict(Transformer().state_dict()), str(path))
    assert read_family(path) == TOY
    assert find_layers(Transformer()).family == TOY
    preset = Preset.own("toy", TOY, Size(256, 256), Ratios(0.1, 0.2, 0.3))
    assert from_text(to_text([preset])) == (preset,)


class Averaged:
    """The mean of the exact and the mixed prediction, in three passes."""

    name, help, passes, shares, pruned_passes = "averaged", "the mean of two predictions.", 3.0, False, 1.0

    def predict(self, step):
        pruned, mixed_prediction = step.pruned(), step.mixed()
        return (step.amplified(pruned, step.dense()) + mixed_prediction) / 2


def test_a_new_mode_draws_and_is_known_everywhere(monkeypatch):
    monkeypatch.setitem(MODES, "averaged", Averaged)
    exact, fast = Bench(K), Bench(K, mode="fast")
    bench = Bench(K, mode=Settings(mode="averaged").mode)
    for _ in range(2):
        assert torch.equal(bench.step(), (exact.step() + fast.step()) / 2)
    assert bench.passes(bench.step) == 3
    assert "averaged" in json_schema()["properties"]["mode"]["enum"]
    plan = Plan(Schedule.constant(Ratios(0.3, 0.3, 0.3)), K, "by hand")
    assert unet_passes(plan, MODES["averaged"], StepWindow(0.0, 0.5)) == 2.0


def test_the_documented_lines_for_a_unet_without_a_webui():
    """The very text, on a small UNet of the layout of SD1.x."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```python\n(.*?from crdiff import.*?)```", page, re.DOTALL)
    unet, (x, _, context) = make_unet(), make_inputs()
    timesteps = [torch.tensor([time, time]) for time in (900, 500, 100)]
    names = {"unet": unet, "x": x, "context": context, "timesteps": timesteps, "predictions": []}
    exec(compile(text, "extending.md", "exec"), names)
    table_6 = (0.319, 0.240, 0.192)  # SD1.5, 400x560
    assert len(names["predictions"]) == 3
    for found, time in zip(names["predictions"], timesteps):
        assert torch.equal(found, mixed(unet, (x, time, context), 1.5, table_6))


def test_outside_its_window_a_run_does_nothing():
    bench = Bench(window=StepWindow(0.5, 1.0))
    bench.run.position = Position(0, 4)
    assert torch.equal(bench.step(), copy.deepcopy(bench.unet)(*bench.inputs))
    assert bench.planned == []
