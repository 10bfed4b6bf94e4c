"""What the scorers with a model share: loading all or nothing, scoring in batches, freeing."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from PIL.Image import Image
from torch import Tensor

from crdiff.errors import CRDiffError
from crdiff.scoring.errors import ScoringError
from crdiff.scoring.preprocessing import check_images
from crdiff.scoring.scorer import BATCH

OUT_OF_MEMORY: type[RuntimeError] = torch.cuda.OutOfMemoryError
"""Has this name in all versions of torch, on every kind of device."""


class _Closable(Protocol):
    def close(self) -> None: ...


@contextmanager
def loading(scorer: _Closable, title: str) -> Iterator[None]:
    """Whatever goes wrong inside closes the scorer and becomes one sentence.

    Raises:
        ScoringError: instead of what was raised, except for a sentence that is one already.
    """
    try:
        yield
    except OUT_OF_MEMORY:
        scorer.close()
        raise ScoringError(f"There is not enough memory on the device for {title}; load it on the CPU.") from None
    except CRDiffError:
        scorer.close()
        raise
    except Exception as error:
        scorer.close()
        raise ScoringError(f"{title} cannot be loaded ({type(error).__name__}: {one_line(error)}).") from error
    except BaseException:
        scorer.close()
        raise


@contextmanager
def plain_inference(device: torch.device) -> Iterator[None]:
    """No gradients, and none of a host's autocasting, which would score in half precision."""
    with torch.inference_mode(), torch.autocast(device.type, enabled=False):
        yield


def in_batches(function: Callable[[Sequence[Image]], Tensor], images: Sequence[Image], name: str) -> list[float]:
    """Scores of all images from a function that scores up to BATCH of them as a tensor ``[n]``.

    Raises:
        ScoringError: something is not an image, or a score is not finite.
    """
    check_images(images)
    scores: list[float] = []
    for start in range(0, len(images), BATCH):
        scores += function(images[start : start + BATCH]).double().cpu().tolist()
    return finite(scores, name)


def finite(scores: list[float], name: str) -> list[float]:
    """The scores themselves.

    Raises:
        ScoringError: one of them is NaN or infinite.
    """
    for number, score in enumerate(scores, 1):
        if not math.isfinite(score):
            raise ScoringError(f"The {name} score of image {number} is {score}, which cannot be compared.")
    return scores


def release(device: torch.device) -> None:
    """Give memory back that the last reference to a model has left."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def one_line(error: BaseException) -> str:
    """An error's text in one line, of at most 200 characters and without its full stop."""
    return " ".join(str(error).split())[:200].rstrip(". ") or "no reason given"
