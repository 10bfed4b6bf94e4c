"""A score of the user's own: a Python file with a function ``score(images, prompt) -> list[float]``.

    def score(images, prompt):
        '''One number per image, higher is better. images: PIL images; prompt: plain text.'''
        return [my_model(image, prompt) for image in images]

What else the file may hold: ``HIGHEST``, a number no score can exceed, which lets a search stop early on images that
cannot win; ``right(images, prompt) -> list[bool]``, whether each image shows its prompt, which a comparison counts;
``close()``, called when the scores are no longer needed. The file is run as any Python program of the user:
``score`` may be anything that can be called, and what lies beside the file can be imported.
"""

from __future__ import annotations

import ast
import importlib.util
import symtable
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import torch
from PIL.Image import Image

from crdiff.scoring.errors import ScoringError
from crdiff.scoring.inference import finite, one_line
from crdiff.scoring.local_imports import LocalImports
from crdiff.scoring.preprocessing import check_images

_MODULE = "crdiff_own_score"
T = TypeVar("T")


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
        self._imports: LocalImports | None = None

    def available(self) -> str | None:
        if self._path is None:
            return "There is no place for a score.py of your own."
        if not self._path.is_file():
            return f"A score of your own needs {self._path} with a function score(images, prompt)."
        try:
            named = _names_score(self._path)
        except (SyntaxError, ValueError, OSError) as error:
            return f"{self._path} cannot be read as Python ({one_line(error)})."
        return None if named else self._no_function()

    def _no_function(self) -> str:
        return f"{self._path} has no function score(images, prompt)."

    def load(self, device: torch.device | str = "cpu") -> None:
        """Run the file; the device is its own choice."""
        if self._module is not None:
            return
        problem = self.available()
        if problem is not None:
            raise ScoringError(problem)
        assert self._path is not None
        spec = importlib.util.spec_from_file_location(_MODULE, str(self._path))
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        self._imports = LocalImports(self._path.parent)
        sys.modules[_MODULE] = module  # dataclasses look their module up
        try:
            with self._calling():
                spec.loader.exec_module(module)
                highest = getattr(module, "HIGHEST", None)
                self.highest = None if highest is None else float(highest)
            if not callable(getattr(module, "score", None)):
                raise ScoringError(self._no_function())
        except ScoringError:
            sys.modules.pop(_MODULE, None)
            raise
        self._module = module

    @contextmanager
    def _calling(self) -> Iterator[None]:
        """Around every call into the file's code, whose errors become one sentence."""
        assert self._imports is not None
        try:
            with self._imports.importable():
                yield
        except (Exception, SystemExit) as error:
            raise ScoringError(f"{self._path} failed ({type(error).__name__}: {one_line(error)}).") from error

    def prepare(self, prompt: str, dense: Image | None = None) -> str:
        """The prompt itself."""
        return prompt

    def score(self, prepared: str, images: Sequence[Image]) -> list[float]:
        return finite(self._asked("score", float, prepared, images), "own")

    def right(self, prepared: str, images: Sequence[Image]) -> list[bool] | None:
        """Whether each image shows the prompt; None if the file does not tell."""
        if self._module is not None and not callable(getattr(self._module, "right", None)):
            return None
        return self._asked("right", bool, prepared, images)

    def _asked(self, name: str, kind: Callable[[Any], T], prepared: str, images: Sequence[Image]) -> list[T]:
        """What a function of the file says of each image."""
        if self._module is None:
            raise ScoringError("Your score.py must be loaded before it scores.")
        check_images(images)
        if not images:
            return []
        with self._calling():
            answer: Any = getattr(self._module, name)(list(images), prepared)
            told = [kind(value) for value in answer]
        if len(told) != len(images):
            what = "scores" if name == "score" else "answers"
            raise ScoringError(f"{self._path} gave {len(told)} {what} for {len(images)} images.")
        return told

    def close(self) -> None:
        module, self._module = self._module, None
        self.highest = None
        if module is None:
            return
        if sys.modules.get(_MODULE) is module:
            del sys.modules[_MODULE]
        closing = getattr(module, "close", None)
        if callable(closing):
            with self._calling():
                closing()


def _names_score(path: Path) -> bool:
    """Whether a Python file gives something the name ``score``, by whatever statement; it is not run.

    Raises:
        SyntaxError: it is no Python; ValueError and OSError if it is no text, or cannot be opened.
    """
    code = importlib.util.decode_source(path.read_bytes())
    if any(isinstance(node, ast.ImportFrom) and node.names[0].name == "*" for node in ast.parse(code, str(path)).body):
        return True  # what these names are is only known when it is run
    try:
        name = symtable.symtable(code, str(path), "exec").lookup("score")
    except KeyError:
        return False
    return name.is_assigned() or name.is_imported()
