"""Which layers are pruned, against the published architectures."""

from __future__ import annotations

import pytest
import torch
from published_unets import SD1, SDXL, SSD_1B, UNETS, all_shapes, build, other_shapes, pruned_shapes
from small_unet import OwnLinear, make_unet, prunable_modules
from torch import nn

from crdiff.errors import UnsupportedModelError
from crdiff.models import unet as models
from crdiff.models.architecture import family_named, find_layers
from crdiff.models.family import OTHER

UNET = models.UNet()
LAYERS = {"sd15": (36, 6, 54), "sd21": (36, 6, 54), "sdxl": (144, 60, 216)}
MILLIONS = {"sd15": (68.8, 26.2, 103.2), "sd21": (68.8, 26.2, 103.2), "sdxl": (550.5, 262.1, 825.8)}
GROUPS = ("down", "mid", "up")
BLOCK = "transformer_blocks.0"


@pytest.mark.parametrize("naming", ["ldm", "diffusers"])
@pytest.mark.parametrize("family", UNETS)
class TestPublishedUNets:
    def test_live_layers(self, family, naming):
        stacks, context = UNETS[family]
        found = find_layers(build(all_shapes(stacks, naming, context)))
        assert found.family is family_named(family)
        for group, layers, millions in zip(GROUPS, LAYERS[family], MILLIONS[family]):
            members = found.group(group)
            assert {layer.name: layer.features for layer in members} == pruned_shapes(stacks, naming)[group]
            assert len(members) == layers
            assert sum(layer.module.weight.numel() for layer in members) / 1e6 == pytest.approx(millions, abs=0.05)

    @pytest.mark.parametrize("prefix", ["", "model.diffusion_model.", "diffusion_model.", "unet."])
    def test_names_in_a_file(self, family, naming, prefix):
        stacks, context = UNETS[family]
        shapes = {prefix + name: shape for name, shape in all_shapes(stacks, naming, context).items()}
        shapes["first_stage_model.decoder.mid.attn_1.q"] = (512, 512)
        expected = {group: {prefix + name for name in names} for group, names in pruned_shapes(stacks, naming).items()}
        roles = {name: role for name in shapes if (role := UNET.role(name)) is not None and role.pruned}
        found = {group: {name for name, role in roles.items() if role.group == group} for group in GROUPS}
        assert found == expected
        assert UNET.family(shapes) is family_named(family)

    def test_nothing_else_is_pruned(self, family, naming):
        stacks, context = UNETS[family]
        others = other_shapes(stacks, naming, context)
        assert not any(role.pruned for name in others if (role := UNET.role(name)) is not None)
        with pytest.raises(UnsupportedModelError):
            find_layers(build(others))


@pytest.mark.parametrize(
    "name",
    [
        # Another network in the same file or module tree.
        f"control_model.input_blocks.1.1.{BLOCK}.attn1.to_q",
        f"model_ema.diffusion_model.input_blocks.1.1.{BLOCK}.attn1.to_q",
        f"cond_stage_model.input_blocks.1.1.{BLOCK}.attn1.to_q",
        # AnimateDiff: in diffusers, in its own files, and as sd-webui-animatediff injects it into the UNet.
        f"down_blocks.0.motion_modules.0.{BLOCK}.attn1.to_q",
        f"down_blocks.0.motion_modules.0.temporal_transformer.{BLOCK}.ff.net.0.proj",
        f"input_blocks.1.2.temporal_transformer.{BLOCK}.ff.net.0.proj",
        f"output_blocks.5.2.temporal_transformer.{BLOCK}.ff.net.2",
        # Stable Video Diffusion's layers over time.
        "down_blocks.0.attentions.0.temporal_transformer_blocks.0.attn1.to_q",
        "input_blocks.1.1.time_stack.0.attn1.to_q",
        # Near misses.
        f"input_blocks.1.1.{BLOCK}.attn2.to_q",
        f"input_blocks.1.1.{BLOCK}.attn1.to_q.lora_A",
        f"input_blocks.1.1.{BLOCK}.attn1.to_out.1",
        f"input_blocks.1.1.{BLOCK}.ff.net.1",
        f"input_blocks.1.1.{BLOCK}.norm1",
        "input_blocks.1.1.proj_in",
        "input_blocks.1.1.attn1.to_q",
        f"time_embed.{BLOCK}.attn1.to_q",
        "transformer_blocks.0.attn.to_q",
        "joint_blocks.0.x_block.attn.qkv",
    ],
)
def test_not_pruned(name):
    role = UNET.role(name)
    assert role is None or not role.pruned


def test_a_model_without_mid_transformers():
    found = find_layers(build(all_shapes(SSD_1B, "diffusers", 2048)))
    assert found.family is models.SDXL
    assert found.group("mid") == ()
    assert len(found.group("down")) == 2 * (2 + 4) * 6
    assert len(found.group("up")) == 3 * (2 + 4) * 6


@pytest.mark.parametrize("wrapping", ["block.", "block.inner."])
def test_wrapped_blocks_count_like_bare_ones(wrapping):
    bare = all_shapes(SD1, "ldm", 768)
    wrapped = {name.replace("input_blocks.4.", f"input_blocks.4.{wrapping}"): shape for name, shape in bare.items()}
    assert wrapped != bare
    found, expected = find_layers(build(wrapped)), find_layers(build(bare))
    assert [len(found.group(group)) for group in GROUPS] == [len(expected.group(group)) for group in GROUPS]
    assert found.family is models.SD15


@pytest.mark.parametrize(
    ("stacks", "context", "family"),
    [
        (SD1, 1280, OTHER),
        (SDXL, 1280, OTHER),  # the SDXL refiner
        (SDXL, 768, OTHER),
        (SDXL, 1024, OTHER),
        (SSD_1B, 2048, models.SDXL),
    ],
)
def test_family_of_other_layouts(stacks, context, family):
    assert UNET.family(all_shapes(stacks, "ldm", context)) is family


def test_family_without_cross_attention_is_unknown():
    shapes = {name: shape for group in pruned_shapes(SD1, "ldm").values() for name, shape in group.items()}
    assert UNET.family(shapes) is OTHER


@pytest.mark.parametrize("linear", [nn.Linear, OwnLinear])
def test_any_class_of_linear(linear):
    unet = make_unet(linear=linear)
    found = find_layers(unet)
    assert [(layer.group, layer.module) for layer in found.layers] == list(prunable_modules(unet))
    assert found.family is models.SD15


def test_packed_weights_keep_their_features():
    """4-bit storage holds a matrix as one column of bytes; the class's attributes tell its shape."""
    unet = make_unet()
    layer = unet.middle_block[1].transformer_blocks[0].attn1.to_q
    layer.weight = nn.Parameter(torch.zeros(128, 1, dtype=torch.uint8), requires_grad=False)
    features = {found.name: found.features for found in find_layers(unet).layers}
    assert features["middle_block.1.transformer_blocks.0.attn1.to_q"] == (16, 16)


class MMDiT(nn.Module):
    """A DiT: transformer blocks, but no UNet around them."""


def test_a_dit_is_refused_in_one_sentence():
    shapes = {f"joint_blocks.{i}.x_block.attn.qkv": (96, 32) for i in range(3)}
    shapes |= {f"transformer_blocks.{i}.attn.to_q": (32, 32) for i in range(3)}
    with pytest.raises(UnsupportedModelError, match="MMDiT") as refusal:
        find_layers(build(shapes, MMDiT()))
    assert str(refusal.value).endswith(".")
    assert "\n" not in str(refusal.value)
