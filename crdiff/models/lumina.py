"""Lumina 2 and Z-Image: text and image in one sequence, after refiners of each, which are not pruned."""

from __future__ import annotations

from crdiff.models.family import transformer_family
from crdiff.models.transformer import Stack, Transformer

LUMINA2 = transformer_family("lumina2", "Lumina 2")
Z_IMAGE = transformer_family("z-image", "Z-Image")

LDM = Transformer(
    (LUMINA2, Z_IMAGE),
    (
        Stack(
            "layers",
            feed_forward=("feed_forward.w1", "feed_forward.w2", "feed_forward.w3"),
            attention=("attention.qkv", "attention.out"),
            ends=("attention.out", "feed_forward.w2"),
            one_stream=True,
        ),
    ),
    before=("x_embedder", "t_embedder", "cap_embedder"),
    marks=("x_embedder", "cap_embedder", "noise_refiner", "context_refiner"),
    widths={3840: Z_IMAGE},
)
