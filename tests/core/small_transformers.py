"""The transformers of diffusers as small as they go, and which of their weights are pruned, written out by hand."""

from __future__ import annotations

import copy

import huggingface_hub
import torch
from torch import nn

# diffusers asks for a later huggingface-hub than gradio lets in, for a file format that nothing here reads.
if not hasattr(huggingface_hub, "DDUFEntry"):
    huggingface_hub.DDUFEntry = object

from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from diffusers.models.transformers.transformer_qwenimage import QwenImageTransformer2DModel
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel

WIDTH, TEXT, TOKENS = 16, 12, 5
COMMON = {"attention_head_dim": 8, "num_attention_heads": 2, "joint_attention_dim": TEXT}
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")


def seeded(model: nn.Module) -> nn.Module:
    """The model with weights that every layer's output depends on."""
    torch.manual_seed(1)
    for parameter in model.parameters():
        parameter.data = torch.randn_like(parameter) * 0.2
    return model.eval().requires_grad_(False)


def sd3() -> tuple[nn.Module, dict]:
    model = SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, out_channels=4, num_layers=4, caption_projection_dim=WIDTH,
        pooled_projection_dim=TEXT, pos_embed_max_size=8, dual_attention_layers=(0,), qk_norm="rms_norm", **COMMON,
    )  # fmt: skip
    inputs = {
        "hidden_states": torch.randn(2, 4, 8, 8),
        "encoder_hidden_states": torch.randn(2, TOKENS, TEXT),
        "pooled_projections": torch.randn(2, TEXT),
        "timestep": torch.tensor([500.0, 500.0]),
    }
    return seeded(model), inputs


def flux() -> tuple[nn.Module, dict]:
    model = FluxTransformer2DModel(
        patch_size=1, in_channels=4, num_layers=2, num_single_layers=4, pooled_projection_dim=TEXT,
        axes_dims_rope=(2, 2, 4), guidance_embeds=True, **COMMON,
    )  # fmt: skip
    inputs = {
        "hidden_states": torch.randn(2, 9, 4),
        "encoder_hidden_states": torch.randn(2, TOKENS, TEXT),
        "pooled_projections": torch.randn(2, TEXT),
        "timestep": torch.tensor([0.5, 0.5]),
        "guidance": torch.tensor([3.5, 3.5]),
        "img_ids": torch.rand(9, 3),
        "txt_ids": torch.zeros(TOKENS, 3),
    }
    return seeded(model), inputs


def qwen_image() -> tuple[nn.Module, dict]:
    model = QwenImageTransformer2DModel(
        patch_size=2, in_channels=16, out_channels=4, num_layers=3, axes_dims_rope=(2, 2, 4), **COMMON
    )
    inputs = {
        "hidden_states": torch.randn(2, 9, 16),
        "encoder_hidden_states": torch.randn(2, TOKENS, TEXT),
        "encoder_hidden_states_mask": torch.ones(2, TOKENS),
        "timestep": torch.tensor([0.5, 0.5]),
        "img_shapes": [[(1, 3, 3)]] * 2,
        "txt_seq_lens": [TOKENS] * 2,
    }
    return seeded(model), inputs


MODELS = {"sd3": sd3, "flux": flux, "qwen-image": qwen_image}
WHOLE = slice(None)
# Of proj_out, (WIDTH, WIDTH + 4 * WIDTH), what multiplies the feed-forward.
AFTER_ATTENTION = (WHOLE, slice(WIDTH, None))


def pruned_parts(kind: str, layers: str) -> dict[str, list[tuple[str, tuple[slice, slice]]]]:
    """By group, the pruned Linears and the part of each weight."""
    groups: dict[str, list[tuple[str, tuple[slice, slice]]]] = {"down": [], "mid": [], "up": []}

    def add(group: str, block: str, *parts: str, region: tuple[slice, slice] = (WHOLE, WHOLE)) -> None:
        groups[group] += [(f"{block}.{part}", region) for part in parts]

    attention = [f"attn.{part}" for part in ATTENTION] if layers == "attention" else []
    if kind == "flux":
        for index in range(2):
            add("down", f"transformer_blocks.{index}", *attention, "ff.net.0.proj", "ff.net.2")
        for index, group in enumerate(["mid", "mid", "up", "up"] if layers != "released" else []):
            block = f"single_transformer_blocks.{index}"
            add(group, block, *attention[:3], "proj_mlp")
            add(group, block, "proj_out", region=(WHOLE, WHOLE) if attention else AFTER_ATTENTION)
        return groups
    feed_forward = "ff.net" if kind == "sd3" else "img_mlp.net"
    for index, group in enumerate(["down", "down", "mid", "up"] if kind == "sd3" else ["down", "mid", "up"]):
        block = f"transformer_blocks.{index}"
        add(group, block, *attention, f"{feed_forward}.0.proj", f"{feed_forward}.2")
        if kind == "sd3" and index == 0:
            add(group, block, *[f"attn2.{part}" for part in ATTENTION])
    return groups


def pruned_copy(model: nn.Module, kind: str, layers: str, ratios, *, by_layer: bool) -> nn.Module:
    """A copy whose weights are pruned offline: up to the int(n * ratio)-th smallest of each layer or group."""
    pruned = copy.deepcopy(model)
    for ratio, parts in zip(ratios, pruned_parts(kind, layers).values()):
        weights = [pruned.get_submodule(name).weight[region] for name, region in parts]
        for together in [[weight] for weight in weights] if by_layer else [weights]:
            magnitudes = torch.cat([weight.abs().flatten() for weight in together]) if together else torch.empty(0)
            if rank := int(len(magnitudes) * ratio):
                threshold = magnitudes.kthvalue(rank).values
                for weight in together:
                    weight.mul_(weight.abs() > threshold)
    return pruned
