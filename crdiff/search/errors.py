"""What ends a search early, each with one sentence for the user. Bad settings raise SettingsError."""

from __future__ import annotations

from crdiff.errors import CRDiffError

STOPPED = "The search was stopped; the best so far is kept."


class JournalError(CRDiffError):
    """A journal that cannot be read or written, or that belongs to another search."""


class AbortSearchError(CRDiffError):
    """Raised by an evaluation to end the search at once, instead of counting as a failed evaluation.

    Attributes:
        state: the search's state then: ``failed``, such as on a switched checkpoint, or ``stopped`` by the user.
    """

    def __init__(self, message: str, state: str = "failed") -> None:
        super().__init__(message)
        self.state = state


class EvaluationError(CRDiffError):
    """Raised by an evaluation of several images that failed for all of them, so that none is tried again alone."""
