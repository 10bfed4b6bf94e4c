"""Where the files of the models may lie: the WebUI's models folder and the usual caches."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ModelFiles:
    """Folders to look in; nothing is made or changed there.

    Attributes:
        models: the WebUI's models folder; None without a WebUI.
        own: the user's ``score.py``; None if there can be none.
        home: folder that stands for ``~/.cache``; None for the user's own.
        hub: the cache of huggingface_hub; None for the one its environment variables name.
    """

    models: Path | None = None
    own: Path | None = None
    home: Path | None = None
    hub: Path | None = None

    def target(self, folder: str) -> Path:
        """Where the files of a model should be put: in the models folder, else in the cache."""
        return (self.models or self._caches()) / folder

    def folders(self, folder: str, repositories: tuple[str, ...] = ()) -> Iterator[Path]:
        """Folders that may hold a model's files, the most specific first; each exists.

        Args:
            folder: its folder's name among the models and in ``~/.cache``.
            repositories: its names on the hub, such as ``THUDM/ImageReward``.
        """
        plain = [self.models / folder] if self.models is not None else []
        plain.append(self._caches() / folder)
        for place in plain:
            if place.is_dir():
                yield place
        for repository in repositories:
            yield from _snapshots(self._hub() / f"models--{repository.replace('/', '--')}")

    def _caches(self) -> Path:
        return self.home if self.home is not None else Path.home() / ".cache"

    def _hub(self) -> Path:
        return self.hub if self.hub is not None else hub_cache(os.environ)


def hub_cache(environment: Mapping[str, str]) -> Path:
    """The folder in which huggingface_hub keeps repositories, by its own rules and without importing it."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if environment.get(name):
            return Path(environment[name]).expanduser()
    if environment.get("HF_HOME"):
        return Path(environment["HF_HOME"]).expanduser() / "hub"
    cache = environment.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "huggingface" / "hub"


def _snapshots(repository: Path) -> Iterator[Path]:
    """The snapshots of a repository in the hub's cache, the one that ``main`` names first."""
    folder = repository / "snapshots"
    if not folder.is_dir():
        return
    main = repository / "refs" / "main"
    first = main.read_text(encoding="utf-8").strip() if main.is_file() else ""
    found = [path for path in folder.iterdir() if path.is_dir()]
    yield from sorted(found, key=lambda path: (path.name != first, path.name))
