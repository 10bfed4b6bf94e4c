"""Jobs asked for by the API: each is a call of the host's own API, in a thread that waits in the host's queue."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from crdiff.errors import CRDiffError

_log = logging.getLogger("crdiff")

REMEMBERED = 100
"""How many ended jobs can still be asked about."""
_POLL_S = 0.02
_ACCEPTED_WITHIN_S = 10.0


class StoppedBeforeStartError(CRDiffError):
    """The job was stopped while it waited in the queue."""


@dataclass
class ApiJob:
    """One job, as the script that runs it gets it from the API.

    Attributes:
        kind: what it is, such as search.
        request: what is asked for.
        monitor: a JobMonitor; it says running while the job still waits.
        name: the id clients know it by.
        refusal: what the host's API raised before it queued the job.
    """

    kind: str
    request: Any
    monitor: Any
    name: str = field(default_factory=lambda: secrets.token_hex(8))
    refusal: Exception | None = None
    thread: threading.Thread | None = None
    _accepted: bool = False
    _begun: bool = False
    _stopped: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def task(self) -> str:
        """The host's name of the job."""
        return f"task(crdiff-{self.kind}-{self.name})"

    @property
    def alive(self) -> bool:
        """Whether it waits or runs."""
        return self.thread is not None and self.thread.is_alive()

    def begin(self) -> None:
        """Called when its turn in the queue has come.

        Raises:
            StoppedBeforeStartError: it has been stopped meanwhile.
        """
        with self._lock:
            if self._stopped:
                raise StoppedBeforeStartError(self.monitor.status.message)
            self._begun = True

    def give_up(self) -> bool:
        """Give up its place in the queue; False if its turn has come."""
        with self._lock:
            if self._begun:
                return False
            self._stopped = True
            self.monitor.update(state="stopped", message=f"The {self.kind} was stopped before it began.")
            return True


class ApiJobs:
    """The jobs of one kind of this WebUI's API."""

    def __init__(self) -> None:
        self._jobs: dict[str, ApiJob] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> ApiJob | None:
        """The job of this id; None if there is none."""
        return self._jobs.get(name)

    def start(self, job: ApiJob, call: Callable[[], Any]) -> None:
        """Run ``call``, the host's API call that ends in the job, and wait until the host has queued it.

        Raises:
            Exception: what the host refused the job with, before it was queued; the job is forgotten then.
        """
        job.thread = threading.Thread(target=_run, args=(job, call), name=job.task, daemon=True)
        with self._lock:
            self._jobs[job.name] = job
            ended = [name for name, other in self._jobs.items() if not other.alive and other is not job]
            for name in ended[: max(0, len(self._jobs) - REMEMBERED)]:
                del self._jobs[name]
        job.thread.start()
        end = time.monotonic() + _ACCEPTED_WITHIN_S
        while job.alive and not _queued(job.task) and time.monotonic() < end:
            time.sleep(_POLL_S)
        # An error keeps everything alive that its traceback refers to, so that it is not held on to.
        job._accepted = True
        refusal, job.refusal = job.refusal, None
        if not job.alive and refusal is not None:
            with self._lock:
                self._jobs.pop(job.name, None)
            raise refusal

    def stop(self, job: ApiJob, patience_s: float = 10.0) -> None:
        """Ask a job to stop, and wait for a while until it has."""
        from modules import progress, shared

        if not job.alive or job.give_up():
            return
        end = time.monotonic() + patience_s
        interrupted = False
        while job.alive and time.monotonic() < end:
            job.monitor.stop_requested = True
            if not interrupted and progress.current_task == job.task:
                interrupted = True
                shared.state.interrupt()
            time.sleep(_POLL_S)


def _queued(task: str) -> bool:
    from modules import progress

    return task in progress.pending_tasks or task == progress.current_task


def _run(job: ApiJob, call: Callable[[], Any]) -> None:
    from modules import progress

    monitor = job.monitor
    try:
        call()
        if monitor.status.state == "running":
            monitor.update(state="failed", message=f"The host ended the job before the {job.kind} did.")
    except StoppedBeforeStartError:
        pass
    except Exception as error:
        if not job._accepted:
            job.refusal = error
        if not isinstance(error, CRDiffError):
            _log.exception("A %s by the API failed", job.kind)
        monitor.update(state="failed", message=sentence(error))
    finally:
        # Hosts leave a failed job of their API marked as running, and one stopped in the queue as waiting.
        progress.finish_task(job.task)
        progress.pending_tasks.pop(job.task, None)


def sentence(error: Exception) -> str:
    """What a client is told about an error."""
    detail = getattr(error, "detail", None)  # the text of a FastAPI error
    text = detail if isinstance(detail, str) and detail else str(error)
    if isinstance(error, CRDiffError) or detail:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
