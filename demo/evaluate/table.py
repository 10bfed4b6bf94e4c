"""The evaluation's figures as Markdown, from the plain JSON they are kept in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from demo.evaluate.compare import RESAMPLED, WAYS
from demo.evaluate.judge import Interval

Figures = Mapping[str, Any]
"""What is kept of one size."""


def tables(found: Sequence[Figures]) -> list[str]:
    """The share of captions right, then the mean probability of the caption, both in percent."""
    return [
        "Captions right, % (95 % interval):", "", *_table(found, "right"), "",
        "Score, the probability of the caption, x 100:", "", *_table(found, "score"),
    ]  # fmt: skip


def summary(found: Sequence[Figures]) -> list[str]:
    """One line a size: the share of captions right, dense and with CR-Diff, and what CR-Diff gains of it."""
    lines = [_row(["size (h x w)", "captions right, dense, %", "CR-Diff", "gain", "gain of the score x 100"])]
    lines.append(_row(["---"] * 5))
    for one in found:
        ours, dense = one["ways"]["CR-Diff"], one["ways"]["dense"]
        gains = [gain_text(Interval(**ours[f"{of}_gain"])) for of in ("right", "score")]
        lines.append(_row([one["size"], _text(dense["right"]), _text(ours["right"]), *gains]))
    return lines


def _table(found: Sequence[Figures], of: str) -> list[str]:
    others = list(dict.fromkeys(name for one in found for name in one.get("others", {})))
    ours = ["CR-Diff", *others]
    ways = [way for way in (*WAYS, *others, RESAMPLED) if any(way in one["ways"] for one in found)]
    counts = {one["best_of"]["n"] for one in found if one["best_of"]}
    heads = ["size (h x w)", "ratios", "k", *(f"{name} by" for name in others), *ways]
    heads += [*(f"gain of {way}" for way in ours), *(f"best of {n} dense" for n in sorted(counts))]
    lines = [_row(heads), _row(["---"] * len(heads))]
    for one in found:
        cells = [
            one["size"],
            _ratios(one),
            f"{one['k']:g}",
            *(_ratios(one.get("others", {}).get(name)) for name in others),
        ]
        cells += [_text(one["ways"].get(way, {}).get(of)) for way in ways]
        cells += [gain_text(Interval(**one["ways"][way][f"{of}_gain"])) if way in one["ways"] else "" for way in ours]
        best = one["best_of"]
        cells += [_text(best[of]) if best and best["n"] == count else "" for count in sorted(counts)]
        lines.append(_row(cells))
    return lines


def _ratios(one: Figures | None) -> str:
    return "" if one is None else "/".join(f"{ratio:g}" for ratio in one["ratios"])


def gain_text(gain: Interval) -> str:
    """A gain, in bold if zero lies outside its interval."""
    return gain.as_gain() if gain.low <= 0.0 <= gain.high else f"**{gain.as_gain()}**"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _text(interval: Mapping[str, float] | None) -> str:
    return str(Interval(**interval)) if interval else ""
