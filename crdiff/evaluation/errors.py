"""What ends an evaluation, with one sentence for the user."""

from __future__ import annotations

from crdiff.errors import CRDiffError


class EvaluationError(CRDiffError):
    """Something is missing, or an image could not be drawn; what has been drawn is kept."""
