"""SD3 and SD3.5: blocks of two streams; those of SD3.5 Medium have a second attention of the image alone."""

from __future__ import annotations

from crdiff.models.family import transformer_family
from crdiff.models.transformer import Stack, Transformer

SD3 = transformer_family("sd3", "SD3")

_FUSED = ("qkv", "proj")
_APART = ("to_q", "to_k", "to_v", "to_out.0")

LDM = Transformer(
    (SD3,),
    (
        Stack(
            "joint_blocks",
            feed_forward=("x_block.mlp.fc1", "x_block.mlp.fc2"),
            attention=tuple(f"x_block.{attention}.{part}" for attention in ("attn", "attn2") for part in _FUSED),
            released=("x_block.mlp.fc1", "x_block.mlp.fc2", *(f"x_block.attn2.{part}" for part in _FUSED)),
            ends=("x_block.attn.proj", "x_block.attn2.proj", "x_block.mlp.fc2"),
        ),
    ),
    before=("x_embedder", "t_embedder", "y_embedder", "context_embedder"),
    marks=("x_embedder", "context_embedder"),
)
# The authors' list of names has the UNet's attn2, which the second attention is called too.
DIFFUSERS = Transformer(
    (SD3,),
    (
        Stack(
            "transformer_blocks",
            feed_forward=("ff.net.0.proj", "ff.net.2"),
            attention=tuple(f"{attention}.{part}" for attention in ("attn", "attn2") for part in _APART),
            released=("ff.net.0.proj", "ff.net.2", *(f"attn2.{part}" for part in _APART)),
            ends=("attn.to_out.0", "attn2.to_out.0", "ff.net.2"),
        ),
    ),
    before=("pos_embed", "time_text_embed", "context_embedder"),
    marks=("pos_embed", "time_text_embed", "context_embedder"),
    foreign=("single_transformer_blocks",),
)
