"""ImageReward's network: the published weights in the BLIP classes of the transformers package.

The vision tower and the text encoder of Salesforce's BLIP (arXiv 2201.12086); the text encoder looks at the image in
every layer. ImageReward (arXiv 2304.05977) puts five linear layers on the first token, without anything between them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from crdiff.scoring.errors import ScoringError
from crdiff.scoring.weights import meta_left

MEAN = 0.16717362830052426
STD = 1.0333394966054072
"""Mean and deviation of the raw reward over ImageReward's training images, from the image-reward package."""

_HEAD_WIDTH = 64
_VISION, _TEXT, _HEAD = "blip.visual_encoder.", "blip.text_encoder.", "mlp.layers."
_UNUSED = re.compile(r"blip\.(vision_proj|text_proj)\.(weight|bias)|blip\.text_encoder\.embeddings\.position_ids")
"""In the file, but no part of the score: BLIP's contrastive projections, and a count from 0 on."""

_RENAMED = (
    (re.compile(r"^cls_token$"), "embeddings.class_embedding"),
    (re.compile(r"^pos_embed$"), "embeddings.position_embedding"),
    (re.compile(r"^patch_embed\.proj\."), "embeddings.patch_embedding."),
    (re.compile(r"^blocks\.(\d+)\.norm([12])\."), r"encoder.layers.\1.layer_norm\2."),
    (re.compile(r"^blocks\.(\d+)\.attn\.qkv\."), r"encoder.layers.\1.self_attn.qkv."),
    (re.compile(r"^blocks\.(\d+)\.attn\.proj\."), r"encoder.layers.\1.self_attn.projection."),
    (re.compile(r"^blocks\.(\d+)\.mlp\."), r"encoder.layers.\1.mlp."),
    (re.compile(r"^norm\."), "post_layernorm."),
)


