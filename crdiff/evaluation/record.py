"""What has been drawn and scored, on disk before the evaluation goes on: a journal, and a folder of images.

Every line of a journal belongs to one image and says when it was drawn, or what it scored; later lines add to earlier
ones. Each share of an evaluation writes a journal of its own and reads all of them.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crdiff.evaluation.images import Item, Shard
from crdiff.files import write_atomically
from crdiff.search.journal import Journal, check_header, plain, read_lines

if TYPE_CHECKING:
    from PIL.Image import Image

    from crdiff.evaluation.engine import Drawn

_KIND = "evaluation"
_JOURNALS = "journal*.jsonl"


@dataclass
class Entry:
    """What is known of an image.

    Attributes:
        folder: of the evaluation that drew it.
        drawn: whether it has been drawn.
        seconds: that took.
        kept: whether it was kept.
        file: where, in the folder; other ways with the same settings share it. None in journals of before.
        scores: by the name of the metric.
    """

    folder: Path
    drawn: bool = False
    seconds: float = 0.0
    kept: bool = False
    file: str | None = None
    scores: dict[str, float] = field(default_factory=dict)


class Record:
    """Of one evaluation.

    Args:
        folder: of the journals and the images; made with the first image.
        identity: the model and how it is drawn with; None only reads.
        shard: the share of the images that is drawn here.

    Raises:
        JournalError: a journal cannot be read, or belongs to another model or other steps, guidance and the like.
    """

    def __init__(
        self, folder: Path, identity: Mapping[str, Any] | None = None, shard: Shard = Shard()  # noqa: B008 (frozen)
    ) -> None:  # fmt: skip
        self.folder = folder
        self.entries: dict[str, Entry] = {}
        self.identity: Mapping[str, Any] = {} if identity is None else plain(identity)
        name = "journal.jsonl" if shard.of == 1 else f"journal-{shard.number}-of-{shard.of}.jsonl"
        own = folder / name
        for path in sorted(folder.glob(_JOURNALS)):
            if identity is None or path != own:
                self._take(path)
        self._journal = None if identity is None else Journal(own, self.identity, _KIND)
        for line in [] if self._journal is None else self._journal.open({}):
            self._add(line)

    @property
    def metrics(self) -> list[str]:
        """The names of all scores that images have."""
        return list(dict.fromkeys(name for entry in self.entries.values() for name in entry.scores))

    def include(self, other: Record) -> None:
        """Take in what another evaluation has drawn with the same model.

        Raises:
            JournalError: it was drawn with another one, or otherwise.
        """
        if not other.entries:
            return
        if not self.entries:
            self.identity = other.identity
        check_header(other.folder, other.identity, self.identity, _KIND)
        for key, entry in other.entries.items():
            if not self.entries.setdefault(key, entry).drawn:
                self.entries[key] = entry

    def entry(self, item: Item) -> Entry:
        """What is known of an image; nothing, if it was not drawn yet."""
        return self.entries.get(item.key) or Entry(self.folder)

    def taken(self, item: Item) -> Item | None:
        """The image that stands for it: itself, or of several the best; None while one of these is not scored."""
        if item.drawing.candidates == 1:
            return item
        by, best = item.drawing.chosen_by, None
        for candidate in item.candidates:
            score = self.entry(candidate).scores.get(by)
            if score is None:
                return None
            if best is None or score > best[0]:
                best = score, candidate
        return None if best is None else best[1]

    def image(self, item: Item) -> Image | None:
        """An image that was kept; None if it was not, or is gone or damaged."""
        # Imported here: looking at journals needs no images.
        from PIL import Image

        entry = self.entry(item)
        if not entry.kept:
            return None
        try:
            with Image.open(entry.folder / (entry.file or item.file)) as image:
                image.load()
                return image.convert("RGB")
        except (OSError, SyntaxError):
            return None

    def features(self, item: Item, distance: str) -> NDArray[np.float32] | None:
        """What a distance keeps of an image; None if nothing was kept, or it is damaged."""
        try:
            found: NDArray[np.float32] = np.load(self._features(item, distance), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        return found

    def keep_features(self, item: Item, distance: str, features: NDArray[np.float32]) -> None:
        """Keep what a distance sees of an image.

        Raises:
            OSError: it cannot be written.
        """
        stream = io.BytesIO()
        np.save(stream, features)
        write_atomically(self._features(item, distance), stream.getvalue())

    def drawn(self, item: Item, drawn: Drawn, seconds: float, scores: Mapping[str, float], *, keep: bool) -> None:
        """Keep an image that has just been drawn.

        Raises:
            CRDiffError: the journal cannot be written; OSError if the image cannot.
        """
        if keep:
            from PIL.PngImagePlugin import PngInfo

            texts, stream = PngInfo(), io.BytesIO()
            texts.add_text("parameters", drawn.infotext)
            drawn.image.save(stream, format="PNG", pnginfo=texts)
            write_atomically(self.folder / item.file, stream.getvalue())
        what = {"size": str(item.size), "way": item.drawing.way, "seed": item.seed, "prompt": item.prompt}
        self._write(item, {**what, "seconds": round(seconds, 3), "kept": keep, "file": str(item.file)}, scores)

    def scored(self, item: Item, scores: Mapping[str, float]) -> None:
        """Note further scores of an image.

        Raises:
            JournalError: the journal cannot be written.
        """
        self._write(item, {}, scores)

    def _features(self, item: Item, distance: str) -> Path:
        return self.entry(item).folder / "features" / distance / f"{item.key}.npy"

    def _write(self, item: Item, what: Mapping[str, Any], scores: Mapping[str, float]) -> None:
        assert self._journal is not None
        line = {"key": item.key, **what, "scores": dict(scores)}
        self._journal.append(line)
        self._add(line)

    def _take(self, path: Path) -> None:
        lines, _, _ = read_lines(path, _KIND)
        for number, line in enumerate(lines):
            if number > 0:
                self._add(line)
                continue
            identity = {key: value for key, value in line.items() if key != f"crdiff_{_KIND}"}
            if self.identity:
                check_header(path, identity, self.identity, _KIND)
            self.identity = identity

    def _add(self, line: Mapping[str, Any]) -> None:
        entry = self.entries.setdefault(str(line["key"]), Entry(self.folder))
        if "seconds" in line:
            entry.drawn, entry.seconds, entry.kept = True, float(line["seconds"]), bool(line["kept"])
            entry.file = line.get("file")
        entry.scores.update(line["scores"])
