"""The demo's world: captions, who may see which scene, and what its scorer says of images."""

from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image

from demo.evaluate.find_presets import SIZES
from demo.evaluate.judge import SCORER, mean_interval
from demo.scenes.draw import draw, random_scene
from demo.scenes.scene import COLOURS, KINDS, TIMES, Scene, Thing, all_scenes, judging_scenes, search_scenes
from demo.scenes.scorer import load_scorer, look

WHEN = {"day": "by day", "sunset": "at sunset", "night": "at night"}


@pytest.fixture(scope="module")
def scorer():
    return load_scorer(SCORER)


def test_every_caption_names_its_own_scene():
    scenes = all_scenes()
    assert len({scene.caption() for scene in scenes}) == len(scenes) == 6 * 5 * 6 * 5 * 3
    assert all(Scene.from_caption(scene.caption()) == scene for scene in scenes)
    assert Scene.from_caption(" A Red house left of an orange boat, at night ").right == Thing("boat", "orange")


@pytest.mark.parametrize("text", ["", "a red house", "a red house left of a blue cat, by day", "1girl, masterpiece"])
def test_other_texts_are_refused_with_an_example(text):
    with pytest.raises(ValueError, match="a red house left of a yellow tree, by day"):
        Scene.from_caption(text)


def test_training_searching_and_judging_share_no_scene():
    searched, judged = set(search_scenes(100)), set(judging_scenes(400))
    assert len(searched) == 100 and len(judged) == 400 and not searched & judged
    rng = random.Random(3)
    trained = {random_scene(rng) for _ in range(20000)}
    assert not trained & (searched | judged)
    # What training leaves out is no part of the world of its own: it has seen every thing at every time.
    assert {(thing, scene.time) for scene in trained for thing in (scene.left, scene.right)} >= {
        (thing, scene.time) for scene in searched | judged for thing in (scene.left, scene.right)
    }


@pytest.mark.parametrize("size", SIZES)
def test_the_scorer_knows_new_scenes_at_every_size_of_the_demo(scorer, size):
    height, width = map(int, size.split("x"))
    rng, right = random.Random(size), 0.0
    for scene in judging_scenes(60):
        image = Image.fromarray(draw(scene, height, width, rng))
        right += scorer.score([image], scene.caption())[0] > 0.5
    assert right >= 57


def test_the_scorer_punishes_each_wrong_part(scorer):
    rng = random.Random(1)
    for scene in judging_scenes(20):
        image = Image.fromarray(draw(scene, 128, 128, rng))
        others = [
            Scene(scene.right, scene.left, scene.time),
            Scene(Thing(_other(KINDS, scene.left.kind), scene.left.colour), scene.right, scene.time),
            Scene(scene.left, Thing(scene.right.kind, _other(COLOURS, scene.right.colour)), scene.time),
            Scene(scene.left, scene.right, _other(TIMES, scene.time)),
        ]
        assert all(scorer.score([image], wrong.caption())[0] < 0.1 for wrong in others)


def test_the_scorer_punishes_a_thing_too_many_and_a_thing_lost(scorer):
    rng = random.Random(2)
    for scene in judging_scenes(10):
        image = draw(scene, 128, 128, rng)
        rows = Image.fromarray(np.concatenate([image, image], axis=1))
        half = Image.fromarray(np.concatenate([image[:, :64], image[:, :2].repeat(32, axis=1)], axis=1))
        assert all(score < 0.1 for score in scorer.score([rows, half], scene.caption()))


def test_an_image_of_any_mode_and_size_can_be_looked_at(scorer):
    scene = judging_scenes(1)[0]
    image = Image.fromarray(draw(scene, 256, 192, random.Random(0)))
    assert look(np.asarray(image)).shape == (1, 3, 64, 64)
    plain, transparent = scorer.score([image, image.convert("RGBA")], scene.caption())
    assert plain == pytest.approx(transparent)


def test_intervals_are_those_of_the_textbook():
    values = np.array([0.0, 1.0] * 50)
    interval = mean_interval(values)
    half = 1.959964 * np.sqrt(values.var(ddof=1) / 100)
    assert (interval.low, interval.value, interval.high) == pytest.approx((0.5 - half, 0.5, 0.5 + half))
    certain = mean_interval(np.ones(100))  # Wilson: n / (n + z^2)
    assert (certain.low, certain.high) == pytest.approx((100 / (100 + 1.959964**2), 1.0))


def _other(choices, one):
    return next(choice for choice in choices if choice != one)