class RewardNetwork(nn.Module):
    """Vision tower, text encoder and head; the head is always float32."""

    def __init__(self, vision: nn.Module, text: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.vision, self.text, self.head = vision, text, head

    def forward(self, pixels: Tensor, ids: Tensor) -> Tensor:
        """Rewards ``[n]`` float32 of images ``[n, 3, 224, 224]`` for the tokens ``[length]`` int64 of one prompt."""
        seen = self.vision(pixel_values=pixels)[0]
        tokens = ids.expand(len(pixels), -1)
        states = self.text(
            input_ids=tokens,
            attention_mask=torch.ones_like(tokens),
            encoder_hidden_states=seen,
            encoder_attention_mask=torch.ones(seen.shape[:2], dtype=torch.long, device=seen.device),
            is_decoder=False,  # no causal mask: made as a decoder only to have its cross-attention
        )[0]
        reward: Tensor = self.head(states[:, 0].float())
        return ((reward - MEAN) / STD)[:, 0]


def build(weights: Mapping[str, Tensor], dtype: torch.dtype, name: str) -> RewardNetwork:
    """The network of a file's weights, on the CPU; float32 weights are used where they lie, not copied.

    Args:
        weights: the content of ``ImageReward.pt``, about 447 M values; sizes and depths are taken from it.
        dtype: of the two towers.
        name: the file's name, for sentences.

    Raises:
        ScoringError: a weight is missing, unknown or of another shape.
    """
    parts = split(weights, name)
    vision = _filled(_vision_tower, parts[_VISION], dtype, _VISION, name)
    text = _filled(_text_encoder, parts[_TEXT], dtype, _TEXT, name)
    head = _filled(_head, parts[_HEAD], torch.float32, _HEAD, name)
    return RewardNetwork(vision, text, head).eval().requires_grad_(False)


def split(weights: Mapping[str, Tensor], name: str) -> dict[str, dict[str, Tensor]]:
    """The weights of each part by transformers' names; every key of the file is accounted for.

    Raises:
        ScoringError: there is a key that ImageReward v1.0 does not have.
    """
    parts: dict[str, dict[str, Tensor]] = {_VISION: {}, _TEXT: {}, _HEAD: {}}
    unknown = []
    for key, value in weights.items():
        prefix = next((prefix for prefix in parts if key.startswith(prefix)), None)
        if _UNUSED.fullmatch(key):
            continue
        if prefix is None:
            unknown.append(key)
            continue
        parts[prefix][_renamed(key[len(prefix) :]) if prefix == _VISION else key[len(prefix) :]] = value
    _refuse(name, missing=[prefix for prefix, part in parts.items() if not part], unknown=unknown)
    return parts


def _renamed(key: str) -> str:
    for pattern, new in _RENAMED:
        if pattern.match(key):
            return pattern.sub(new, key)
    return key


def _filled(
    make: Callable[[Mapping[str, Tensor]], nn.Module],
    values: Mapping[str, Tensor],
    dtype: torch.dtype,
    prefix: str,
    name: str,
) -> nn.Module:
    """A part of the network with its weights; strict, and without ever holding random ones."""
    try:
        with torch.device("meta"):
            module = make(values)
    except (KeyError, ValueError, IndexError) as error:
        raise ScoringError(f"{name} is not ImageReward v1.0 ({prefix}: {error} is missing or of no use).") from None
    expected = {key: value.shape for key, value in module.state_dict().items()}
    count = expected.pop("embeddings.position_ids", None)  # saved by transformers before 4.31
    _refuse(
        name,
        missing=[prefix + key for key in expected if key not in values],
        unknown=[prefix + key for key in values if key not in expected],
        other=[prefix + key for key, shape in expected.items() if key in values and values[key].shape != shape],
    )
    module.load_state_dict({key: value.to(dtype) for key, value in values.items()}, strict=count is None, assign=True)
    embeddings: Any = getattr(module, "embeddings", None)
    if "embeddings.position_ids" in meta_left(module):
        embeddings.position_ids = torch.arange(embeddings.position_ids.shape[-1]).expand(1, -1)
    left = meta_left(module)
    if left:
        raise ScoringError(f"This version of transformers keeps {left[0]} in BLIP, which {name} does not hold.")
    return module


def _vision_tower(values: Mapping[str, Tensor]) -> nn.Module:
    from transformers import BlipVisionConfig, BlipVisionModel

    patch = values["embeddings.patch_embedding.weight"]
    width, _, side, _ = patch.shape
    cells = values["embeddings.position_embedding"].shape[1] - 1
    config = BlipVisionConfig(
        hidden_size=width,
        intermediate_size=values["encoder.layers.0.mlp.fc1.weight"].shape[0],
        num_hidden_layers=_depth(values, "encoder.layers."),
        num_attention_heads=width // _HEAD_WIDTH,
        image_size=round(cells**0.5) * side,
        patch_size=side,
        hidden_act="gelu",
        layer_norm_eps=1e-6,
        attention_dropout=0.0,
    )
    module: nn.Module = BlipVisionModel(config)
    return module


def _text_encoder(values: Mapping[str, Tensor]) -> nn.Module:
    from transformers import BlipTextConfig
    from transformers.models.blip.modeling_blip_text import BlipTextModel

    words, width = values["embeddings.word_embeddings.weight"].shape
    config = BlipTextConfig(
        vocab_size=words,
        hidden_size=width,
        encoder_hidden_size=values["encoder.layer.0.crossattention.self.key.weight"].shape[1],
        intermediate_size=values["encoder.layer.0.intermediate.dense.weight"].shape[0],
        num_hidden_layers=_depth(values, "encoder.layer."),
        num_attention_heads=width // _HEAD_WIDTH,
        max_position_embeddings=values["embeddings.position_embeddings.weight"].shape[0],
        hidden_act="gelu",
        layer_norm_eps=1e-12,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        is_decoder=True,
        use_cache=False,
    )
    module: nn.Module = BlipTextModel(config, add_pooling_layer=False)
    return module


def _head(values: Mapping[str, Tensor]) -> nn.Module:
    """Five linear layers; in the file they are numbered with the dropouts between them: 0, 2, 4, 6, 7."""
    layers: list[nn.Module] = [nn.Identity() for _ in range(8)]
    for place in (0, 2, 4, 6, 7):
        out, inputs = values[f"{place}.weight"].shape
        layers[place] = nn.Linear(inputs, out)
    return nn.Sequential(*layers)


def _depth(values: Mapping[str, Tensor], prefix: str) -> int:
    return 1 + max(int(key[len(prefix) :].split(".")[0]) for key in values if key.startswith(prefix))


def _refuse(
    name: str, missing: list[str] | None = None, unknown: list[str] | None = None, other: list[str] | None = None
) -> None:
    """Raise one sentence about the first of the keys that do not fit, if any."""
    for keys, verb in ((missing, "missing"), (unknown, "unknown"), (other, "of another shape")):
        if keys:
            more = f" and {len(keys) - 1} more are" if len(keys) > 1 else " is"
            raise ScoringError(f"{name} is not ImageReward v1.0: {keys[0]}{more} {verb}.")
