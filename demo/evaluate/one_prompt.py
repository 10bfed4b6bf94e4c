"""``python -m demo.evaluate.one_prompt``: does a search for one prompt pay on noises that it has not seen?

Every score is that of an image of a landscape (``demo.evaluate.landscape``), and a search tries its configurations, so
that hundreds of searches of each caption cost nothing. Each begins at the preset, the configuration that is best for
the other captions, tries random ones on some of the caption's noises and lets the best few and the preset race on
others. Its find is judged by the noises left.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crdiff import console
from crdiff.search.fresh import FINALISTS, Gain, race
from crdiff.search.objective import Image
from demo.evaluate.landscape import FOLDER, Landscape

_Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Costs:
    """What a search may draw.

    Attributes:
        configurations: that are tried, the preset among them.
        noises: of each.
        rounds: noises of the race.
    """

    configurations: int
    noises: int
    rounds: int

    @property
    def images(self) -> int:
        """At most."""
        return self.configurations * self.noises + (FINALISTS + 1) * self.rounds


def found(scores: _Scores, preset: int, costs: Costs, random: np.random.Generator) -> tuple[int, list[int]]:
    """The configuration that one search ends with, and the noises that it has not seen.

    Args:
        scores: of one caption, ``[configurations, noises]``.
        preset: where the search begins.
        costs: what it may draw.
        random: which configurations it tries, and the order of the noises.
    """
    noises = [int(noise) for noise in random.permutation(scores.shape[1])]
    seen, fresh = noises[: costs.noises], noises[costs.noises : costs.noises + costs.rounds]
    others = [int(one) for one in random.permutation(len(scores)) if one != preset][: costs.configurations - 1]
    tried = {one: scores[one, seen].tolist() for one in (preset, *others)}
    best = sorted(others, key=lambda one: -sum(tried[one]))[:FINALISTS]

    def drawn(one: int, images: Sequence[Image]) -> list[float]:
        return [float(scores[one, noise]) for _, noise in images]

    winner = race({one: tried[one] for one in (preset, *best)}, [[("", noise)] for noise in fresh], drawn)
    return winner, noises[costs.noises + costs.rounds :]


def gains(landscape: Landscape, costs: Costs, searches: int) -> _Scores:
    """Of each caption the mean score of the finds beyond the preset's, on unseen noises, over searches."""
    scores = landscape.scores[1:].reshape(len(landscape.scores) - 1, -1, landscape.noises) / 255.0
    random, gained = np.random.default_rng(0), []
    for caption in range(scores.shape[1]):
        preset = int(np.delete(scores, caption, axis=1).mean(axis=(1, 2)).argmax())
        own, differences = scores[:, caption], []
        for _ in range(searches):
            winner, unseen = found(own, preset, costs, random)
            differences.append(float((own[winner, unseen] - own[preset, unseen]).mean()))
        gained.append(float(np.mean(differences)))
    return np.array(gained)


def main() -> None:
    """Prints the gains at each size, of searches within a budget and of those that try every configuration."""
    console.allow_any_text()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", help="HEIGHTxWIDTH (default: all landscapes)")
    parser.add_argument("--configurations", type=int, default=12)
    parser.add_argument("--noises", type=int, default=4, help="of each configuration")
    parser.add_argument("--rounds", type=int, default=2, help="noises of the race")
    parser.add_argument("--searches", type=int, default=200, help="of each caption")
    parser.add_argument("--landscapes", type=Path, default=FOLDER)
    options = parser.parse_args()
    for path in sorted(options.landscapes.glob("*.npz")):
        if options.sizes and path.stem not in options.sizes:
            continue
        landscape = Landscape.read(path)
        for configurations in (options.configurations, len(landscape.points) - 1):
            costs = Costs(configurations, options.noises, options.rounds)
            by_caption = gains(landscape, costs, options.searches)
            gain = Gain.of(by_caption.tolist())
            shown = f"{configurations} configurations, {costs.images} images at most"
            interval = f"({100 * gain.low:+.1f} to {100 * gain.high:+.1f})"
            print(f"{path.stem}, {shown}: {100 * gain.value:+.1f} {interval}", flush=True)


if __name__ == "__main__":
    main()
