"""Scores without images: smooth hills over the ratios, a little different for each prompt and seed."""

from __future__ import annotations

import math
import random

from crdiff.search.objective import Objective

PROMPTS = ("a cat", "a dog", "a tree")
SEEDS = (1, 2)


def hill(point, prompt, seed):
    """A score in [0, 1] with its top near 0.45/0.25/0.55; other prompts and seeds shift it."""
    rng = random.Random(f"{prompt}/{seed}")
    top = [0.45, 0.25, 0.55]
    away = math.fsum((ratio - middle - rng.uniform(-0.05, 0.05)) ** 2 for ratio, middle in zip(point.ratios, top))
    return 0.95 * math.exp(-6.0 * away - 0.2 * (point.k - 1.5) ** 2) + rng.uniform(0.0, 0.05)


class Counted:
    """A scorer that keeps what it was asked for."""

    def __init__(self, score=hill):
        self.score = score
        self.asked = []

    def __call__(self, point, prompt, seed):
        self.asked.append((point, prompt, seed))
        return self.score(point, prompt, seed)


def objective(evaluate=hill, **values):
    values.setdefault("highest", 1.0)
    return Objective(values.pop("prompts", PROMPTS), values.pop("seeds", SEEDS), evaluate=evaluate, **values)


def course(report):
    """What the strategy saw: all but what depends on how much was drawn."""
    return [(entry.number, entry.point, entry.kind, entry.accepted) for entry in report.history]
