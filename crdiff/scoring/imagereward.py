"""ImageReward v1.0: what people would prefer for a prompt (Xu et al., arXiv 2304.05977)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL.Image import Image
from torch import Tensor

from crdiff.scoring.blip import RewardNetwork, build
from crdiff.scoring.errors import ScoringError
from crdiff.scoring.inference import in_batches, loading, plain_inference, release
from crdiff.scoring.model_files import ModelFiles
from crdiff.scoring.packages import transformers_problem
from crdiff.scoring.preprocessing import as_pixels
from crdiff.scoring.sources import IMAGE_REWARD
from crdiff.scoring.tokens import BertTokens, check_vocab
from crdiff.scoring.weights import read_tensors

_WEIGHTS = ("ImageReward.pt", "ImageReward.safetensors")


class ImageRewardScorer:
    """Scores have mean 0 and deviation 1 over ImageReward's training images; they are not bounded.

    Args:
        files: where to look for ``ImageReward.pt`` and the vocabulary.
        dtype: of the two towers, float32 or float16 (which differs by about 0.003); the head is float32.
    """

    name = "imagereward"
    highest: float | None = None
    needs_dense = False

    def __init__(self, files: ModelFiles, dtype: torch.dtype = torch.float32) -> None:
        self._files = files
        self._dtype = dtype
        self._network: RewardNetwork | None = None
        self._tokens: BertTokens | None = None
        self._device = torch.device("cpu")

    def available(self) -> str | None:
        problem = transformers_problem()
        if problem is not None:
            return problem
        weights, vocab = self._paths()
        missing = [name for name, path in (("ImageReward.pt", weights), ("vocab.txt", vocab)) if path is None]
        if missing:
            return IMAGE_REWARD.missing(missing, self._files)
        assert vocab is not None
        try:
            check_vocab(vocab)
        except ScoringError as error:
            return str(error)
        return None

    def load(self, device: torch.device | str = "cpu") -> None:
        with loading(self, IMAGE_REWARD.title):
            if self._network is None:
                problem = self.available()
                if problem is not None:
                    raise ScoringError(problem)
                weights, vocab = self._paths()
                assert weights is not None and vocab is not None
                self._tokens = BertTokens(vocab)
                self._network = build(read_tensors(weights), self._dtype, weights.name)
            self._device = torch.device(device)
            self._network.to(self._device)

    def prepare(self, prompt: str, dense: Image | None = None) -> Tensor:
        """Token numbers ``[length]`` int64 of the prompt, at most 35."""
        if self._tokens is None:
            raise ScoringError("ImageReward must be loaded before it scores.")
        return torch.tensor(self._tokens.ids(prompt), dtype=torch.long)

    def score(self, prepared: Tensor, images: Sequence[Image]) -> list[float]:
        network = self._network
        if network is None:
            raise ScoringError("ImageReward must be loaded before it scores.")
        ids = prepared.to(self._device)

        def rewards(some: Sequence[Image]) -> Tensor:
            found: Tensor = network(as_pixels(some).to(self._device, self._dtype), ids)
            return found

        with plain_inference(self._device):
            return in_batches(rewards, images, self.name)

    def close(self) -> None:
        self._network = self._tokens = None
        release(self._device)

    def _paths(self) -> tuple[Path | None, Path | None]:
        """The weights and the vocabulary, each None if it is nowhere."""
        folders = list(self._files.folders(IMAGE_REWARD.folder, IMAGE_REWARD.repositories))
        weights = [folder / name for folder in folders for name in _WEIGHTS]
        vocabs = [folder / inner / "vocab.txt" for folder in folders for inner in ("", "bert-base-uncased")]
        return _first(weights), _first(vocabs)


def _first(paths: list[Path]) -> Path | None:
    return next((path for path in paths if path.is_file()), None)
