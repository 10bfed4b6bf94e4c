"""Qwen-Image: blocks of two streams, with the same names in the hosts and in diffusers."""

from __future__ import annotations

from crdiff.models.family import transformer_family
from crdiff.models.transformer import Stack, Transformer

QWEN_IMAGE = transformer_family("qwen-image", "Qwen-Image")

QWEN = Transformer(
    (QWEN_IMAGE,),
    (
        Stack(
            "transformer_blocks",
            feed_forward=("img_mlp.net.0.proj", "img_mlp.net.2"),
            attention=tuple(f"attn.{part}" for part in ("to_q", "to_k", "to_v", "to_out.0")),
            ends=("attn.to_out.0", "img_mlp.net.2"),
        ),
    ),
    before=("img_in", "txt_norm", "txt_in", "time_text_embed", "pos_embed", "pe_embedder"),
    marks=("txt_norm", "img_in", "transformer_blocks.0.img_mlp"),
)
