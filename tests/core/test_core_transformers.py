"""The transformers that the world uses, as diffusers has them, against copies pruned offline; the hosts' by names."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from published_unets import build
from small_transformers import MODELS, pruned_copy, pruned_parts
from small_unet import make_inputs, make_unet, prunable_modules

from crdiff.errors import UnsupportedModelError
from crdiff.guidance.access import PlainAccess
from crdiff.guidance.run import Run
from crdiff.method.groups import Ratios
from crdiff.method.schedule import Schedule
from crdiff.models.architecture import find_layers
from crdiff.models.scope import Scope
from crdiff.plan import Plan, Planner
from crdiff.pruning.copies import CopyPolicy

CPU = torch.device("cpu")
RATIOS = (0.3, 0.2, 0.4)
K = 1.5


def planner(k=K, ratios=RATIOS, layers="released", threshold="auto", criterion="magnitude", mode="exact"):
    plan = Plan(Schedule.constant(Ratios(*ratios)), k, "by hand")
    return Planner.fixed(plan, mode, criterion, Scope(layers, threshold))


def drawn(model, inputs) -> torch.Tensor:
    return model(**inputs, return_dict=False)[0]


def predict(run: Run, model, inputs) -> torch.Tensor:
    return run.predict(model, lambda: drawn(model, inputs), CPU)


@pytest.mark.parametrize(
    ("layers", "threshold"),
    [("released", "auto"), ("feed-forward", "auto"), ("attention", "auto"), ("feed-forward", "group")],
)
@pytest.mark.parametrize("kind", MODELS)
class TestDiffusers:
    def test_every_pass_is_that_of_a_copy_pruned_offline(self, kind, layers, threshold):
        model, inputs = MODELS[kind]()
        before = copy.deepcopy(model.state_dict())
        dense = drawn(copy.deepcopy(model), inputs)
        offline = pruned_copy(model, kind, layers, RATIOS, by_layer=threshold == "auto")
        pruned = drawn(offline, inputs)
        assert not torch.equal(pruned, dense)
        for k, policy in ((1.0, CopyPolicy.NEVER), (1.0, CopyPolicy.ALWAYS), (K, CopyPolicy.AUTO)):
            with Run(planner(k, layers=layers, threshold=threshold), PlainAccess(), policy=policy) as run:
                for _ in range(3):
                    assert torch.equal(predict(run, model, inputs), k * pruned + (1 - k) * dense), (k, policy)
            assert run.refusals == []
            assert torch.equal(drawn(model, inputs), dense)
        after = model.state_dict()
        assert all(torch.equal(after[name], weight) for name, weight in before.items())
        for group, parts in pruned_parts(kind, layers).items():
            weights = [offline.get_submodule(name).weight[region] for name, region in parts]
            counted = run.applied[0].sparsity[group]
            assert counted.weights == sum(weight.numel() for weight in weights)
            assert counted.pruned == sum(int((weight == 0).sum()) for weight in weights)


@pytest.mark.parametrize("kind", MODELS)
def test_off_is_the_model_itself(kind):
    model, inputs = MODELS[kind]()
    dense = drawn(copy.deepcopy(model), inputs)
    for k, ratios in ((0.0, RATIOS), (K, (0.0, 0.0, 0.0))):
        with Run(planner(k, ratios), PlainAccess()) as run:
            assert torch.equal(predict(run, model, inputs), dense)
    assert all("forward" not in module.__dict__ for module in model.modules())


@pytest.mark.parametrize("kind", MODELS)
def test_weights_are_untouched_by_errors(kind):
    model, inputs = MODELS[kind]()
    before = copy.deepcopy(model.state_dict())
    calls = []

    def failing() -> torch.Tensor:
        result = drawn(model, inputs)
        calls.append(result)
        if len(calls) == 2:
            raise RuntimeError("in the pruned pass")
        return result

    with Run(planner(layers="attention"), PlainAccess()) as run, pytest.raises(RuntimeError, match="pruned pass"):
        run.predict(model, failing, CPU)
    after = model.state_dict()
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    assert torch.equal(drawn(model, inputs), calls[0])
    assert all("forward" not in module.__dict__ for module in model.modules())


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("layers", ["feed-forward", "attention"])
def test_a_weakened_region_leaves_the_rest_of_its_weight(kind, layers):
    model, inputs = MODELS[kind]()
    weakened = copy.deepcopy(model)
    for ratio, parts in zip(RATIOS, pruned_parts(kind, layers).values()):
        for name, region in parts:
            weakened.get_submodule(name).weight[region] *= 1.0 - ratio
    with Run(planner(1.0, layers=layers, criterion="attenuation"), PlainAccess()) as run:
        assert torch.allclose(predict(run, model, inputs), drawn(weakened, inputs), atol=1e-5)


def test_a_unet_may_have_a_threshold_a_layer():
    unet, inputs = make_unet(), make_inputs()
    offline = copy.deepcopy(unet)
    for group, module in prunable_modules(offline):
        magnitudes = module.weight.data.abs()
        rank = int(magnitudes.numel() * dict(zip(("down", "mid", "up"), RATIOS))[group])
        module.weight.data.mul_(magnitudes > magnitudes.flatten().kthvalue(rank).values)
    with Run(planner(1.0, threshold="layer"), PlainAccess()) as run:
        assert torch.equal(run.predict(unet, lambda: unet(*inputs), CPU), offline(*inputs))


def test_what_comes_before_the_first_pruned_block_is_computed_once():
    model, inputs = MODELS["flux"]()
    expected = K * drawn(pruned_copy(model, "flux", "feed-forward", (0, 0.3, 0.3), by_layer=True), inputs)
    expected = expected + (1 - K) * drawn(model, inputs)
    ran = []
    for name in ("x_embedder", "transformer_blocks.0.attn.to_q", "single_transformer_blocks.3.attn.to_q"):
        linear = model.get_submodule(name)
        counted = linear.weight

        def forward(x, name=name, weight=counted, bias=linear.bias):
            ran.append(name)
            return torch.nn.functional.linear(x, weight, bias)

        type_of = type(linear)
        linear.__class__ = type("Counted", (type_of,), {"forward": lambda self, x, forward=forward: forward(x)})
    with Run(planner(ratios=(0.0, 0.3, 0.3), layers="feed-forward"), PlainAccess()) as run:
        predict(run, model, inputs)
        ran.clear()
        assert torch.equal(predict(run, model, inputs), expected)
    assert ran.count("single_transformer_blocks.3.attn.to_q") == 2
    assert ran.count("x_embedder") == ran.count("transformer_blocks.0.attn.to_q") == 1


def test_blocks_of_two_streams_are_not_skipped(tmp_path):
    from crdiff.calibration.run import Calibration, CalibrationRun
    from crdiff.pruning.calibrations import Calibrations
    from crdiff.pruning.store import Store

    model, inputs = MODELS["sd3"]()
    dense, calibration, stored = drawn(model, inputs), Calibration(), Calibrations(tmp_path)
    with CalibrationRun(calibration, PlainAccess()) as calibrating:
        predict(calibrating, model, inputs)
    for state, gathering in calibration.gatherings.items():
        stored.put(state, gathering.statistics({"images": "1"}))
    with Run(planner(criterion="layerdrop"), PlainAccess(), Store(calibrations=stored)) as run:
        assert torch.equal(predict(run, model, inputs), dense)
    assert "text and the image at once" in run.refusals[0]
    with Run(
        planner(1.0, layers="attention", criterion="wanda-layer"), PlainAccess(), Store(calibrations=stored)
    ) as run:
        assert not torch.equal(predict(run, model, inputs), dense)
    assert run.refusals == []


def test_a_calibration_serves_every_set_of_layers(tmp_path):
    from crdiff.calibration.run import Calibration, CalibrationRun
    from crdiff.pruning.calibrations import Calibrations
    from crdiff.pruning.store import Store

    model, inputs = MODELS["flux"]()
    calibration, stored = Calibration(), Calibrations(tmp_path)
    with CalibrationRun(calibration, PlainAccess()) as calibrating:
        predict(calibrating, model, inputs)
    for state, gathering in calibration.gatherings.items():
        stored.put(state, gathering.statistics({"images": "1"}))
    for layers in ("released", "feed-forward", "attention"):
        for criterion in ("wanda", "wanda-group"):
            chosen = planner(1.0, layers=layers, criterion=criterion)
            with Run(chosen, PlainAccess(), Store(calibrations=stored)) as run:
                predict(run, model, inputs)
            assert run.refusals == []
            found = run.applied[0].sparsity
            for group, parts in pruned_parts("flux", layers).items():
                weights = [model.get_submodule(name).weight[region].numel() for name, region in parts]
                assert found[group].weights == sum(weights)


H = 8
# Linears of a block in the hosts' models: those of the feed-forward, of the attention, and others.
HOSTS = {
    "flux": (
        {"double_blocks": 2, "single_blocks": 4},
        {"double_blocks": {"img_mlp.0": (32, H), "img_mlp.2": (H, 32)}, "single_blocks": {}},
        {"double_blocks": {"img_attn.qkv": (24, H), "img_attn.proj": (H, H)}, "single_blocks": {}},
        {"double_blocks": {"txt_attn.qkv": (24, H), "txt_mlp.0": (32, H), "img_mod.lin": (48, H)},
         "single_blocks": {"modulation.lin": (24, H)}},
        {"img_in": (H, 64), "txt_in": (H, 32), "vector_in.in_layer": (H, 16), "final_layer.linear": (64, H)},
    ),
    "sd3": (
        {"joint_blocks": 6},
        {"joint_blocks": {"x_block.mlp.fc1": (32, H), "x_block.mlp.fc2": (H, 32)}},
        {"joint_blocks": {"x_block.attn.qkv": (24, H), "x_block.attn.proj": (H, H)}},
        {"joint_blocks": {"context_block.attn.qkv": (24, H), "context_block.mlp.fc1": (32, H)}},
        {"x_embedder.proj": (H, 64), "context_embedder": (H, 32)},
    ),
    "lumina2": (
        {"layers": 6},
        {"layers": {"feed_forward.w1": (32, H), "feed_forward.w2": (H, 32), "feed_forward.w3": (32, H)}},
        {"layers": {"attention.qkv": (24, H), "attention.out": (H, H)}},
        {"layers": {"adaLN_modulation.1": (32, H)}},
        {"x_embedder": (H, 64), "cap_embedder.1": (H, 32), "noise_refiner.0.attention.qkv": (24, H),
         "context_refiner.0.feed_forward.w1": (32, H)},
    ),
    "qwen-image": (
        {"transformer_blocks": 3},
        {"transformer_blocks": {"img_mlp.net.0.proj": (32, H), "img_mlp.net.2": (H, 32)}},
        {"transformer_blocks": {f"attn.{part}": (H, H) for part in ("to_q", "to_k", "to_v", "to_out.0")}},
        {"transformer_blocks": {"attn.add_q_proj": (H, H), "attn.to_add_out": (H, H), "txt_mlp.net.2": (H, 32)}},
        {"img_in": (H, 64), "txt_norm": (H, H), "txt_in": (H, 32)},
    ),
}  # fmt: skip
HOSTS["chroma"] = (
    *HOSTS["flux"][:4],
    {"img_in": (H, 64), "txt_in": (H, 32), "distilled_guidance_layer.in_proj": (H, H)},
)
FUSED = {"linear1": (56, H), "linear2": (H, 40)}


def host_shapes(kind: str) -> tuple[dict, dict[str, list[str]], dict[str, list[str]]]:
    """All Linears of a host's model, and by group those of the feed-forward and of attention."""
    lengths, feed_forward, attention, others, beside = HOSTS[kind]
    shapes, found = dict(beside), ({"down": [], "mid": [], "up": []}, {"down": [], "mid": [], "up": []})
    for stack, length in lengths.items():
        for index in range(length):
            if len(lengths) == 2:
                group = "down" if stack == "double_blocks" else ("mid" if index < length // 2 else "up")
            else:
                group = ("down", "mid", "up")[index // (length // 3)]
            for known, parts in ((found[0], feed_forward), (found[1], attention), (None, others)):
                named = {f"{stack}.{index}.{part}": shape for part, shape in parts[stack].items()}
                shapes |= named
                if known is not None:
                    known[group] += named
            if stack == "single_blocks":
                shapes |= {f"{stack}.{index}.{part}": shape for part, shape in FUSED.items()}
    return shapes, *found


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
@pytest.mark.parametrize("kind", HOSTS)
def test_the_hosts_models_by_name(kind, prefix):
    shapes, feed_forward, attention = host_shapes(kind)
    shapes = {prefix + name: shape for name, shape in shapes.items()}
    beside = {"text_encoder.layers.0.attention.qkv": (24, H), "control.double_blocks.0.img_mlp.0": (32, H)}
    model = build({**shapes, **beside})
    single = [name for name in shapes if ".linear" in name and "single_blocks" in name]
    for layers in ("released", "feed-forward", "attention"):
        found = find_layers(model, Scope(layers))
        assert found.family.value == kind
        for group in ("down", "mid", "up"):
            expected = {prefix + name for name in feed_forward[group]}
            expected |= {prefix + name for name in attention[group]} if layers == "attention" else set()
            plain = {layer.name for layer in found.group(group) if layer.name not in single}
            assert plain == expected, (layers, group)
        fused = {layer.name: layer.shape for layer in found.layers if layer.name in single}
        assert set(fused) == (set(single) if layers != "released" else set())
        for name, shape in fused.items():
            # Without attention: 32 of 3 * 8 + 32 rows, 32 of 8 + 32 columns.
            assert shape == (
                FUSED[name.rpartition(".")[2]] if layers == "attention" else {56: (32, H), 8: (H, 32)}[shapes[name][0]]
            )


def test_of_the_published_models_as_released():
    """SD3 Medium: 24 blocks 1536 wide; Flux: 19 double blocks 3072 wide (counts of the authors' code on diffusers)."""
    wide = {"x_block.mlp.fc1": (6144, 1536), "x_block.mlp.fc2": (1536, 6144)}
    sd3 = {f"joint_blocks.{i}.{part}": shape for i in range(24) for part, shape in wide.items()}
    sd3 |= {"x_embedder.proj": (1536, 64), "context_embedder": (1536, 4096)}
    flux_wide = {"img_mlp.0": (12288, 3072), "img_mlp.2": (3072, 12288)}
    flux = {f"double_blocks.{i}.{part}": shape for i in range(19) for part, shape in flux_wide.items()}
    flux |= {f"single_blocks.{i}.linear1": (21504, 3072) for i in range(38)}
    flux |= {"vector_in.in_layer": (3072, 768), "txt_in": (3072, 4096)}
    for shapes, millions in ((sd3, 453.0), (flux, 1434.5)):
        layers = find_layers(build(shapes)).layers
        assert round(sum(layer.shape[0] * layer.shape[1] for layer in layers) / 10**6, 1) == millions


def test_what_is_only_like_one_is_refused():
    shapes = {f"double_blocks.{i}.img_mlp.0": (32, 8) for i in range(2)}
    shapes |= {"double_stream_modulation_img.lin": (48, 8), "txt_in": (8, 8), "single_blocks.0.linear1": (56, 8)}
    with pytest.raises(UnsupportedModelError, match="Flux, SD3"):
        find_layers(build(shapes))


def test_a_file_is_inspected_without_its_model(tmp_path, capsys):
    from safetensors.torch import save_file

    from crdiff.__main__ import main

    shapes, *_ = host_shapes("flux")
    torch.manual_seed(0)
    weights = {f"model.diffusion_model.{name}.weight": torch.randn(shape) for name, shape in shapes.items()}
    path = tmp_path / "flux.safetensors"
    save_file(weights, str(path))
    arguments = ["inspect", str(path), "--ratios", "0.25/0.5/0.5", "--layers", "feed-forward", "--json"]
    assert main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["family"] == "flux"
    expected = {"down": 0, "mid": 0, "up": 0}
    for name, shape in shapes.items():
        if name.startswith("double_blocks") and "img_mlp" in name:
            expected["down"] += int(shape[0] * shape[1] * 0.25)
        if name.startswith("single_blocks") and ".linear" in name:
            expected["mid" if name.split(".")[1] in "01" else "up"] += int(32 * 8 * 0.5)
    assert {group: one["pruned"] for group, one in found["groups"].items()} == expected
