"""Chroma: Flux's blocks, with one network in place of the modulation of each."""

from __future__ import annotations

from crdiff.models.family import transformer_family
from crdiff.models.flux import DOUBLE, GROUPS_OF_FLUX, SINGLE
from crdiff.models.transformer import Transformer

CHROMA = transformer_family("chroma", "Chroma", GROUPS_OF_FLUX, released=("down",))

LDM = Transformer(
    (CHROMA,),
    (DOUBLE, SINGLE),
    before=("img_in", "distilled_guidance_layer", "txt_in", "pe_embedder"),
    marks=("distilled_guidance_layer",),
)
