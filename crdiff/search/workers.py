"""The workers of one Optuna study: which of them live, and which one has the study to itself.

While a worker runs a trial it shows there that it lives. If it has not for a while it has died, and its trial is given
up.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from crdiff.search.errors import STOPPED, AbortSearchError

_ALIVE = "crdiff_alive"
_CLAIM = "crdiff_claim"
_BEAT_S = 30.0
_POLL_S = 1.0
LOST_AFTER_S = 300.0
"""A worker that has not shown for so long that it lives has died; clocks may differ by less than that."""


class Workers:
    """What a worker knows of the others.

    Args:
        study: theirs.
    """

    def __init__(self, study: optuna.Study) -> None:
        self._study = study

    def give_up_lost_trials(self) -> None:
        """End the trials of workers that have died."""
        for trial in self._running():
            begun = trial.datetime_start.timestamp() if trial.datetime_start else 0.0
            if time.time() - trial.user_attrs.get(_ALIVE, begun) > LOST_AFTER_S:
                self._give_up(trial)

    @contextmanager
    def alive(self, trial: optuna.Trial | FrozenTrial) -> Iterator[None]:
        """Within the block, in which this worker is at a trial, others see that it lives."""
        over = threading.Event()

        def beat() -> None:
            while True:
                with suppress(Exception):  # a storage that fails now and then is told of where it matters
                    self._study._storage.set_trial_user_attr(trial._trial_id, _ALIVE, time.time())
                if over.wait(_BEAT_S):
                    return

        beating = threading.Thread(target=beat, daemon=True)
        beating.start()
        try:
            yield
        finally:
            over.set()
            beating.join()

    @contextmanager
    def alone(self, should_stop: Callable[[], bool]) -> Iterator[None]:
        """Within the block no other worker is at a trial or in such a block; before it they are waited for.

        Raises:
            AbortSearchError: stopped while waiting.
        """
        while (claim := self._claimed()) is None:
            if should_stop():
                raise AbortSearchError(STOPPED, "stopped")
            time.sleep(_POLL_S)
        try:
            with self.alive(claim):
                yield
        finally:
            self._give_up(claim)

    def _claimed(self) -> FrozenTrial | None:
        """A trial that keeps the others waiting; None while one of them is at work."""
        self.give_up_lost_trials()
        if self._running():
            return None
        mine = uuid.uuid4().hex
        self._study.add_trial(create_trial(state=TrialState.RUNNING, user_attrs={_CLAIM: mine, _ALIVE: time.time()}))
        running = self._running()
        claim = next(trial for trial in running if trial.user_attrs.get(_CLAIM) == mine)
        if claim is running[0]:  # of several at once the one that the storage numbered first
            return claim
        self._give_up(claim)
        return None

    def _running(self) -> list[FrozenTrial]:
        running = self._study.get_trials(deepcopy=False, states=[TrialState.RUNNING])
        return sorted(running, key=lambda trial: trial.number)

    def _give_up(self, trial: FrozenTrial) -> None:
        self._study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
