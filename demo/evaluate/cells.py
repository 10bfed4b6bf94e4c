"""What was measured of criteria, as it is kept in files and looked up for tables and plots."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crdiff.files import write_atomically
from crdiff.pruning.registry import CRITERIA, DEFAULT_CRITERION
from demo.evaluate.judge import Interval, gain_interval, mean_interval
from demo.scenes.scene import NATIVE

DENSE_NAME = "dense"
MAIN = ("k = 1", "k varied")
"""What is varied for every criterion: keys of ``VARIED``."""

Key = tuple[str, str, str, str]
"""Size, criterion, size it is calibrated at, and what is varied."""


@dataclass(frozen=True)
class Cell:
    """One criterion at one size, judged.

    Attributes:
        size: height x width in pixels.
        criterion: its name; ``dense`` for the model as it is.
        calibrated: size of the images whose inputs it knows, empty if it knows none.
        varied: a key of ``VARIED``, empty for the dense model.
        ratios: found by the search, down, mid, up.
        k: found, or 1.
        passes: UNet passes a step.
        right: a digit for every image, scene by scene: 1 where the caption is right.
        scores: of every image, x 1000.
    """

    size: str
    criterion: str
    calibrated: str
    varied: str
    ratios: tuple[float, float, float]
    k: float
    passes: float
    right: str
    scores: tuple[int, ...]

    @property
    def key(self) -> Key:
        return self.size, self.criterion, self.calibrated, self.varied

    @property
    def label(self) -> str:
        """The criterion, and whether it is calibrated at the size itself instead of at the one of training."""
        away = self.calibrated not in ("", f"{NATIVE}x{NATIVE}")
        return f"{self.criterion}, calibrated at each size" if away else self.criterion

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Cell:
        """The cell of a JSON object."""
        return cls(**{**values, "ratios": tuple(values["ratios"]), "scores": tuple(values["scores"])})


@dataclass(frozen=True)
class Protocol:
    """How configurations are found and judged; what was measured under another one is measured again."""

    checkpoint: str
    evaluations: int
    search_prompts: int
    search_seeds: int
    prompts: int
    seeds: int
    steps: int


@dataclass(frozen=True)
class Measured:
    """The cells of one protocol.

    Attributes:
        protocol: of all of them.
        cells: by key, in the order of measuring.
    """

    protocol: Protocol
    cells: dict[Key, Cell]

    @classmethod
    def read(cls, path: Path) -> Measured:
        """The content of a file.

        Raises:
            OSError, ValueError, KeyError, TypeError: there is none, or not of this form.
        """
        kept = json.loads(path.read_text("utf-8"))
        cells = map(Cell.from_dict, kept["cells"])
        return cls(Protocol(**kept["protocol"]), {cell.key: cell for cell in cells})

    @classmethod
    def read_all(cls, paths: Sequence[Path]) -> Measured:
        """What several files hold together.

        Raises:
            ValueError: they were not measured in the same way.
        """
        first, *others = map(cls.read, paths)
        if any(other.protocol != first.protocol for other in others):
            raise ValueError("The files were not measured in the same way.")
        return cls(first.protocol, {key: cell for one in (first, *others) for key, cell in one.cells.items()})

    def write(self, path: Path) -> None:
        """Keep all of it.

        Raises:
            OSError: the file cannot be written.
        """
        lines = ",\n".join(json.dumps(asdict(cell)) for cell in self.cells.values())
        text = f'{{"protocol": {json.dumps(asdict(self.protocol))},\n"cells": [\n{lines}\n]}}\n'
        write_atomically(path, text.encode())

    def sizes(self) -> list[str]:
        """All sizes, the smallest first."""
        return sorted({cell.size for cell in self.cells.values()}, key=lambda size: [*map(int, size.split("x"))])

    def of(self, size: str, label: str, varied: str) -> Cell | None:
        """A criterion at a size, by its label; None if it was not measured."""
        found = (cell for cell in self.cells.values() if (cell.size, cell.label, cell.varied) == (size, label, varied))
        return next(found, None)

    def labels(self, varied: str) -> list[str]:
        """The criteria that were measured with something varied, in the order of the registry."""
        names = {cell.label for cell in self.cells.values() if cell.varied == varied and cell.criterion != DENSE_NAME}
        order = list(CRITERIA)
        return sorted(names, key=lambda label: (order.index(label.partition(",")[0]), label))

    def right(self, cell: Cell) -> Interval:
        """The share of captions that are right."""
        return mean_interval(self.by_caption(cell))

    def gain(self, cell: Cell, other: Cell | None) -> Interval | None:
        """Of captions that are right, beyond another cell, caption by caption; None without another one.

        Of the captions of both, where one was judged by the first ones only.
        """
        if other is None or other is cell:
            return None
        ours, others = self.by_caption(cell), self.by_caption(other)
        common = min(len(ours), len(others))
        return gain_interval(ours[:common], others[:common])

    def beyond_dense(self, cell: Cell) -> Interval | None:
        """The gain over the model as it is."""
        return self.gain(cell, self.of(cell.size, DENSE_NAME, ""))

    def beyond_magnitude(self, cell: Cell) -> Interval | None:
        """The gain over the paper's criterion, with the same varied."""
        return self.gain(cell, self.of(cell.size, DEFAULT_CRITERION, cell.varied))

    def by_caption(self, cell: Cell) -> NDArray[np.float64]:
        """The share of a cell's images that are right, for every scene."""
        return np.array([float(one) for one in cell.right]).reshape(-1, self.protocol.seeds).mean(axis=1)


def table(measured: Measured, cells: Iterable[Cell]) -> list[str]:
    """Markdown with a line for each cell: what was found, the share of captions right, and the gains."""
    heads = ["size (h x w)", "criterion", "varied", "ratios", "k", "passes", "captions right, %"]
    lines = [row([*heads, "beyond dense", "beyond magnitude"]), row(["---"] * 9)]
    for cell in cells:
        dense = cell.criterion == DENSE_NAME
        ratios = "-" if dense else "/".join(f"{ratio:.3g}" for ratio in cell.ratios)
        k = "-" if dense else f"{cell.k:.2f}"
        found = [cell.size, cell.label, cell.varied, ratios, k, f"{cell.passes:.2f}", str(measured.right(cell))]
        gains = measured.beyond_dense(cell), measured.beyond_magnitude(cell)
        lines.append(row([*found, *(gain.as_gain() if gain else "" for gain in gains)]))
    return lines


def row(cells: Iterable[str]) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(cells)} |"
