"""The score of a search, loaded for as long as it runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crdiff.errors import SettingsError
from crdiff.webui.search.shelf import Shelf, close

if TYPE_CHECKING:
    from crdiff.search.space import Point

OWN_FILE = "score.py"


def score_places(folder: Path) -> Any:
    """Where scores' files are looked for: the host's models folder, the usual caches, and CR-Diff's data folder."""
    from crdiff.scoring.places import Places
    from modules import paths

    models = getattr(paths, "models_path", None)
    return Places(models=Path(models) if models else None, own=folder / OWN_FILE)


def choose(name: str | None, folder: Path) -> Any:
    """The scorer of a name, or the first one available.

    Raises:
        SettingsError: there is none, or it cannot be used here; the sentence says why.
    """
    from crdiff.scoring import registry

    places = score_places(folder)
    wanted = name or registry.first_available(places)
    if wanted is None:
        from crdiff.scoring.formula import NAMES

        raise SettingsError(f"No score can be used here yet. {registry.create(NAMES[0], places).available()}")
    scorer = registry.create(wanted, places)
    if (problem := scorer.available()) is not None:
        raise SettingsError(problem)
    return scorer


def offers(folder: Path) -> list[tuple[str, str | None]]:
    """The names of all scores, each with None or a sentence why it cannot be used."""
    from crdiff.scoring import registry
    from crdiff.scoring.formula import NAMES

    places = score_places(folder)
    return [(name, registry.create(name, places).available()) for name in NAMES]


class Judge:
    """Scores pictures; what is the same for a prompt is prepared once.

    Args:
        scorer: not yet loaded.
        dense: draws the dense picture of a prompt and seed, for scores that compare with it.
        shelf: where a loaded scorer may be kept from an earlier job.
        own: the user's score file, which may have changed since then.
        goes_on: whether the scorer is put back there, for more jobs of the kind are likely to follow soon.
    """

    def __init__(
        self, scorer: Any, dense: Callable[[str, int], Any], shelf: Shelf, own: Path, goes_on: bool = False
    ) -> None:
        self._scorer = scorer
        self._dense = dense
        self._shelf = shelf
        self._own = own
        self._goes_on = goes_on
        self._mark: Any = None
        self._prepared: dict[Any, Any] = {}

    def __enter__(self) -> Judge:
        from modules import devices

        device = getattr(devices, "device", "cpu")
        version = self._own.stat() if self._own.is_file() else None
        self._mark = (self._scorer.name, str(device), version and (version.st_mtime_ns, version.st_size))
        self._scorer = self._shelf.take(self._scorer, self._mark)
        self._scorer.load(device)
        return self

    def __exit__(self, *_: object) -> None:
        self._prepared.clear()
        if self._goes_on:
            self._shelf.put(self._scorer, self._mark)
        else:
            close(self._scorer)

    @property
    def highest(self) -> float | None:
        """What no score can exceed; None if there is no such bound, or the scorer is not loaded yet."""
        highest: float | None = self._scorer.highest
        return highest

    def remember_dense(self, picture: Any, prompt: str, seed: int) -> None:
        """Take a dense picture that was drawn anyway."""
        if self._scorer.needs_dense:
            self._prepare(prompt, seed, picture)

    def score(self, picture: Any, prompt: str, seed: int, point: Point | None = None) -> float:
        """The score of one picture, whatever configuration it is of."""
        key = (prompt, seed) if self._scorer.needs_dense else prompt
        if key not in self._prepared:
            self._prepare(prompt, seed, self._dense(prompt, seed) if self._scorer.needs_dense else None)
        try:
            return float(self._scorer.score(self._prepared[key], [picture.convert("RGB")])[0])
        except BaseException:
            self._goes_on = False  # such as memory that has run out
            raise

    def _prepare(self, prompt: str, seed: int, dense: Any) -> None:
        from crdiff.scoring.prompts import plain_text

        key = (prompt, seed) if self._scorer.needs_dense else prompt
        self._prepared[key] = self._scorer.prepare(plain_text(prompt), dense)
