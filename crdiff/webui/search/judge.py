"""The score of a search: which one can be used, and its model for as long as images are scored."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crdiff.errors import CRDiffError, SettingsError
from crdiff.scoring import registry
from crdiff.scoring.formula import NAMES
from crdiff.scoring.local_imports import versions
from crdiff.scoring.model_files import ModelFiles
from crdiff.scoring.prompts import plain_text
from crdiff.scoring.scorer import Scorer
from crdiff.search.strategies.point import Point

OWN_FILE = "score.py"
CACHED_S = 20.0
"""Between two jobs of the command line's search there are a second and other people's images."""

_log = logging.getLogger("crdiff")


def model_files(folder: Path) -> ModelFiles:
    """Where scores' files are looked for: the host's models folder, the usual caches, and CR-Diff's data folder."""
    from modules import paths

    models = getattr(paths, "models_path", None)
    return ModelFiles(models=Path(models) if models else None, own=folder / OWN_FILE)


def choose_scorer(name: str | None, folder: Path) -> Scorer:
    """The scorer of a name, or the first one available; not loaded.

    Raises:
        SettingsError: there is none, or it cannot be used here; the sentence says why.
    """
    files = model_files(folder)
    wanted = name or registry.first_available(files)
    if wanted is None:
        raise SettingsError(f"No score can be used here yet. {registry.create(NAMES[0], files).available()}")
    scorer = registry.create(wanted, files)
    if (problem := scorer.available()) is not None:
        raise SettingsError(problem)
    return scorer


def score_problems(folder: Path) -> dict[str, str | None]:
    """All scores by name, each with None or a sentence on why it cannot be used."""
    files = model_files(folder)
    return {name: registry.create(name, files).available() for name in NAMES}


class ScorerCache:
    """Keeps one loaded scorer for a moment, for the next job of a search that is made of many jobs.

    Args:
        seconds: after which it is freed.
    """

    def __init__(self, seconds: float = CACHED_S) -> None:
        self._seconds = seconds
        self._entry: tuple[Scorer, Any] | None = None
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()

    def take(self, scorer: Scorer, key: Any) -> Scorer:
        """The loaded scorer with this key; else ``scorer`` as it is, and what was cached is freed."""
        entry = self._pop()
        if entry is not None and entry[1] == key:
            return entry[0]
        self._free(entry)
        return scorer

    def put(self, scorer: Scorer, key: Any) -> None:
        """Keep a loaded scorer; ``key`` says what it was loaded from."""
        self._free(self._pop())
        with self._lock:
            self._entry = (scorer, key)
            self._timer = threading.Timer(self._seconds, self._expire, [self._entry])
            self._timer.daemon = True
            self._timer.start()

    def _pop(self) -> tuple[Scorer, Any] | None:
        with self._lock:
            entry, self._entry = self._entry, None
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            return entry

    def _expire(self, expected: tuple[Scorer, Any]) -> None:
        with self._lock:
            if self._entry is not expected:
                return
            self._entry = None
        self._free(expected)

    @staticmethod
    def _free(entry: tuple[Scorer, Any] | None) -> None:
        if entry is not None:
            _close(entry[0])


class Judge:
    """Scores images; what is the same for a prompt is prepared once.

    Args:
        scorer: not yet loaded.
        dense: draws the dense image of a prompt and seed, for scores that compare with it.
        cache: where the loaded scorer of an earlier job may be.
        own: the user's score file, which may have changed since then, as may what it imports from beside it.
        put_back: whether the scorer goes into the cache, because more jobs of the kind are likely to follow soon.
    """

    def __init__(
        self, scorer: Scorer, dense: Callable[[str, int], Any], cache: ScorerCache, own: Path, *, put_back: bool
    ) -> None:
        self._scorer = scorer
        self._dense = dense
        self._cache = cache
        self._own = own
        self._put_back = put_back
        self._key: Any = None
        self._prepared: dict[Any, Any] = {}

    def __enter__(self) -> Judge:
        from modules import devices

        device = getattr(devices, "device", "cpu")
        self._key = (self._scorer.name, str(device), versions(self._own.parent))
        self._scorer = self._cache.take(self._scorer, self._key)
        self._scorer.load(device)
        return self

    def __exit__(self, *_: object) -> None:
        self._prepared.clear()
        if self._put_back:
            self._cache.put(self._scorer, self._key)
        else:
            _close(self._scorer)

    @property
    def highest(self) -> float | None:
        """The highest score there can be; None if there is no such bound, or the scorer is not loaded yet."""
        return self._scorer.highest

    def take_dense(self, image: Any, prompt: str, seed: int) -> None:
        """Take a dense image that was drawn anyway."""
        if self._scorer.needs_dense:
            self._prepare(prompt, seed, image)

    def score(self, image: Any, prompt: str, seed: int, point: Point) -> float:
        """The score of one image, whatever configuration it is of."""
        key = self._prompt_key(prompt, seed)
        if key not in self._prepared:
            self._prepare(prompt, seed, self._dense(prompt, seed) if self._scorer.needs_dense else None)
        try:
            return float(self._scorer.score(self._prepared[key], [image.convert("RGB")])[0])
        except BaseException:
            self._put_back = False  # such as memory that has run out
            raise

    def right(self, image: Any, prompt: str) -> bool | None:
        """Whether an image shows its prompt; None where the score cannot tell, as only a user's own can."""
        tell = getattr(self._scorer, "right", None)
        told = None if tell is None else tell(plain_text(prompt), [image.convert("RGB")])
        return None if told is None else bool(told[0])

    def _prepare(self, prompt: str, seed: int, dense: Any) -> None:
        self._prepared[self._prompt_key(prompt, seed)] = self._scorer.prepare(plain_text(prompt), dense)

    def _prompt_key(self, prompt: str, seed: int) -> Any:
        return (prompt, seed) if self._scorer.needs_dense else prompt


def _close(scorer: Scorer) -> None:
    """Free a scorer; an error on the way is only logged, for the scores are known by then."""
    try:
        scorer.close()
    except CRDiffError as problem:
        _log.warning("%s", problem)
