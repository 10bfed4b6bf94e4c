"""Drawing scenes, at any size."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from demo.scenes.scene import COLOURS, KINDS, TIMES, Scene, Thing

RGB = {
    "red": (214, 48, 44), "orange": (240, 138, 36), "yellow": (250, 220, 60), "blue": (52, 104, 222),
    "purple": (150, 70, 190), "white": (246, 246, 240),
}  # fmt: skip
SKY = {"day": ((120, 190, 240), (200, 230, 250)), "sunset": ((226, 120, 110), (250, 196, 150)),
       "night": ((16, 22, 52), (48, 58, 104))}  # fmt: skip
GROUND = {"day": (104, 176, 88), "sunset": (122, 98, 80), "night": (30, 62, 58)}
INK = (30, 26, 34)
OVERSAMPLING = 2
Point = tuple[float, float]


def background(time: str, height: int, width: int, rng: random.Random) -> Image.Image:
    """Sky from top to horizon, ground below."""
    top, low = (np.array(colour, dtype=np.float32) for colour in SKY[time])
    horizon = int(height * rng.uniform(0.58, 0.72))
    ramp = np.linspace(0.0, 1.0, max(horizon, 1), dtype=np.float32)[:, None]
    rows = np.empty((height, 3), dtype=np.float32)
    rows[:horizon] = top + (low - top) * ramp
    rows[horizon:] = np.array(GROUND[time], dtype=np.float32)
    image = np.repeat(rows[:, None], width, axis=1).round().astype(np.uint8)
    return Image.fromarray(image, "RGB")


def shape(kind: str) -> list[tuple[str, list[Point]]]:
    """The parts of a thing in a unit square (x to the right, y down): what is filled with what."""
    if kind == "house":
        walls = [(0.12, 0.45), (0.88, 0.45), (0.88, 1.0), (0.12, 1.0)]
        roof = [(0.0, 0.47), (0.5, 0.0), (1.0, 0.47)]
        return [("colour", walls), ("dark", roof), ("ink", [(0.42, 0.68), (0.58, 0.68), (0.58, 1.0), (0.42, 1.0)])]
    if kind == "tree":
        trunk = [(0.42, 0.6), (0.58, 0.6), (0.58, 1.0), (0.42, 1.0)]
        return [("ink", trunk), ("colour", _ellipse(0.5, 0.36, 0.4, 0.36))]
    if kind == "boat":
        hull = [(0.0, 0.7), (1.0, 0.7), (0.8, 1.0), (0.2, 1.0)]
        return [("ink", [(0.46, 0.02), (0.52, 0.02), (0.52, 0.7), (0.46, 0.7)]), ("colour", hull),
                ("colour", [(0.55, 0.05), (0.95, 0.62), (0.55, 0.62)])]  # fmt: skip
    if kind == "fish":
        tail = [(0.0, 0.25), (0.32, 0.5), (0.0, 0.75)]
        return [("dark", tail), ("colour", _ellipse(0.6, 0.5, 0.4, 0.27)), ("ink", _ellipse(0.8, 0.43, 0.05, 0.05))]
    if kind == "mushroom":
        cap = [(0.5 - 0.5 * math.cos(a), 0.5 - 0.48 * math.sin(a)) for a in np.linspace(0.0, math.pi, 24)]
        return [("pale", [(0.38, 0.45), (0.62, 0.45), (0.68, 1.0), (0.32, 1.0)]), ("colour", cap)]
    if kind == "star":
        radii = [0.52, 0.22] * 5
        angles = [math.pi * (i / 5 - 0.5) for i in range(10)]
        return [("colour", [(0.5 + r * math.cos(a), 0.53 + r * math.sin(a)) for r, a in zip(radii, angles)])]
    raise ValueError(f"'{kind}' is none of {', '.join(KINDS)}.")


def _ellipse(x: float, y: float, rx: float, ry: float) -> list[Point]:
    return [(x + rx * math.cos(a), y + ry * math.sin(a)) for a in np.linspace(0.0, 2 * math.pi, 32, endpoint=False)]


def put(image: Image.Image, thing: Thing, x: float, y: float, size: float) -> None:
    """Draws ``thing`` with its middle at (x, y), all in pixels."""
    put_parts(image, shape(thing.kind), RGB[thing.colour], x, y, size)


def put_parts(
    image: Image.Image, parts: Sequence[tuple[str, list[Point]]], rgb: tuple[int, int, int], x: float, y: float,
    size: float,
) -> None:  # fmt: skip
    """Draws the parts of a thing in the colour ``rgb``."""
    canvas = ImageDraw.Draw(image)
    fills = {"colour": rgb, "dark": _mixed(rgb, INK, 0.35), "ink": INK, "pale": (228, 214, 190)}
    line = max(1, round(size / 22))
    for fill, points in parts:
        placed = [(x + (px - 0.5) * size, y + (py - 0.5) * size) for px, py in points]
        canvas.polygon(placed, fill=fills[fill])
        canvas.line([*placed, placed[0]], fill=INK, width=line)


def _mixed(a: tuple[int, int, int], b: tuple[int, int, int], share: float) -> tuple[int, int, int]:
    red, green, blue = (round(p + (q - p) * share) for p, q in zip(a, b))
    return red, green, blue


def draw(scene: Scene, height: int, width: int, rng: random.Random) -> NDArray[np.uint8]:
    """An image of the scene, ``[height, width, 3]`` uint8, as training shows it: places and sizes vary a little."""
    tall, wide = height * OVERSAMPLING, width * OVERSAMPLING
    image = background(scene.time, tall, wide, rng)
    for thing, middle in ((scene.left, 0.27), (scene.right, 0.73)):
        size = min(tall, wide * 0.95) * rng.uniform(0.36, 0.44)
        put(image, thing, wide * (middle + rng.uniform(-0.03, 0.03)), tall * rng.uniform(0.5, 0.66), size)
    return np.asarray(image.resize((width, height), Image.Resampling.BOX))


def random_scene(rng: random.Random, training: bool = True) -> Scene:
    """A scene; with ``training`` one that is not held out."""
    while True:
        left, right = (Thing(rng.choice(KINDS), rng.choice(COLOURS)) for _ in range(2))
        scene = Scene(left, right, rng.choice(TIMES))
        if left.kind != right.kind and left.colour != right.colour and not (training and scene.is_held_out()):
            return scene
