"""Whole pipelines of diffusers with small random weights, from the prompt to the image."""

from __future__ import annotations

import json

import torch

import small_diffusers  # isort: skip  # noqa: F401
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
)

LETTERS = "abcdefghijklmnopqrstuvwxyz"
# Attention in the innermost blocks alone: at the sizes of the paper the outer ones have too many tokens for tests.
TOWER = {"intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
UNET = {"sample_size": 8, "layers_per_block": 1, "norm_num_groups": 4, "attention_head_dim": 8}


def small_tokenizer(folder):
    """CLIP's, which knows single letters."""
    words = [*LETTERS, *(letter + "</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=16)


def small_pipeline(folder, width=768):
    """Of the family of SD1.x, or with a text of width 1024 of SD2.x; with a VAE that scales by 8."""
    torch.manual_seed(3)
    tokenizer = small_tokenizer(folder)
    unet = UNet2DConditionModel(
        cross_attention_dim=width, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), block_out_channels=(16, 32), **UNET,
    )  # fmt: skip
    parts = {"unet": unet, "vae": small_vae(), "text_encoder": CLIPTextModel(text_config(tokenizer, width))}
    models = {name: part.eval() for name, part in parts.items()}
    nothing = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    scheduler = DDIMScheduler(clip_sample=False, steps_offset=1)
    return StableDiffusionPipeline(**models, tokenizer=tokenizer, scheduler=scheduler, **nothing)


def small_xl_pipeline(folder):
    """Of the family of SDXL, with its two text encoders and its size conditioning."""
    torch.manual_seed(3)
    tokenizer = small_tokenizer(folder)
    pooled, sizes = 32, 8
    unet = UNet2DConditionModel(
        cross_attention_dim=2048, down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"), transformer_layers_per_block=(1, 1, 2),
        block_out_channels=(16, 16, 32),
        addition_embed_type="text_time", addition_time_embed_dim=sizes,
        projection_class_embeddings_input_dim=6 * sizes + pooled, **UNET,
    )  # fmt: skip
    second = CLIPTextModelWithProjection(text_config(tokenizer, 1280, projection_dim=pooled))
    first = CLIPTextModel(text_config(tokenizer, 768))
    parts = {"unet": unet, "vae": small_vae(), "text_encoder": first, "text_encoder_2": second}
    models = {name: part.eval() for name, part in parts.items()}
    tokenizers = {"tokenizer": tokenizer, "tokenizer_2": tokenizer}
    return StableDiffusionXLPipeline(**models, **tokenizers, scheduler=EulerDiscreteScheduler())


def text_config(tokenizer, width, **more):
    """Of an encoder with one layer."""
    ends = {"bos_token_id": len(tokenizer) - 2, "eos_token_id": len(tokenizer) - 1, "pad_token_id": len(tokenizer) - 1}
    return CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=width, max_position_embeddings=16, **TOWER, **ends, **more
    )  # fmt: skip


def small_vae():
    """Scales by 8."""
    return AutoencoderKL(
        block_out_channels=(4,) * 4, down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, latent_channels=4, norm_num_groups=2,
        mid_block_add_attention=False,
    )  # fmt: skip


def small_clip(folder):
    """A CLIP model for scores, as published ones lie in a folder."""
    folder.mkdir(parents=True)
    tokenizer = small_tokenizer(folder)
    seen = CLIPVisionConfig(hidden_size=32, image_size=32, patch_size=16, **TOWER)
    torch.manual_seed(3)
    model = CLIPModel(CLIPConfig.from_text_vision_configs(text_config(tokenizer, 32), seen, projection_dim=24))
    model.save_pretrained(str(folder), safe_serialization=False)
