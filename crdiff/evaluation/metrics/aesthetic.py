"""Aesthetic predictor v2.5, by its own package (aesthetic-predictor-v2-5, AGPL-3.0), from files on this machine."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crdiff.scoring.errors import ScoringError
from crdiff.scoring.inference import finite, loading
from crdiff.scoring.model_files import ModelFiles
from crdiff.scoring.sources import SIGLIP

if TYPE_CHECKING:
    from PIL.Image import Image

_HEAD = "aesthetic_predictor_v2_5.pth"
_FOLDER = "aesthetic-predictor-v2-5"
_URL = f"https://github.com/discus0434/{_FOLDER}/raw/main/models/{_HEAD}"


class Aesthetic:
    """1 to 10, whatever the prompt; the paper's authors list this predictor.

    Args:
        files: where to look for SigLIP's folder and the predictor's head.
    """

    name = "aesthetic"

    def __init__(self, files: ModelFiles) -> None:
        self._files = files
        self._model: Any = None
        self._processor: Any = None

    def available(self) -> str | None:
        if find_spec("aesthetic_predictor_v2_5") is None:
            return "The aesthetic score needs the package aesthetic-predictor-v2-5 (AGPL-3.0): install it with pip."
        if self._head() is None:
            # Nobody states a digest of it, so that it is not fetched.
            return f"The aesthetic score needs {_URL}: put it into {self._files.target(_FOLDER)}."
        if self._encoder() is None:
            return SIGLIP.missing([file.name for file in SIGLIP.files], self._files)
        return None

    def load(self, device: str) -> None:
        with loading(self, "The aesthetic predictor"):
            if (problem := self.available()) is not None:
                raise ScoringError(problem)
            from aesthetic_predictor_v2_5 import convert_v2_5_from_siglip

            model, self._processor = convert_v2_5_from_siglip(
                predictor_name_or_path=str(self._head()),
                encoder_model_name=str(self._encoder()),
                local_files_only=True,
            )
            self._model = model.float().eval().to(device)

    def score(self, prompt: str, image: Image) -> float:
        import torch

        pixels = self._processor(images=image.convert("RGB"), return_tensors="pt").pixel_values
        with torch.inference_mode():
            found = self._model(pixels.to(self._model.device)).logits.reshape(-1).double().cpu().tolist()
        return finite(found, self.name)[0]

    def close(self) -> None:
        """Free the model."""
        self._model = self._processor = None

    def _head(self) -> Path | None:
        paths = (folder / _HEAD for folder in self._files.folders(_FOLDER))
        return next((path for path in paths if path.is_file()), None)

    def _encoder(self) -> Path | None:
        names = [file.name for file in SIGLIP.files]
        folders = self._files.folders(SIGLIP.folder, SIGLIP.repositories)
        return next((folder for folder in folders if all((folder / name).is_file() for name in names)), None)
