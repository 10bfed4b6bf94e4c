"""What the search's buttons answer: one sentence where the user looks, whatever happens."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

from crdiff.errors import CRDiffError

QUIET = {"show_progress": False, "queue": False}


def message_html(text: str, level: str = "ok") -> str:
    """A sentence as the page shows it; ``level`` as in the status line."""
    return f'<p class="crdiff-status crdiff-{level}">{html.escape(text)}</p>' if text else ""


def guarded(action: Callable[..., list[Any]], *failed: Any) -> Callable[..., Any]:
    """The action's answer, its last part shown as a message; where it fails, ``failed`` and a message why."""

    def run(*values: Any) -> Any:
        try:
            *others, message = action(*values)
        except (CRDiffError, OSError) as problem:
            others, text = list(failed), message_html(str(problem), "problem")
        else:
            text = message_html(message)
        return [*others, text] if others else text

    return run
