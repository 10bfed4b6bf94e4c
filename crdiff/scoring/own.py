"""A score of the user's own: a Python file with a function ``score(images, prompt) -> list[float]``.

    def score(images, prompt):
        '''One number per image, higher is better. images: PIL images; prompt: plain text.'''
        return [my_model(image, prompt) for image in images]

What else the file may hold: ``HIGHEST``, a number no score can exceed, which lets a search stop early on images that
cannot win; ``close()``, called when the scores are no longer needed. The file is run as any Python program of the user.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from PIL.Image import Image

from crdiff.scoring.errors import ScoringError
from crdiff.scoring.inference import finite, one_line
from crdiff.scoring.preprocessing import check_images

_MODULE = "crdiff_own_score"


class OwnScorer:
    """The scores of a user's file, which is run when the scorer is loaded and not before.

    Args:
        path: the file; None if there is no place for one.
    """

    name = "own"
    needs_dense = False

    def __init__(self, path: Path | None) -> None:
        self.highest: float | None = None
        self._path = path
        self._module: ModuleType | None = None

    def available(self) -> str | None:
        if self._path is None:
            return "There is no place for a score.py of your own."
        if not self._path.is_file():
            return f"A score of your own needs {self._path} with a function score(images, prompt)."
        try:
            tree = ast.parse(self._path.read_bytes(), str(self._path))
        except (SyntaxError, ValueError, OSError) as error:
            return f"{self._path} cannot be read as Python ({one_line(error)})."
        if not any(isinstance(node, ast.FunctionDef) and node.name == "score" for node in tree.body):
            return f"{self._path} has no function score(images, prompt)."
        return None

    def load(self, device: torch.device | str = "cpu") -> None:
        """Run the file; the device is its own choice."""
        if self._module is not None:
            return
        problem = self.available()
        if problem is not None:
            raise ScoringError(problem)
        spec = importlib.util.spec_from_file_location(_MODULE, str(self._path))
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[_MODULE] = module  # dataclasses look their module up
        try:
            spec.loader.exec_module(module)
            highest = getattr(module, "HIGHEST", None)
            self.highest = None if highest is None else float(highest)
        except Exception as error:
            sys.modules.pop(_MODULE, None)
            raise ScoringError(f"{self._path} failed ({type(error).__name__}: {one_line(error)}).") from error
        self._module = module

    def prepare(self, prompt: str, dense: Image | None = None) -> str:
        """The prompt itself."""
        return prompt

    def score(self, prepared: str, images: Sequence[Image]) -> list[float]:
        if self._module is None:
            raise ScoringError("Your score.py must be loaded before it scores.")
        check_images(images)
        if not images:
            return []
        try:
            answer: Any = self._module.score(list(images), prepared)
            scores = [float(value) for value in answer]
        except Exception as error:
            raise ScoringError(f"{self._path} failed ({type(error).__name__}: {one_line(error)}).") from error
        if len(scores) != len(images):
            raise ScoringError(f"{self._path} gave {len(scores)} scores for {len(images)} images.")
        return finite(scores, "own")

    def close(self) -> None:
        module, self._module = self._module, None
        self.highest = None
        if module is None:
            return
        if sys.modules.get(_MODULE) is module:
            del sys.modules[_MODULE]
        closing = getattr(module, "close", None)
        if callable(closing):
            try:
                closing()
            except Exception as error:
                raise ScoringError(f"close() of {self._path} failed ({one_line(error)}).") from error
