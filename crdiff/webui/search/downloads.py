"""Downloading a score's files: only on a button that has said what from where, in a thread of its own."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field

from crdiff.errors import CRDiffError
from crdiff.scoring.download import download
from crdiff.scoring.errors import DownloadStoppedError
from crdiff.scoring.model_files import ModelFiles
from crdiff.scoring.sources import CLIP, IMAGE_REWARD, PICK_SCORE, Source, gigabytes
from crdiff.webui.markup import status_html

_log = logging.getLogger("crdiff")

SOURCES: dict[str, Source] = {"ImageReward": IMAGE_REWARD, "CLIP": CLIP, "PickScore": PICK_SCORE}


@dataclass(frozen=True)
class DownloadStatus:
    """How far a download is.

    Attributes:
        state: ``none``, ``running``, ``done``, ``stopped`` or ``failed``.
        text: one sentence.
        share: of the present file that is here, 0 to 1.
    """

    state: str = "none"
    text: str = ""
    share: float = 0.0

    def to_html(self) -> str:
        """The sentence and, while it runs, a bar."""
        level = {"failed": "problem", "stopped": "estimated"}.get(self.state, "ok")
        bar = f'<progress max="1" value="{self.share:.4f}"></progress>' if self.state == "running" else ""
        return f'<div data-crdiff-download="{self.state}">{status_html(self.text, level)}{bar}</div>'


@dataclass
class Downloads:
    """The downloads of this WebUI, one at a time."""

    status: DownloadStatus = field(default_factory=DownloadStatus)
    _thread: threading.Thread | None = None
    _stop: threading.Event = field(default_factory=threading.Event, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def start(self, source: Source, files: ModelFiles) -> DownloadStatus:
        """Begin, or say that one is under way."""
        target = files.target(source.folder)
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return self.status
            self._stop.clear()
            self.status = DownloadStatus("running", f"Downloading {source.title} to {target}.")
            self._thread = threading.Thread(target=self._run, args=(source, files), daemon=True)
            self._thread.start()
            return self.status

    def stop(self) -> DownloadStatus:
        """Ask the download to stop; what is here stays, and the next download resumes from it."""
        if self.status.state == "running":
            self._stop.set()
            return DownloadStatus("running", "Stopping the download; what is here is kept.", self.status.share)
        return DownloadStatus("stopped", "Nothing is being downloaded.")

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until the download has ended."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self, source: Source, files: ModelFiles) -> None:
        target = files.target(source.folder)

        def show(name: str, here: int, size: int) -> None:
            text = f"Downloading {name} to {target}: {gigabytes(here)} of {gigabytes(size)}."
            self.status = DownloadStatus("running", text, here / size if size else 0.0)

        try:
            download(source, target, show, self._stop.is_set)
        except DownloadStoppedError as stopped:
            self.status = DownloadStatus("stopped", str(stopped))
        except CRDiffError as problem:
            self.status = DownloadStatus("failed", str(problem))
        except Exception as error:
            _log.exception("The download of %s failed", source.title)
            self.status = DownloadStatus("failed", f"The download failed ({type(error).__name__}: {error}).")
        else:
            self.status = DownloadStatus("done", f"{source.title} is in {target}, and its content was checked.", 1.0)
