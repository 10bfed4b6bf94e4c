"""The demo's transformer: its class against diffusers' SD3, its images against two models, its commands at work."""

from __future__ import annotations

import copy
import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from core import small_diffusers  # isort: skip  # noqa: F401
from diffusers.loaders.single_file_utils import convert_sd3_transformer_checkpoint_to_diffusers
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
from safetensors.torch import load_file, save_file

from demo.evaluate import transformer as evaluate
from demo.evaluate.cells import Measured
from demo.evaluate.judge import Judge
from demo.evaluate.model import DemoModel
from demo.evaluate.transformer_model import DemoTransformer, Way
from demo.prepare import CHECKPOINT
from demo.scenes.scene import judging_scenes
from demo.train import transformer as training
from demo.train.mmdit import MMDiT, MMDiTShape

FEED_FORWARD = ("x_block.mlp.fc1.weight", "x_block.mlp.fc2.weight")
ATTENTION = ("x_block.attn.qkv.weight", "x_block.attn.proj.weight")


def seeded(shape):
    """A transformer whose every weight its output depends on."""
    torch.manual_seed(2)
    model = MMDiT(shape)
    for parameter in model.parameters():
        parameter.data = torch.randn_like(parameter) * 0.1
    return model.eval().requires_grad_(False)


@torch.no_grad()
def test_the_class_is_sd3():
    shape = MMDiTShape(width=32, depth=3, heads=2, context=12, base=4, largest=12)
    ours = seeded(shape)
    theirs = SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, out_channels=4, num_layers=3, attention_head_dim=16,
        num_attention_heads=2, joint_attention_dim=12, caption_projection_dim=32, pooled_projection_dim=12,
        pos_embed_max_size=12, qk_norm="rms_norm",
    )  # fmt: skip
    table = theirs.pos_embed.pos_embed.clone()
    theirs.load_state_dict(convert_sd3_transformer_checkpoint_to_diffusers(dict(ours.state_dict())))
    assert torch.allclose(ours.pos_embed, table, atol=1e-6)
    x, text, t = torch.randn(2, 4, 6, 10), torch.randn(2, 5, 12), torch.tensor([0.3, 0.8])
    expected = theirs(x, text, text.mean(dim=1), 1000 * t, return_dict=False)[0]
    assert torch.allclose(ours(x, t, text), expected, atol=1e-5)
    odd = x[:, :, :5]
    assert torch.equal(ours(odd, t, text), ours(torch.cat([odd, odd[:, :, :1]], dim=2), t, text)[:, :, :5])


@pytest.fixture(scope="module")
def drawing(tmp_path_factory):
    path = tmp_path_factory.mktemp("transformer") / "random.safetensors"
    save_file({name: value.contiguous() for name, value in seeded(training.SHAPE).state_dict().items()}, str(path))
    return DemoTransformer(path, DemoModel(CHECKPOINT))


def pruned_copy(model, endings, ratio):
    """The model with the smallest weights of each layer set to zero, by kthvalue."""
    pruned = copy.deepcopy(model)
    for name, weight in pruned.named_parameters():
        if name.endswith(endings):
            threshold = weight.abs().flatten().kthvalue(int(weight.numel() * ratio)).values
            weight.mul_(weight.abs() > threshold)
    return pruned


