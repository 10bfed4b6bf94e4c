"""The plan of an evaluation: which images are drawn, in which order, and what each is called."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from crdiff.errors import SettingsError
from crdiff.evaluation.candidates import SHIFT, seeds_of
from crdiff.evaluation.ways import DENSE, Drawing
from crdiff.presets.size import Size

_KEY_DIGITS = 16
_SLUG = 40


@dataclass(frozen=True)
class Item:
    """One image.

    Attributes:
        size: that is wanted; a way may draw at another and scale.
        drawing: the way.
        prompt: of it.
        seed: of its noise.
    """

    size: Size
    drawing: Drawing
    prompt: str
    seed: int

    @property
    def candidates(self) -> list[Item]:
        """The images that are drawn for it: itself, or dense ones of which the best is taken."""
        own = self.drawing
        if own.candidates == 1:
            return [self]
        dense = Drawing(DENSE, own.settings, own.size, own.passes / own.candidates, "the model as it is")
        return [Item(self.size, dense, self.prompt, seed) for seed in seeds_of(self.seed, own.candidates)]

    @property
    def key(self) -> str:
        """The same for images that are the same, whatever evaluation asks for them."""
        content = json.dumps([str(self.size), self.drawing.key, self.prompt, self.seed])
        return hashlib.sha256(content.encode()).hexdigest()[:_KEY_DIGITS]

    @property
    def file(self) -> PurePosixPath:
        """Where it is kept, in the evaluation's folder."""
        folder = re.sub(r"[^A-Za-z0-9.=-]+", "-", self.drawing.way)
        prompt = re.sub(r"[^a-z0-9]+", "-", self.prompt.lower())[:_SLUG].strip("-")
        return PurePosixPath("images", str(self.size), folder, f"{prompt}-{self.seed}-{self.key}.png")


@dataclass(frozen=True)
class Shard:
    """A share of the images, so that several machines draw them together."""

    number: int = 1
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """From ``number/of``, such as ``2/8``.

        Raises:
            SettingsError: it is no such text.
        """
        match = re.fullmatch(r"(\d{1,4})/(\d{1,4})", text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise SettingsError(f"A share of the images is written NUMBER/OF, such as 2/8, not {text!r}.")
        return cls(int(match[1]), int(match[2]))


@dataclass(frozen=True)
class Plan:
    """What is compared.

    Attributes:
        prompts: every one of them, in order; one that is named twice counts twice and is drawn once.
        seeds: each prompt is drawn with every one.
        drawings: of each size, its ways.
        seed_step: by how much the seeds of a prompt are above those of the prompt before it.

    Raises:
        SettingsError: candidates of one seed, of which the best is to be taken, would be those of another.
    """

    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    drawings: Mapping[Size, Sequence[Drawing]]
    seed_step: int = 0

    def __post_init__(self) -> None:
        most = max((drawing.candidates for ways in self.drawings.values() for drawing in ways), default=1)
        own = {(text, seed) for place, text in enumerate(self.prompts) for seed in self.seeds_at(place)}
        drawn = [(text, candidate) for text, seed in own for candidate in seeds_of(seed, most)]
        if len(set(drawn)) < len(drawn):
            raise SettingsError(f"Seeds that lie {SHIFT} apart would be drawn twice by best-of-{most}: choose others.")

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        drawings = {str(size): [drawing.to_dict() for drawing in ways] for size, ways in self.drawings.items()}
        step = {"seed_step": self.seed_step} if self.seed_step else {}
        return {"prompts": list(self.prompts), "seeds": list(self.seeds), **step, "sizes": drawings}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Plan:
        """The inverse of ``to_dict``.

        Raises:
            ValueError, KeyError, TypeError, CRDiffError: it is of another form.
        """
        sizes = {Size.parse(size): [*map(Drawing.from_dict, ways)] for size, ways in values["sizes"].items()}
        return cls(tuple(values["prompts"]), tuple(values["seeds"]), sizes, values.get("seed_step", 0))

    def seeds_at(self, place: int) -> tuple[int, ...]:
        """The seeds of the prompt in this place."""
        return tuple(seed + place * self.seed_step for seed in self.seeds)

    def items(self, shard: Shard = Shard()) -> list[Item]:
        """The images to draw, each once: for a size all ways of a prompt and seed, before the next.

        Args:
            shard: the share; the ways of a prompt and seed are always in the same one.
        """
        seeds = [self.seeds_at(place) for place in range(len(self.prompts))]
        pairs = dict.fromkeys(pair for row in zip(*seeds) for pair in zip(self.prompts, row))
        cells = [(size, *pair) for size in self.drawings for pair in pairs]
        found: dict[str, Item] = {}
        for size, text, seed in cells[shard.number - 1 :: shard.of]:
            for drawing in self.drawings[size]:
                for item in Item(size, drawing, text, seed).candidates:
                    found.setdefault(item.key, item)
        return list(found.values())
