"""The scores as the page lists them: each with what it needs, or that it can be used."""

from __future__ import annotations

import html
from collections.abc import Mapping

from crdiff.scoring.sources import HUB

_READY = "can be used"
_DOWNLOAD = "needs its files: Advanced, Files of the scores"


def scores_html(problems: Mapping[str, str | None]) -> str:
    """The table.

    Args:
        problems: by name; None for a score that can be used. One that names addresses is of a model whose files are
            missing: what they are stands beside the button that downloads them, and in the row's tooltip.
    """
    return f'<table class="crdiff-scores">{"".join(_row(*one) for one in problems.items())}</table>'


def _row(name: str, problem: str | None) -> str:
    text = _READY if problem is None else _DOWNLOAD if HUB in problem else problem
    title = "" if problem is None else f' title="{html.escape(problem)}"'
    return f"<tr{title}><th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>"
