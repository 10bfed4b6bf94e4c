"""Searches asked for by the API: each runs as the host's own API job, in a thread that waits in the host's queue."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from crdiff.errors import CRDiffError
from crdiff.webui.search.board import Board, Standing

if TYPE_CHECKING:
    from crdiff.webui.search.plan import SearchPlan

_log = logging.getLogger("crdiff")

KEPT = 100
"""Searches that have ended and can still be asked about."""
_POLL_S = 0.02
_ACCEPTED_WITHIN_S = 10.0
_NEVER_BEGAN = "The search was stopped before it began."


class StoppedBeforeStartError(CRDiffError):
    """The search was stopped while it waited in the queue."""


@dataclass
class Order:
    """One search, as the search script is handed it in place of a plan.

    Attributes:
        plan: what to search.
        name: the id clients know it by.
        board: how it stands.
        refusal: what the host's API raised before it queued the job.
    """

    plan: SearchPlan
    name: str = field(default_factory=lambda: secrets.token_hex(8))
    board: Board = field(default_factory=Board)
    refusal: Exception | None = None
    thread: threading.Thread | None = None
    _accepted: bool = False
    _begun: bool = False
    _stopped: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def task(self) -> str:
        """The host's name of the job."""
        return f"task(crdiff-search-{self.name})"

    @property
    def alive(self) -> bool:
        """Whether it waits or runs."""
        return self.thread is not None and self.thread.is_alive()

    def begin(self) -> None:
        """Called when its turn in the queue has come."""
        with self._lock:
            if self._stopped:
                raise StoppedBeforeStartError(_NEVER_BEGAN)
            self._begun = True

    def give_up(self) -> bool:
        """Give up its place in the queue; False if its turn has come."""
        with self._lock:
            if self._begun:
                return False
            self._stopped = True
            self.board.update(state="stopped", message=_NEVER_BEGAN)
            return True


class Orders:
    """The searches of this WebUI's API."""

    def __init__(self) -> None:
        self._orders: dict[str, Order] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> Order | None:
        """The search of this id; None if there is none."""
        return self._orders.get(name)

    def place(self, order: Order, job: Callable[[], Any]) -> None:
        """Run ``job``, the host's API call that ends in the search, and wait until the host has queued it.

        Raises:
            Exception: what the host refused the job with, before it was queued; the order is not kept then.
        """
        order.board.begin(Standing("running", "Waiting in the host's queue.", evaluations=order.plan.evaluations))
        order.thread = threading.Thread(target=_run, args=(order, job), name=order.task, daemon=True)
        with self._lock:
            self._orders[order.name] = order
            ended = [name for name, other in self._orders.items() if not other.alive and other is not order]
            for name in ended[: max(0, len(self._orders) - KEPT)]:
                del self._orders[name]
        order.thread.start()
        end = time.monotonic() + _ACCEPTED_WITHIN_S
        while order.alive and not _queued(order.task) and time.monotonic() < end:
            time.sleep(_POLL_S)
        # An error holds on to everything that was alive where it came up, so that none is kept.
        order._accepted = True
        refusal, order.refusal = order.refusal, None
        if not order.alive and refusal is not None:
            with self._lock:
                self._orders.pop(order.name, None)
            raise refusal

    def stop(self, order: Order, patience_s: float = 10.0) -> None:
        """Ask a search to stop, and wait for a while until it has."""
        from modules import progress, shared

        if not order.alive or order.give_up():
            return
        end = time.monotonic() + patience_s
        interrupted = False
        while order.alive and time.monotonic() < end:
            order.board.stop_asked = True
            if not interrupted and progress.current_task == order.task:
                interrupted = True
                shared.state.interrupt()
            time.sleep(_POLL_S)


def _queued(task: str) -> bool:
    from modules import progress

    return task in progress.pending_tasks or task == progress.current_task


def _run(order: Order, job: Callable[[], Any]) -> None:
    from modules import progress

    board = order.board
    try:
        job()
        if board.current.state == "running":
            board.update(state="failed", message="The host ended the job before the search did.")
    except StoppedBeforeStartError:
        pass
    except Exception as error:
        if not order._accepted:
            order.refusal = error
        if not isinstance(error, CRDiffError):
            _log.exception("A search by the API failed")
        board.update(state="failed", message=sentence(error))
    finally:
        # Hosts leave a failed job of their API marked as running, and one stopped in the queue as waiting.
        progress.finish_task(order.task)
        progress.pending_tasks.pop(order.task, None)
        board.update(dense=None, best=None)  # only the page shows them


def sentence(error: Exception) -> str:
    """What a client is told about an error."""
    detail = getattr(error, "detail", None)  # the text of a FastAPI error
    text = detail if isinstance(detail, str) and detail else str(error)
    if isinstance(error, CRDiffError) or detail:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
