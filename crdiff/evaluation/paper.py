"""What the paper's tables and figures compare, and its figures (arXiv 2604.05524), to hold one's own against.

Steps, guidance, seed and k of an evaluation are those of the authors' POA_inference.py by default: 30, 7.5, 42 and 1.5,
with the checkpoint's own scheduler. Their prompts are COCO's, see ``prompts``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from crdiff.errors import SettingsError
from crdiff.models.family import OTHER, Family
from crdiff.presets.size import Size

ALL_METRICS = ("fid", "clip", "imagereward-256", "pickscore", "aesthetic")
BEST, BEST_BY = "best", "imagereward-256"
"""Among the published figures: the share of prompts in which a way has the highest score, and by which metric."""

Sizes = Mapping[str, tuple[str, ...]]
_SMALL = ("400x560", "480x360")
_UNSEEN: Sizes = {"sdxl": ("512x512", *_SMALL), "sd15": (*_SMALL, "768x768"), "sd21": (*_SMALL, "768x768")}
_DEFAULT: Sizes = {"sdxl": ("1024x1024",), "sd15": ("512x512",), "sd21": ("512x512",)}
_SHARED: Sizes = dict.fromkeys(("sdxl", "sd15", "sd21"), ("512x512", *_SMALL))
_ALL: Sizes = {
    "sdxl": ("1024x1024", "512x512", *_SMALL, "1536x1536"),
    **dict.fromkeys(("sd15", "sd21"), ("512x512", *_SMALL, "768x768")),
}
_SDXL_512: Sizes = {"sdxl": ("512x512",)}


@dataclass(frozen=True)
class Table:
    """A table or figure of the paper.

    Attributes:
        title: what it compares.
        sizes: by family.
        ways: that it compares; gains are over the first.
        metrics: that it has.
    """

    title: str
    sizes: Sizes
    ways: tuple[str, ...] = ("dense", "crdiff")
    metrics: tuple[str, ...] = ALL_METRICS

    def sizes_of(self, family: Family | None) -> tuple[Size, ...]:
        """Those of a model.

        Raises:
            SettingsError: the paper has none of its family.
        """
        known = family or OTHER
        if known.value not in self.sizes:
            raise SettingsError(f"The paper has no figures of {known.label} in this place; --sizes may still be given.")
        return tuple(map(Size.parse, self.sizes[known.value]))


TABLES: Mapping[str, Table] = {
    "table1": Table("dense and CR-Diff at unseen sizes", _UNSEEN),
    "table2": Table("dense and CR-Diff at the default sizes", _DEFAULT),
    "table4": Table("what amplification adds to the pruned model", _SHARED, ("pruned", "crdiff"), ("imagereward-256",)),
    "table5": Table("the amplification k", _SDXL_512, ("crdiff:k=1.5", "crdiff:k=2", "crdiff:k=2.5")),
    "table7": Table("pruned and CR-Diff at all sizes", _ALL, ("pruned", "crdiff")),
    "table8": Table("SDXL at a larger size", {"sdxl": ("1536x1536",)}),
    "fig2": Table(
        "uniform magnitude pruning from 0 to 40 %",
        _SDXL_512,
        ("dense", *(f"crdiff:ratios={r}/{r}/{r}:k=1" for r in (0.1, 0.2, 0.3, 0.4))),
        ("imagereward-256", "fid"),
    ),
    "fig8": Table(
        "criteria, which go by a calibration (--calibrate)",
        _SDXL_512,
        ("dense", "crdiff", "crdiff:criterion=wanda", "crdiff:criterion=obs-diff", "crdiff:criterion=taylor"),
    ),
}


def published(family: Family | None, size: Size, way: str) -> Mapping[str, float]:
    """The paper's figures of a way, by metric; empty where it has none."""
    return _figures().get((family or OTHER).value, {}).get(str(size), {}).get(way, {})


@cache
def _figures() -> Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]:
    content: Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]] = json.loads(
        Path(__file__).with_name("paper.json").read_text(encoding="utf-8")
    )
    return content
