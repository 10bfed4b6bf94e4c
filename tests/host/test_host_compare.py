"""Several ways of drawing one image in one job: each is what the host draws alone."""

from __future__ import annotations

import json

from hostkit.client import decoded
from hostkit.studio import BASE, RATIOS, Studio


def test_compare_draws_what_is_drawn_alone(studio: Studio) -> None:
    before = studio.state()
    settings = {"enabled": True, **RATIOS, "k": 1.5}
    answer = studio.client.post(
        "/sdapi/v1/txt2img",
        {
            **BASE,
            "script_name": "CR-Diff compare",
            "script_args": [{"seeds": 2, "score": "none"}],
            "alwayson_scripts": {"cr-diff": {"args": [settings]}},
        },
    )
    info = json.loads(answer["info"])
    told = info["extra_generation_params"]["CR-Diff compare"]
    assert [column["way"] for column in told["columns"]] == ["dense", "pruned", "crdiff"]
    grid, *images = (decoded(image) for image in answer["images"])
    assert len(images) == 6 and grid.shape[0] > 2 * images[0].shape[0]
    for place, alone in enumerate((studio.plain(), studio.crdiff({**settings, "k": 1}), studio.crdiff(settings))):
        assert (images[place] == alone.pictures[0]).all()
        assert info["infotexts"][1 + place] == alone.infotext
    studio.assert_state(before)
