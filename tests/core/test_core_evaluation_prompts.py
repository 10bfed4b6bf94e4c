"""Which prompts a file or a COCO annotation gives an evaluation."""

from __future__ import annotations

import json
import random

import pytest

from crdiff.errors import SettingsError
from crdiff.evaluation.prompts import prompts_of


def test_coco_is_sampled_as_the_authors_do(tmp_path):
    numbers = random.Random(1)
    annotations = [{"image_id": numbers.randrange(7000), "caption": f"caption {n}\n"} for n in range(30000)]
    path = tmp_path / "captions_val2014.json"
    path.write_text(json.dumps({"images": [], "annotations": annotations}))
    by_image = {}
    for one in annotations:
        by_image[one["image_id"]] = [*by_image.get(one["image_id"], []), one["caption"]]
    state = random.getstate()
    random.seed(42)
    expected = [random.choice(by_image[image]).strip() for image in random.sample(list(by_image.keys()), 5000)]
    random.setstate(state)
    assert list(prompts_of(str(path))) == expected
    assert prompts_of(str(path), 3) == tuple(expected[:3])


def test_captions_in_json(tmp_path):
    path = tmp_path / "captions.json"
    for content in (["a", "b"], {"1": "a", "2": "b"}, [{"caption": "a"}, {"prompt": "b"}], {"prompts": ["a", "b"]}):
        path.write_text(json.dumps(content))
        assert prompts_of(str(path)) == ("a", "b")
    for content in ([1], "a", {"x": [1]}, [{"name": "a"}], {"annotations": [{"caption": "a"}]}, [], [""]):
        path.write_text(json.dumps(content))
        with pytest.raises(SettingsError, match=r"captions\.json: "):
            prompts_of(str(path))
