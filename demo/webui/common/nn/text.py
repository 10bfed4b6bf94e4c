"""A small deterministic text encoder with CLIP's shape of things: 77-token chunks and Hugging Face layer names.

There is no vocabulary file: a word's number is a hash of the word, so equal words always meet equal embeddings.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHUNK = 75
START, END = 1, 2
RESERVED = 3


@dataclass(frozen=True)
class TextConfig:
    """``out_width`` is what the UNet expects of a prompt; the encoder itself works at ``width``."""

    width: int = 64
    out_width: int = 768
    vocabulary: int = 2048
    heads: int = 4
    layers: int = 1
    context: int = 0
    """Width of what the UNet gets, filled by repetition; 0 gives it ``out_width``."""
    chunk: int = CHUNK
    """Tokens in a row, beside its start and end marks."""


def tokenize(text: str, vocabulary: int) -> list[int]:
    """Words and punctuation marks; brackets and weights of the emphasis syntax are dropped, not applied."""
    text = re.sub(r":\s*[+-]?[.\d]+\s*\)", ")", text.lower())
    words = re.findall(r"[a-z0-9']+|[.,!?;]", text)
    return [RESERVED + zlib.crc32(word.encode("utf8")) % (vocabulary - RESERVED) for word in words]


def chunk_tokens(tokens: list[int], chunk: int = CHUNK) -> list[list[int]]:
    """Rows of 77: a start mark, 75 tokens, and end marks up to the end of the row."""
    rows = [tokens[i : i + chunk] for i in range(0, len(tokens), chunk)] or [[]]
    return [[START, *row, *([END] * (chunk + 1 - len(row)))] for row in rows]


class SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        parts = (proj(x).reshape(b, n, self.heads, c // self.heads).transpose(1, 2)
                 for proj in (self.q_proj, self.k_proj, self.v_proj))
        out = F.scaled_dot_product_attention(*parts, is_causal=True)
        return self.out_proj(out.transpose(1, 2).reshape(b, n, c))


class MLP(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, width * 2)
        self.fc2 = nn.Linear(width * 2, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class EncoderLayer(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.self_attn = SelfAttention(config.width, config.heads)
        self.layer_norm1 = nn.LayerNorm(config.width)
        self.mlp = MLP(config.width)
        self.layer_norm2 = nn.LayerNorm(config.width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class Embeddings(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocabulary, config.width)
        self.position_embedding = nn.Embedding(config.chunk + 2, config.width)

    def forward(self, ids: Tensor) -> Tensor:
        positions = torch.arange(ids.shape[1], device=ids.device)
        return self.token_embedding(ids) + self.position_embedding(positions)


class Encoder(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.layers))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class TextModel(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)
        self.final_layer_norm = nn.LayerNorm(config.width)
        self.widen = nn.Linear(config.width, config.out_width, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        return self.widen(self.final_layer_norm(self.encoder(self.embeddings(ids))))


class TextTransformer(nn.Module):
    """The level that owns ``text_model`` in the checkpoints' key names."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.text_model = TextModel(config)

    def forward(self, ids: Tensor) -> Tensor:
        return self.text_model(ids)


class TextEncoder(nn.Module):
    """Prompts in, ``[batch, 77 * chunks, out_width]`` out; the batch is as long as its longest prompt."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.transformer = TextTransformer(config)

    @property
    def chunk_length(self) -> int:
        return self.config.chunk

    def tokenize(self, texts: list[str]) -> list[list[int]]:
        return [tokenize(text, self.config.vocabulary) for text in texts]

    def get_target_prompt_token_count(self, token_count: int) -> int:
        return max(1, -(-token_count // self.chunk_length)) * self.chunk_length

    def process_texts(self, texts: list[str]) -> tuple[list[list[list[int]]], int]:
        tokens = self.tokenize(texts)
        return [chunk_tokens(row, self.chunk_length) for row in tokens], max(len(row) for row in tokens)

    def forward(self, texts: list[str], **_: Any) -> Tensor:
        chunks, _count = self.process_texts(list(texts))
        longest = max(len(rows) for rows in chunks)
        for rows in chunks:
            rows.extend(chunk_tokens([], self.chunk_length) * (longest - len(rows)))
        parameter = self.transformer.text_model.embeddings.position_embedding.weight
        ids = torch.tensor(chunks, device=parameter.device)
        encoded = [self.transformer(ids[:, i]) for i in range(longest)]
        context = torch.cat(encoded, dim=1)
        return fill(context, self.config.context) if self.config.context else context


def pooled(encoded: Tensor, width: int) -> Tensor:
    """A fixed-size summary of a prompt, for the vector conditioning of SDXL."""
    return fill(encoded.mean(dim=1), width)


def fill(x: Tensor, width: int) -> Tensor:
    """``x`` repeated along its last dimension up to ``width``."""
    repeats = -(-width // x.shape[-1])
    return x.repeat(*(1,) * (x.ndim - 1), repeats)[..., :width]
