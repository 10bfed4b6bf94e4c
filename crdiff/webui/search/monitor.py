"""How a search stands: the job writes it, the page's polls and the API read it."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field, replace
from typing import Any

from crdiff.models.checkpoint import Checkpoint
from crdiff.presets.fields import FOUND_FOR
from crdiff.presets.size import Size
from crdiff.search.fresh import Gain
from crdiff.search.report import Evaluation, Report
from crdiff.search.score_text import score_text
from crdiff.settings import Settings
from crdiff.webui.jobs.monitor import JobMonitor, JobStatus

CARRIED = (*FOUND_FOR, "attention_scale", "size_conditioning")
"""Settings that apply to the trials as they are, beside start, end and mode, and that Apply sets with them."""
CHOICES = ("left", "same", "right")
"""The possible answers to a question."""
_LONGEST_SIDE = 512
_QUALITY = 88
_SHOWN = 60
"""Characters of a prompt that are shown."""


@dataclass(frozen=True)
class Thumbnail:
    """An image as the page shows it.

    Attributes:
        url: a data URL of a JPEG, small enough to be sent again and again.
        caption: what it was drawn with.
    """

    url: str
    caption: str


@dataclass(frozen=True)
class Question:
    """Two images, of which the user picks one.

    Attributes:
        number: counts a search's questions from 1.
        left: a data URL.
        right: a data URL.
        prompt: what both were drawn for.
    """

    number: int
    left: str
    right: str
    prompt: str


@dataclass(frozen=True)
class SearchStatus(JobStatus):
    """A search at one moment.

    Attributes:
        score_name: what the images are scored by.
        report: the search core's own report.
        dense: the image of the dense model.
        best: the image of the best configuration.
        evaluations: the budget; None is no limit.
        checkpoint: what was searched for.
        size: of the images.
        journal: name of the journal's file.
        prompts: what the images are drawn for.
        seeds: what they are drawn with.
        note: a sentence about what was chosen at random; empty if nothing was.
        question: what the search waits for an answer to.
        gain: of the best on fresh seeds; None if that was not asked for.
        settings: CR-Diff's, of which all but ratios and k apply to the trials too.
    """

    score_name: str = ""
    report: Report | None = None
    dense: Thumbnail | None = None
    best: Thumbnail | None = None
    evaluations: int | None = None
    checkpoint: Checkpoint | None = None
    size: Size | None = None
    journal: str = ""
    prompts: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    note: str = ""
    question: Question | None = None
    gain: Gain | None = None
    settings: Settings = field(default_factory=Settings)

    @property
    def found(self) -> Evaluation | None:
        """The best configuration, if it is better than the dense model."""
        best = self.report.best if self.report else None
        return None if best is None or best.kind == "baseline" or best.point.is_dense else best

    def applied(self, entry: Evaluation) -> dict[str, float | str | None]:
        """The settings that draw a configuration as its trial was drawn, by their names; see ``Point.settings``."""
        settings = self.settings
        return {
            **entry.point.settings, "start": settings.start, "end": settings.end, "mode": settings.mode,
            **{name: getattr(settings, name) for name in CARRIED},
        }  # fmt: skip

    @property
    def subject(self) -> str:
        """What it belongs to: prompt, size, checkpoint and seeds; empty before that is known."""
        if self.size is None or not self.prompts:
            return ""
        first, more = self.prompts[0], len(self.prompts) - 1
        prompt = f"“{first}”" if len(first) <= _SHOWN else f"“{first[:_SHOWN]}...”"
        prompt += f" and {more} more" if more else ""
        name = "" if self.checkpoint is None else f", {self.checkpoint.name}"
        seeds = f"seed{'s' * (len(self.seeds) > 1)} {', '.join(map(str, self.seeds))}"
        return f"For {prompt}, {self.size}{self.size.order}{name}, {seeds}"

    @property
    def text(self) -> str:
        """One line: how far the search is, what it found, how long it will take."""
        if self.state == "none":
            return ""
        if self.state == "waiting":
            return self.message
        text = f"{self.state.capitalize()}: {self._progress()}"
        text += f" ({self.score_name})" if self.score_name else ""
        return " ".join(part for part in (f"{text}.", self.message, self.note) if part)

    def _progress(self) -> str:
        report = self.report
        if report is None:
            return "preparing"
        of = f" of {self.evaluations}" if self.evaluations else ""
        parts = [f"{report.evaluations}{of} evaluations"]
        for name, entry in (("best", report.best), ("dense", report.baseline)):
            if entry is not None and entry.score is not None:
                parts.append(f"{name} {score_text(entry.score)}")
        if self.state == "running" and report.seconds_left:
            parts.append(f"{duration(report.seconds_left)} left")
        return ", ".join(parts)


@dataclass
class SearchMonitor(JobMonitor[SearchStatus]):
    """Holds the status of the last search, and carries requests of the page to its job."""

    status: SearchStatus = field(default_factory=SearchStatus)
    _answer: tuple[int, str] | None = None

    def ask(self, question: Question) -> None:
        """Show a question; an answer to an earlier one is discarded."""
        with self._lock:
            self._answer = None
            self.status = replace(self.status, question=question)
            self.version += 1

    def answer(self, number: int, choice: str) -> bool:
        """Take the answer to a question; False if it is no longer asked, or has been answered."""
        with self._lock:
            question = self.status.question
            if question is None or question.number != number or self._answer is not None or choice not in CHOICES:
                return False
            self._answer = (number, choice)
            return True

    def answer_to(self, number: int) -> str | None:
        """The answer to a question; None until there is one."""
        with self._lock:
            return self._answer[1] if self._answer is not None and self._answer[0] == number else None


def duration(seconds: float) -> str:
    """A length of time as people say it."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    if seconds < 5400:
        return f"about {round(seconds / 60)} min"
    return f"about {seconds / 3600:.1f} h"


def thumbnail(image: Any) -> str:
    """An image as a data URL, at most 512 pixels wide or high."""
    small = image.convert("RGB")
    small.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
