"""Flux.1, dev, schnell and Kontext: double blocks of two streams, then single blocks of one."""

from __future__ import annotations

from crdiff.models.family import transformer_family
from crdiff.models.role import Region
from crdiff.models.transformer import Stack, Transformer

GROUPS_OF_FLUX = ("double blocks", "first half of the single blocks", "second half")
FLUX = transformer_family("flux", "Flux", GROUPS_OF_FLUX, released=("down",))

DOUBLE = Stack(
    "double_blocks",
    # Sequential, or Neo's gated one.
    feed_forward=tuple(f"img_mlp.{part}" for part in ("0", "2", "gate_proj", "up_proj", "down_proj")),
    attention=("img_attn.qkv", "img_attn.proj"),
    ends=("img_attn.proj", "img_mlp.2", "img_mlp.down_proj"),
)
# Rows of queries, keys and values before the feed-forward's, and the attention's columns before its.
SINGLE = Stack(
    "single_blocks",
    fused={"linear1": Region(axis=0, start=3), "linear2": Region(axis=1, start=1)},
    released=(),
    ends=("linear2",),
)

LDM = Transformer(
    (FLUX,),
    (DOUBLE, SINGLE),
    before=("img_in", "time_in", "guidance_in", "vector_in", "txt_in", "pe_embedder"),
    marks=("vector_in", "txt_in"),
    foreign=("distilled_guidance_layer", "double_stream_modulation_img"),
)
DIFFUSERS = Transformer(
    (FLUX,),
    (
        Stack(
            "transformer_blocks",
            feed_forward=("ff.net.0.proj", "ff.net.2"),
            attention=tuple(f"attn.{part}" for part in ("to_q", "to_k", "to_v", "to_out.0")),
            ends=("attn.to_out.0", "ff.net.2"),
        ),
        Stack(
            "single_transformer_blocks",
            feed_forward=("proj_mlp",),
            attention=("attn.to_q", "attn.to_k", "attn.to_v"),
            fused={"proj_out": Region(axis=1, start=1)},
            released=(),
            ends=("proj_out",),
        ),
    ),
    before=("x_embedder", "time_text_embed", "context_embedder", "pos_embed"),
    marks=("time_text_embed", "context_embedder"),
)
