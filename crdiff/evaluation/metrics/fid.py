"""Fréchet Inception Distance (Heusel et al., arXiv 1706.08500), by the network of the pytorch-fid package."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crdiff.evaluation.metrics.metric import squashed
from crdiff.files import sha256_of
from crdiff.scoring.errors import DownloadError, ScoringError

if TYPE_CHECKING:
    from PIL.Image import Image

WEIGHTS = "pt_inception-2015-12-05-6726825d.pth"
_URL = f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{WEIGHTS}"
_DIGEST = "6726825d"
"""The SHA-256 begins so, which the file's name says, as torch's downloads do."""

_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
Features = NDArray[np.float32]
Moments = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Mean ``[d]`` and covariance ``[d, d]`` of features."""


class Fid:
    """How far images lie from a reference set, lower is better.

    All images, those of a reference folder too, are squashed to 256x256 first, as the paper's authors prepare theirs.

    Args:
        reference: a folder of images, or an ``.npz`` with ``mu`` and ``sigma`` as pytorch-fid saves them.
    """

    name = "fid"

    def __init__(self, reference: Path | None) -> None:
        self._reference = reference
        self._network: Any = None
        self._device = "cpu"
        self._known: Moments | None = None

    def available(self) -> str | None:
        """One sentence why it cannot be used on this machine; None if it can."""
        missing = [name for name in ("pytorch_fid", "torchvision") if find_spec(name) is None]
        if missing:
            return f"FID needs {' and '.join(missing)}: pip install -e .[evaluate] in CR-Diff's folder."
        if self._reference is None:
            return "FID needs --reference, a folder of images or an .npz of pytorch-fid."
        if not self._reference.exists():
            return f"{self._reference}: there is no such reference for FID."
        path = _weights()
        if not path.is_file():
            return f"FID needs {_URL}: download it, or put it into {path.parent}."
        if not sha256_of(path).startswith(_DIGEST):
            return f"{path} is not the published file: its SHA-256 does not begin with {_DIGEST}."
        return None

    def fetch(self) -> None:
        """Download the network's weights, unless they are here.

        Raises:
            DownloadError: they could not be fetched, or are not the published ones.
        """
        import torch

        path = _weights()
        if path.is_file():
            return
        print(f"Downloads {_URL} (96 MB) to {path.parent}.", flush=True)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(_URL, str(path), hash_prefix=_DIGEST)
        except (OSError, RuntimeError) as error:
            raise DownloadError(f"{WEIGHTS} could not be fetched ({' '.join(str(error).split())}).") from None

    def load(self, device: str) -> None:
        """Bring the network to a device."""
        from pytorch_fid.inception import InceptionV3

        self._network, self._device = InceptionV3().eval().requires_grad_(False).to(device), device

    def features(self, image: Image) -> Features:
        """What the network sees of an image: ``[2048]`` float32."""
        import torch

        pixels = np.asarray(squashed(image), dtype=np.float32).transpose(2, 0, 1) / 255
        with torch.inference_mode():
            seen = self._network(torch.from_numpy(pixels)[None].to(self._device))[0]
        found: Features = seen[0, :, 0, 0].float().cpu().numpy()
        return found

    def distance(self, features: Features) -> float | None:
        """Of the images of these features ``[n, d]``; None of fewer than two.

        Raises:
            ScoringError: the reference cannot be read, or is of other features.
        """
        if len(features) < 2:
            return None
        if self._known is None:
            self._known = self._moments()
        mean, covariance = self._known
        size = features.shape[1]
        if mean.shape != (size,) or covariance.shape != (size, size):
            raise ScoringError(
                f"{self._reference} is of other features: its mu is {list(mean.shape)} and its sigma "
                f"{list(covariance.shape)}, where FID needs [{size}] and [{size}, {size}]."
            )
        return frechet_distance(moments(features), self._known)

    def _moments(self) -> Moments:
        assert self._reference is not None
        if self._reference.is_dir():
            found = list(_images(self._reference))
            if len(found) < 2:
                raise ScoringError(f"{self._reference} holds fewer than two images, where FID needs a reference set.")
            return moments(np.stack([self.features(image) for image in found]))
        try:
            with np.load(self._reference) as content:
                return np.asarray(content["mu"], np.float64), np.asarray(content["sigma"], np.float64)
        except (OSError, ValueError, KeyError) as error:
            raise ScoringError(f"{self._reference} cannot be read as mu and sigma of pytorch-fid ({error}).") from None


def moments(features: Features) -> Moments:
    """Mean and covariance of features ``[n, d]``."""
    values = features.astype(np.float64)
    return values.mean(axis=0), np.cov(values, rowvar=False)


def frechet_distance(first: Moments, second: Moments) -> float:
    """The squared distance of two normal distributions: |m1 - m2|^2 + tr(S1 + S2 - 2 sqrt(S1 S2)).

    The eigenvalues of S1 S2 are those of sqrt(S1) S2 sqrt(S1), which is symmetric, so that it needs no complex root.
    """
    (mean, covariance), (other, target) = first, second
    values, vectors = np.linalg.eigh(covariance)
    root = (vectors * np.sqrt(np.clip(values, 0.0, None))) @ vectors.T
    inner = np.linalg.eigvalsh(root @ target @ root)
    shared = np.sqrt(np.clip(inner, 0.0, None)).sum()
    return float(((mean - other) ** 2).sum() + np.trace(covariance) + np.trace(target) - 2.0 * shared)


def _weights() -> Path:
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS


def _images(folder: Path) -> Iterator[Image]:
    from PIL import Image

    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in _ENDINGS:
            try:
                with Image.open(path) as image:
                    yield squashed(image)
            except OSError as error:
                raise ScoringError(f"{path} cannot be read as an image ({error}).") from None
