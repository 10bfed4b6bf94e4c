"""What the handlers of buttons share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from crdiff.errors import CRDiffError
from crdiff.webui.markup import status_html

QUIET = {"show_progress": False, "queue": False}
"""Options of an event listener whose handler answers at once."""


def guarded(action: Callable[..., list[Any]], on_failure: Callable[[], Sequence[Any]] = tuple) -> Callable[..., Any]:
    """A handler whose last output is a sentence: what the action says, or why it failed.

    Args:
        action: returns the values of the outputs, the last of them a text.
        on_failure: returns the values of the outputs but the last where the action fails.
    """

    def handler(*values: Any) -> Any:
        try:
            *others, text = action(*values)
        except (CRDiffError, OSError) as problem:
            others, message = list(on_failure()), status_html(str(problem), "problem")
        else:
            message = status_html(text)
        return [*others, message] if others else message

    return handler
