"""What searches have found for a checkpoint, size and prompt, offered when the same prompt comes back.

It is only ever offered: Auto looks up presets, never this. The file holds JSON lines and only grows; of two lines with
the same checkpoint, size, prompt and name the later one counts.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from crdiff import checks
from crdiff.errors import CRDiffError
from crdiff.method.attention_scale import OFF
from crdiff.method.groups import GROUPS, Ratios
from crdiff.method.schedule import Schedule
from crdiff.models.checkpoint import Checkpoint
from crdiff.models.scope import AUTO_THRESHOLD, RELEASED
from crdiff.presets.size import Size
from crdiff.pruning.registry import DEFAULT_CRITERION
from crdiff.search.score_text import score_text
from crdiff.webui.search.monitor import CARRIED, SearchStatus

_log = logging.getLogger("crdiff")

FILE = "found.jsonl"
_NUMBERS = ("k", "score", "dense")


@dataclass(frozen=True)
class SearchResult:
    """A result for one prompt.

    Attributes:
        checkpoint: its sha256, or its name where the host has no hash.
        size: height x width.
        prompt: as in the tab.
        down: ratio, of the first stage if there are several.
        mid: ratio.
        up: ratio.
        k: the amplification; None where every stage has its own, and in results of version 1.0.0 that leave it to the
            user.
        score: of the best.
        dense: score of the dense model.
        score_name: what both were scored by.
        name: given by the user; empty for the last search's result.
        criterion: what the ratios were found for, as are layers and threshold.
        layers: of a transformer.
        threshold: what shares one.
        stages: ratios that change over the steps, in text; empty if they do not.
        attention_scale: that the images were drawn with, as is size_conditioning.
        size_conditioning: what SDXL was told of the size.
    """

    checkpoint: str
    size: str
    prompt: str
    down: float
    mid: float
    up: float
    k: float | None = None
    score: float | None = None
    dense: float | None = None
    score_name: str = ""
    name: str = ""
    criterion: str = DEFAULT_CRITERION
    layers: str = RELEASED
    threshold: str = AUTO_THRESHOLD
    stages: str = ""
    attention_scale: str = OFF
    size_conditioning: str = OFF

    def describe(self) -> str:
        """One line."""
        scores = [
            f"{name} {score_text(value)}"
            for name, value in (("score", self.score), ("dense", self.dense))
            if value is not None
        ]
        by = f" ({', '.join(scores)} by {self.score_name})" if scores and self.score_name else ""
        what = self.name or "last search"
        usual = {name: getattr(SearchResult, name) for name in CARRIED}
        of = "".join(
            f", {name.replace('_', ' ')} {value}" for name, value in self._carried.items() if value != usual[name]
        )
        k = "" if self.k is None else f", k {checks.exact(self.k)}"
        ratios = self.stages or f"{self.down:.3f}/{self.mid:.3f}/{self.up:.3f}"
        return f"{what}: {ratios}{k}{of}{by}"

    @property
    def _carried(self) -> dict[str, str]:
        return {name: getattr(self, name) for name in CARRIED}

    def applied(self) -> dict[str, float | str | None]:
        """The settings that it sets, by their names; None leaves k as the user has it."""
        drawn = {name: getattr(self, name) for name in (*GROUPS, "k", "stages")}
        return {**drawn, **self._carried}


def results_of(status: SearchStatus, name: str = "") -> list[SearchResult]:
    """The best of a search, once for each of its prompts; empty if it found nothing."""
    best, checkpoint, report = status.found, status.checkpoint, status.report
    if best is None or checkpoint is None or status.size is None:
        return []
    dense = report.baseline.score if report is not None and report.baseline is not None else None
    settings = status.settings
    drawn: Mapping[str, Any] = best.point.settings
    return [
        SearchResult(
            checkpoint.key, str(status.size), prompt.strip(), **drawn, score=best.score, dense=dense,
            score_name=status.score_name, name=name, **{name: getattr(settings, name) for name in CARRIED},
        )
        for prompt in status.prompts
    ]  # fmt: skip


def save_best(folder: Path, status: SearchStatus) -> None:
    """Save the result of a search for one prompt; an error is only logged, for the search has ended well."""
    if len(status.prompts) != 1:
        return
    try:
        save(folder, results_of(status))
    except OSError as error:
        _log.warning("The result of the search could not be saved (%s).", error)


def save(folder: Path, results: list[SearchResult]) -> None:
    """Add results to the file.

    Raises:
        OSError: it cannot be written.
    """
    if not results:
        return
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(asdict(found)) + "\n" for found in results)
    with open(folder / FILE, "a+b") as stream:
        if stream.seek(0, os.SEEK_END):
            stream.seek(-1, os.SEEK_END)
            if stream.read() != b"\n":  # a line that was cut off must not take the next one with it
                lines = "\n" + lines
        stream.write(lines.encode("utf-8"))


def find(folder: Path, checkpoint: Checkpoint, size: Size, prompt: str) -> list[SearchResult]:
    """What was found for this prompt, results with a name first; lines that cannot be read are skipped."""
    try:
        text = (folder / FILE).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    wanted = ({checkpoint.key, checkpoint.name}, str(size), prompt.strip())
    kept: dict[str, SearchResult] = {}
    for line in text.splitlines():
        found = _read(line)
        if found is not None and found.checkpoint in wanted[0] and (found.size, found.prompt) == wanted[1:]:
            kept[found.name] = found
    return sorted(kept.values(), key=lambda found: (not found.name, found.name))


def _read(line: str) -> SearchResult | None:
    """The result in a line; None if it is unfinished or damaged."""
    try:
        values: Any = json.loads(line)
        found = SearchResult(
            **{field.name: values[field.name] for field in fields(SearchResult) if field.name in values}
        )
        Ratios(found.down, found.mid, found.up)
        if found.stages:
            Schedule.parse(found.stages)
        for name in _NUMBERS:
            if getattr(found, name) is not None:
                checks.number(name, getattr(found, name))
    except (CRDiffError, ValueError, TypeError, KeyError):
        return None
    texts = (found.checkpoint, found.size, found.prompt, found.score_name, found.name, *found._carried.values())
    return found if all(isinstance(text, str) for text in texts) else None
