"""What a scene is, and its caption."""

from __future__ import annotations

import itertools
import random
import re
import zlib
from dataclasses import dataclass

KINDS = ("house", "tree", "boat", "fish", "mushroom", "star")
COLOURS = ("red", "orange", "yellow", "blue", "purple", "white")
TIMES = ("day", "sunset", "night")

NATIVE = 128
"""Height and width in pixels of every image the demo model was trained on."""

OTHER_SIZES = ((80, 128), (88, 128), (96, 128), (96, 144), (112, 112), (128, 112), (128, 144))
"""Heights and widths at which it is measured besides, chosen where it fails in part."""

HELD_OUT = 0.2
"""Share of all captions that training never sees."""

SEARCH_POOL = 100
"""How many of the held-out scenes are for finding presets; the others are for judging them."""

_WHEN = {"day": "by day", "sunset": "at sunset", "night": "at night"}
_CAPTION = re.compile(
    rf"an? ({'|'.join(COLOURS)}) ({'|'.join(KINDS)}) left of an? ({'|'.join(COLOURS)}) ({'|'.join(KINDS)}), "
    rf"({'|'.join(_WHEN.values())})"
)


@dataclass(frozen=True)
class Thing:
    """One thing: a kind and its colour."""

    kind: str
    colour: str

    def __str__(self) -> str:
        article = "an" if self.colour[0] in "aeiou" else "a"
        return f"{article} {self.colour} {self.kind}"


@dataclass(frozen=True)
class Scene:
    """Two things, the first left of the second."""

    left: Thing
    right: Thing
    time: str

    def caption(self) -> str:
        """The prompt the demo model understands."""
        return f"{self.left} left of {self.right}, {_WHEN[self.time]}"

    @classmethod
    def from_caption(cls, text: str) -> Scene:
        """The scene of a caption.

        Raises:
            ValueError: the text is no caption of this world.
        """
        found = _CAPTION.fullmatch(text.strip().lower())
        if found is None:
            raise ValueError(f"'{text}' is no caption such as '{EXAMPLE.caption()}'.")
        when = next(time for time, words in _WHEN.items() if words == found[5])
        return cls(Thing(found[2], found[1]), Thing(found[4], found[3]), when)

    def is_held_out(self) -> bool:
        """Whether training leaves this scene out. A fixed property of the caption."""
        return zlib.crc32(self.caption().encode()) % 1000 < HELD_OUT * 1000


EXAMPLE = Scene(Thing("house", "red"), Thing("tree", "yellow"), "day")


def all_scenes() -> list[Scene]:
    """Every scene: two things that differ in kind and in colour, at every time."""
    things = [Thing(kind, colour) for kind in KINDS for colour in COLOURS]
    pairs = [(a, b) for a, b in itertools.product(things, things) if a.kind != b.kind and a.colour != b.colour]
    return [Scene(left, right, time) for left, right in pairs for time in TIMES]


def held_out() -> list[Scene]:
    """The scenes that training never saw, in a fixed order at random."""
    pool = [scene for scene in all_scenes() if scene.is_held_out()]
    return random.Random(0).sample(pool, len(pool))


def search_scenes(count: int) -> list[Scene]:
    """Scenes to find presets with, at most ``SEARCH_POOL``; ``judging_scenes`` gives none of them."""
    return held_out()[: min(count, SEARCH_POOL)]


def judging_scenes(count: int) -> list[Scene]:
    """Scenes to judge by, which neither training nor the search for presets has seen."""
    return held_out()[SEARCH_POOL : SEARCH_POOL + count]
