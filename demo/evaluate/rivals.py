"""``python -m demo.evaluate.rivals``: the demo's model by ``python -m crdiff evaluate``, as users measure theirs.

Dense, pruned, CR-Diff and what costs no more, on captions that training has not seen, each with a noise of its own. The
same command resumes; with other presets it draws again what they change.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crdiff import console
from crdiff.__main__ import main as crdiff
from crdiff.method.groups import GROUPS
from crdiff.settings import Settings
from demo.evaluate.by_api import webui_at
from demo.evaluate.judge import Interval
from demo.evaluate.model import Drawing
from demo.evaluate.table import gain_text
from demo.prepare import CHECKPOINT, DEMO
from demo.scenes.scene import NATIVE, judging_scenes

_SCALED = f"attention_scale=auto {NATIVE}x{NATIVE}"
WAYS = {
    "dense": "dense",
    "pruned": "pruned",
    "crdiff": "CR-Diff",
    f"attention:{_SCALED}": "attention scale",
    f"crdiff:{_SCALED}": "CR-Diff and attention scale",
    "crdiff:criterion=attenuation": "attenuation",
    "best-of-2": "best of 2 dense",
}
"""The ways as evaluate names them, and for people."""


def table(report: Mapping[str, Any]) -> list[str]:
    """The report's figures as Markdown: shares of captions right and probabilities of the caption, both x 100."""
    heads = ["size (h x w)", "way", "ratios", "k", "UNet passes", "captions right, %", "gain", "score x 100", "gain"]
    lines = [_row(heads), _row(["---"] * len(heads))]
    for size, ways in report["sizes"].items():
        for way in ways:
            settings = Settings.from_dict(way["settings"])
            ratios = [getattr(settings, group) for group in GROUPS]
            pruned = settings.enabled and any(ratios)
            cells = [size, WAYS[way["way"]], "/".join(f"{ratio:g}" for ratio in ratios) if pruned else ""]
            cells += [f"{settings.k:g}" if pruned else "", f"{way['passes']:g}"]
            lines.append(_row([*cells, *_texts(_named(way, "right")), *_texts(_named(way, "score"))]))
    return lines


def _named(way: Mapping[str, Any], metric: str) -> Mapping[str, Any]:
    """The score of a file of this name, which evaluate tells by its code too."""
    found: Mapping[str, Any] = next(score for name, score in way["scores"].items() if name.startswith(f"{metric}-"))
    return found


def _texts(score: Mapping[str, Any]) -> list[str]:
    gain = score["gain"]
    if gain is not None and gain["low"] == gain["high"] == 0.0:
        told = "+0.0 (no caption differs)"
    else:
        told = "" if gain is None else gain_text(Interval(**gain))
    return [str(Interval(**score["mean"])), told]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> int:
    """Evaluates, prints the table, and keeps the report where ``--json`` says."""
    console.allow_any_text()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="+", help="HEIGHTxWIDTH")
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--url", help="of a running demo (default: one is started)")
    parser.add_argument("--out", type=Path, default=Path(".cache/demo/rivals"))
    parser.add_argument("--json", type=Path, help="file for all figures")
    options = parser.parse_args()
    drawing = Drawing()
    with tempfile.TemporaryDirectory(prefix="crdiff-rivals-") as folder, webui_at(options.url, CHECKPOINT) as webui:
        captions, request = Path(folder, "captions.txt"), Path(folder, "request.json")
        captions.write_text("\n".join(scene.caption() for scene in judging_scenes(options.prompts)), encoding="utf-8")
        request.write_text(json.dumps({"scheduler": "Uniform"}), encoding="utf-8")
        given: list[Any] = ["--url", webui.url, "--presets", DEMO, "--prompts", captions, "--request", request]
        given += ["--seeds", 1, "--seed-step", 1, "--steps", drawing.steps, "--cfg-scale", drawing.guidance]
        given += ["--sampler", "DPM++ 2M", "--sizes", *options.sizes, "--ways", *WAYS, "--out", options.out]
        given += ["--metrics", DEMO / "right.py", DEMO / "score.py"]
        status = crdiff(["evaluate", *map(str, given)])
    if status == 0:
        text = (options.out / "report.json").read_text(encoding="utf-8")
        if options.json:
            options.json.write_text(text + "\n", encoding="utf-8")
        print(*table(json.loads(text)), sep="\n")
    return status


if __name__ == "__main__":
    raise SystemExit(main())
