"""CLIP score and PickScore: how near image and prompt lie in a CLIP model's common space."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL.Image import Image
from torch import Tensor

from crdiff.scoring.errors import ScoringError
from crdiff.scoring.inference import in_batches, loading, plain_inference, release
from crdiff.scoring.model_files import ModelFiles
from crdiff.scoring.packages import transformers_problem
from crdiff.scoring.preprocessing import as_pixels
from crdiff.scoring.sources import CLIP, PICK_SCORE, Source
from crdiff.scoring.tokens import ClipTokens

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_TOKENIZERS = (("vocab.json", "merges.txt"), ("tokenizer.json",))


class ClipScorer:
    """100 times the cosine between image and prompt, at most 100 (Hessel et al., arXiv 2104.08718, without its cut).

    PickScore (Kirstain et al., arXiv 2305.01569) is the cosine times the factor that its CLIP-H learnt.

    Args:
        files: where to look for the model's folder.
        learnt_scale: take the model's own factor instead of 100.
        name: the scorer's name.
        source: the model.
    """

    needs_dense = False

    def __init__(
        self, files: ModelFiles, *, learnt_scale: bool = False, name: str = "clip", source: Source = CLIP
    ) -> None:
        self.name = name
        self.highest: float | None = None if learnt_scale else 100.0
        self._files = files
        self._source = source
        self._learnt = learnt_scale
        self._model: Any = None
        self._tokens: ClipTokens | None = None
        self._device = torch.device("cpu")

    def available(self) -> str | None:
        problem = transformers_problem()
        if problem is not None:
            return problem
        model, tokenizer = self._folders()
        missing = [] if model is not None else [*_WEIGHTS, "config.json"]
        missing += [] if tokenizer is not None else ["vocab.json", "merges.txt"]
        return self._source.missing(missing, self._files) if missing else None

    def load(self, device: torch.device | str = "cpu") -> None:
        with loading(self, self._source.title):
            if self._model is None:
                problem = self.available()
                if problem is not None:
                    raise ScoringError(problem)
                model, tokenizer = self._folders()
                assert model is not None and tokenizer is not None
                loaded = read_clip(model)
                text = loaded.config.text_config
                self._tokens = ClipTokens(tokenizer, text.vocab_size, text.max_position_embeddings)
                self._model = loaded
            self._device = torch.device(device)
            self._model.to(self._device)

    def prepare(self, prompt: str, dense: Image | None = None) -> Tensor:
        """The prompt's direction ``[1, d]`` float32, of length 1, times the factor of the score."""
        model, tokens = self._loaded()
        with plain_inference(self._device):
            ids = torch.tensor([tokens.ids(prompt)], device=self._device)
            # Not get_text_features, which answers another type in transformers 5.
            text = F.normalize(model.text_projection(model.text_model(input_ids=ids)[1]), dim=-1)
            return text * (model.logit_scale.exp() if self._learnt else 100.0)

    def score(self, prepared: Tensor, images: Sequence[Image]) -> list[float]:
        model, _ = self._loaded()
        side = model.config.vision_config.image_size
        prompt = prepared.to(self._device)

        def closeness(some: Sequence[Image]) -> Tensor:
            pixels = as_pixels(some, side).to(self._device)
            seen = F.normalize(model.visual_projection(model.vision_model(pixel_values=pixels)[1]), dim=-1)
            return (seen @ prompt.T)[:, 0]

        with plain_inference(self._device):
            return in_batches(closeness, images, self.name)

    def close(self) -> None:
        self._model = self._tokens = None
        release(self._device)

    def _loaded(self) -> tuple[Any, ClipTokens]:
        if self._model is None or self._tokens is None:
            raise ScoringError(f"{self._source.title} must be loaded before it scores.")
        return self._model, self._tokens

    def _folders(self) -> tuple[Path | None, Path | None]:
        """The folder of the model and that of a tokenizer, which may be another CLIP model's: all have the same."""
        model: Path | None = None
        tokenizer: Path | None = None
        for folder in self._files.folders(self._source.folder, self._source.repositories):
            weights = any((folder / name).is_file() for name in _WEIGHTS)
            if model is None and weights and (folder / "config.json").is_file():
                model = folder
            if tokenizer is None and _has_tokenizer(folder):
                tokenizer = folder
        for folder in self._files.folders(CLIP.folder, CLIP.repositories):
            if tokenizer is None and _has_tokenizer(folder):
                tokenizer = folder
        return model, tokenizer


def pick_score(files: ModelFiles) -> ClipScorer:
    """PickScore v1."""
    return ClipScorer(files, learnt_scale=True, name="pickscore", source=PICK_SCORE)


def read_clip(folder: Path) -> Any:
    """The CLIPModel of a folder, float32, on the CPU.

    Raises:
        ScoringError: it lacks weights; transformers would fill them with random numbers and say little.
    """
    from transformers import CLIPModel

    model, info = CLIPModel.from_pretrained(str(folder), local_files_only=True, output_loading_info=True)
    missing = sorted(key for key in info["missing_keys"] if not key.endswith("position_ids"))
    missing += [str(key[0]) for key in info["mismatched_keys"]]
    if missing:
        raise ScoringError(f"The weights in {folder} are not those of its config.json: {missing[0]} is missing.")
    return model.float().eval().requires_grad_(False)


def _has_tokenizer(folder: Path) -> bool:
    return any(all((folder / name).is_file() for name in names) for names in _TOKENIZERS)
