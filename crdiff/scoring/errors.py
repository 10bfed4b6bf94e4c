"""What keeps a score from being computed, each with one sentence for the user."""

from __future__ import annotations

from crdiff.errors import CRDiffError


class ScoringError(CRDiffError):
    """A scorer that cannot be loaded, or images that cannot be scored."""


class DownloadError(CRDiffError):
    """A download that failed; what was fetched so far is kept where that is of use."""


class DownloadStoppedError(DownloadError):
    """A download that was stopped on request; starting it again resumes it."""
