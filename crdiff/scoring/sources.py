"""What can be downloaded: the published files of each model, their sizes, and sentences about them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crdiff.scoring.model_files import ModelFiles

HUB = "https://huggingface.co"


@dataclass(frozen=True)
class RemoteFile:
    """One published file.

    Attributes:
        name: its name, here as there.
        repository: its repository on the Hugging Face hub.
        revision: a commit of that repository, or a branch.
        size: bytes, about.
        sha256: of its content; None if only the hub knows it, which states it with every download.
    """

    name: str
    repository: str
    revision: str = "main"
    size: int = 0
    sha256: str | None = None

    @property
    def url(self) -> str:
        """Where it is fetched from; ``HF_ENDPOINT`` names another server, as for huggingface_hub."""
        hub = (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
        return f"{hub}/{self.repository}/resolve/{self.revision}/{self.name}"


@dataclass(frozen=True)
class Source:
    """The files of one model.

    Attributes:
        title: the model's name for people.
        folder: its folder among the WebUI's models.
        files: what it needs.
        aliases: further names of its repository on the hub.
    """

    title: str
    folder: str
    files: tuple[RemoteFile, ...]
    aliases: tuple[str, ...] = ()

    @property
    def repositories(self) -> tuple[str, ...]:
        """All names under which the hub's cache may hold it."""
        return (*dict.fromkeys(file.repository for file in self.files), *self.aliases)

    @property
    def size(self) -> int:
        """Bytes of all files, about."""
        return sum(file.size for file in self.files)

    def offer(self, target: Path) -> str:
        """What a download would do: source, size and folder."""
        pages = _listed([f"{HUB}/{name}" for name in dict.fromkeys(file.repository for file in self.files)])
        return f"Downloads {self.title} ({gigabytes(self.size)}) from {pages} to {target}."

    def missing(self, names: Sequence[str], files: ModelFiles) -> str:
        """One sentence: which files to put where."""
        wanted = [file for file in self.files if file.name in names]
        from_where = [f"{file.name} from {HUB}/{file.repository}" for file in wanted]
        return (
            f"{self.title} needs {_listed(from_where)}: download {'it' if len(wanted) == 1 else 'them'}, "
            f"or put {'it' if len(wanted) == 1 else 'them'} into {files.target(self.folder)}."
        )


def gigabytes(size: int) -> str:
    """A size for people, in GB or MB of 10^n bytes."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def _listed(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


VOCAB = RemoteFile(
    "vocab.txt",
    "google-bert/bert-base-uncased",
    "86b5e0934494bd15c9632b12f734a8a67f723594",
    231_508,
    "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
)

IMAGE_REWARD = Source(
    "ImageReward v1.0",
    "ImageReward",
    (
        RemoteFile("ImageReward.pt", "THUDM/ImageReward", "e102d1c82b37371960ba52df736a2450043b0ccd", 1_790_000_000),
        VOCAB,
    ),
    aliases=("zai-org/ImageReward", "bert-base-uncased"),
)
"""Xu et al., arXiv 2304.05977; Apache-2.0."""

_CLIP = "openai/clip-vit-large-patch14"
_PICK = "yuvalkirstain/PickScore_v1"


def _clip_files(repository: str, size: int, weights: str = "model.safetensors") -> tuple[RemoteFile, ...]:
    """Weights and config of a CLIP model, and the tokenizer, which is the same for all of them."""
    return (
        RemoteFile(weights, repository, size=size),
        RemoteFile("config.json", repository, size=5_000),
        RemoteFile("vocab.json", _CLIP, size=961_000),
        RemoteFile("merges.txt", _CLIP, size=525_000),
    )


CLIP = Source("CLIP ViT-L/14", "clip-vit-large-patch14", _clip_files(_CLIP, 1_710_000_000))
"""Radford et al., arXiv 2103.00020; MIT."""

CLIP_B16 = Source(
    "CLIP ViT-B/16",
    "clip-vit-base-patch16",
    _clip_files("openai/clip-vit-base-patch16", 599_000_000, "pytorch_model.bin"),
)
"""Of the same; the paper's CLIP scores are of this size."""

PICK_SCORE = Source("PickScore v1", "PickScore_v1", _clip_files(_PICK, 3_940_000_000))
"""Kirstain et al., arXiv 2305.01569."""

_SIGLIP = "google/siglip-so400m-patch14-384"

SIGLIP = Source(
    "SigLIP so400m",
    "siglip-so400m-patch14-384",
    (
        RemoteFile("model.safetensors", _SIGLIP, size=3_510_000_000),
        RemoteFile("config.json", _SIGLIP, size=600),
        RemoteFile("preprocessor_config.json", _SIGLIP, size=400),
    ),
)
"""Zhai et al., arXiv 2303.15343; Apache-2.0."""