@pytest.mark.parametrize(
    ("way", "endings"),
    [
        (Way(), FEED_FORWARD),
        (Way(0.3), FEED_FORWARD),
        (Way(0.3, 1.5), FEED_FORWARD),
        (Way(0.2, 2.0, "attention"), FEED_FORWARD + ATTENTION),
    ],
)
@torch.no_grad()
def test_an_image_is_the_mix_of_two_transformers(drawing, way, endings):
    dense, demo, steps, guidance = drawing.transformer, DemoModel(CHECKPOINT), 2, 3.0
    pruned, k = (pruned_copy(dense, endings, way.ratio), way.k) if way.ratio else (dense, 1.0)
    prompt = "a red house left of a blue tree, by day"
    x = torch.randn((4, 10, 16), generator=torch.Generator().manual_seed(5))[None]
    for t in (1.0, 0.5):
        cond, uncond = (
            k * pruned(x, torch.tensor([t]), demo.text([text]))
            + (1 - k) * dense(x, torch.tensor([t]), demo.text([text]))
            for text in (prompt, "")
        )
        x = x - 0.5 * (uncond + guidance * (cond - uncond))
    expected = ((demo.vae.decode(x)[0].permute(1, 2, 0) + 1) * 127.5).round().clamp(0, 255).numpy()
    [image] = drawing.draw([prompt], [5], (80, 128), way, steps, guidance)
    assert image.shape == (80, 128, 3)
    assert np.abs(image.astype(int) - expected).max() <= 1


def test_the_shipped_transformer_draws_its_captions_at_home_and_is_the_measured_one():
    model, scenes = DemoTransformer(training.TRANSFORMER, DemoModel(CHECKPOINT)), judging_scenes(8)
    images = model.draw([scene.caption() for scene in scenes], range(8), (128, 128), Way(), 12)
    assert Judge().verdict(images, scenes).right.sum() >= 7
    assert training.TRANSFORMER.stat().st_size <= 8_000_000
    assert Measured.read(CHECKPOINT.parents[2] / "docs" / "demo-transformer.json").protocol.checkpoint == model.sha256


def test_it_is_trained_and_measured(tmp_path, monkeypatch, capsys):
    out, found = tmp_path / "transformer.safetensors", tmp_path / "found.json"
    command = ["train", "--images", "4", "--steps", "2", "--batch", "2", "--device", "cpu", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", command)
    training.main()
    weights = load_file(str(out))
    assert all(value.isfinite().all() for value in weights.values())
    assert weights["joint_blocks.0.x_block.adaLN_modulation.1.weight"].any()  # zero before the first step
    assert out.stat().st_size <= 8_000_000

    monkeypatch.setattr(evaluate, "WAYS", (Way(), Way(0.1), Way(0.3), Way(0.2, 1.0, "attention", "attenuation")))
    counts = ["--pool", "2", "--prompts", "3", "--seeds", "2", "--steps", "1"]
    command = ["evaluate", "--sizes", "80x128", *counts, "--checkpoint", str(out), "--json", str(found)]
    monkeypatch.setattr(evaluate, "SCENES_SHOWN", 2)
    monkeypatch.setattr(sys, "argv", [*command, "--images", str(tmp_path / "images.png")])
    evaluate.main()
    assert Image.open(tmp_path / "images.png").size == (2 * 132, 3 * 84)
    monkeypatch.setattr(sys, "argv", command)
    cells = json.loads(found.read_text())["cells"]
    assert [cell["varied"] for cell in cells] == [
        "",
        "released 0.1, k = 1",
        "released 0.3, k = 1",
        "attention 0.2, k = 1",
    ]
    assert all(len(cell["right"]) == len(cell["scores"]) == 10 for cell in cells)
    # The choice is made on the first two captions, and judged on the other three.
    cells[1] |= {"right": "1111000001", "scores": [900] * 4 + [0] * 6}
    cells[2] |= {"right": "0000111111", "scores": [0] * 4 + [900] * 6}
    cells[0] |= {"right": "0" * 10}
    content = json.loads(found.read_text()) | {"cells": cells}
    found.write_text(json.dumps(content))
    capsys.readouterr()
    evaluate.main()
    lines = capsys.readouterr().out.strip().splitlines()
    assert "magnitude" in lines[0]  # nothing is measured again
    assert lines[2].split(" | ")[2].startswith("+16.7") and "[0.1]" in lines[2]
    assert lines[-1] == "| 80x128 |  |  |"  # magnitude was not tried on attention
