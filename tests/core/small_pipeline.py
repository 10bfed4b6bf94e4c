"""A whole pipeline of diffusers with small random weights, from the prompt to the image."""

from __future__ import annotations

import json

import torch

import small_diffusers  # isort: skip  # noqa: F401
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def small_tokenizer(folder):
    """CLIP's, which knows single letters."""
    words = [*LETTERS, *(letter + "</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=16)


def small_pipeline(folder):
    """Of the family of SD1.x, by its cross-attention; with a VAE that scales by 8."""
    torch.manual_seed(3)
    tokenizer = small_tokenizer(folder)
    ends = {"bos_token_id": len(tokenizer) - 2, "eos_token_id": len(tokenizer) - 1, "pad_token_id": len(tokenizer) - 1}
    text = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=768, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=16, **ends,
    )  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=8, layers_per_block=1, block_out_channels=(16, 32), norm_num_groups=4, attention_head_dim=8,
        cross_attention_dim=768, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(4,) * 4, down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, latent_channels=4, norm_num_groups=2,
    )  # fmt: skip
    scheduler = DDIMScheduler(clip_sample=False, steps_offset=1)
    nothing = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    parts = {"unet": unet, "vae": vae, "text_encoder": CLIPTextModel(text)}
    models = {name: part.eval() for name, part in parts.items()}
    return StableDiffusionPipeline(**models, tokenizer=tokenizer, scheduler=scheduler, **nothing)
