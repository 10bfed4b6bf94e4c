"""The API as a client sees it: arguments, answers to wrong ones, the infotext, and the extension's own routes."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from hostkit.client import HostError
from hostkit.full import full
from hostkit.infotext import group_ratios, parse
from hostkit.studio import RATIOS, Studio

GROUPS = ("down", "mid", "up")
NUMBERS = (*GROUPS, "k", "start", "end")

FEW_WRONG: list[tuple[str, dict[str, Any]]] = [
    ("mid", {"mid": "0.5"}),
    ("k", {"k": float("nan")}),
    ("start", {"start": 0.6, "end": 0.4}),
    ("preset", {"preset": "no such preset"}),
    ("dwn", {"dwn": 0.3}),
]
MORE_WRONG: list[tuple[str, dict[str, Any]]] = [
    *((name, {name: value}) for name in NUMBERS for value in ([0.5], True, float("inf"))),
    *((name, {name: "0.5"}) for name in NUMBERS if name != "mid"),
    *((name, {name: float("nan")}) for name in NUMBERS if name != "k"),
    *((group, {group: value}) for group in GROUPS for value in (1.2, 1, -0.1, None)),
    ("k", {"k": -2.1}),
    ("k", {"k": 3.1}),
    ("start", {"start": -0.1}),
    ("end", {"end": 1.1}),
    ("hires", {"hires": 1}),
    ("hires", {"hires": "third"}),
    ("preset", {"preset": 512}),
    ("preset", {"preset": ""}),
    ("enabled", {"enabled": 1}),
    ("enabled", {"enabled": "yes"}),
]
"""tests/core tries what settings refuse at length; this is about the way through a host."""


@pytest.mark.parametrize(
    ("key", "settings"), [*FEW_WRONG, *(full(*wrong) for wrong in MORE_WRONG)], ids=lambda value: str(value)
)
def test_wrong_settings_are_refused_by_name(studio: Studio, key: str, settings: dict[str, Any]) -> None:
    with pytest.raises(HostError) as caught:
        studio.crdiff(settings)
    assert caught.value.status == 422
    assert re.search(rf"\b{key}\b", caught.value.sentence)
    assert caught.value.sentence.startswith("CR-Diff: ")
    assert caught.value.sentence.endswith(".")


@pytest.mark.parametrize(
    "args", [[{"enabled": True, "k": "x"}], [True, "Custom", 2.0], [True, "Custom", 0.3, 0.3, 0.3, 9]]
)
def test_wrong_settings_in_img2img_and_in_lists(studio: Studio, args: list[Any]) -> None:
    picture = studio.plain().encoded[0]
    with pytest.raises(HostError) as caught:
        studio.draw(scripts={"cr-diff": args}, init_images=[picture])
    assert caught.value.status == 422


def test_a_refused_request_leaves_nothing_behind(studio: Studio) -> None:
    plain = studio.draw()
    with pytest.raises(HostError):
        studio.crdiff({"k": "x"})
    studio.assert_same(studio.draw(), plain)


FULL_LIST = [
    True, "Custom", *RATIOS.values(), 2.0, 0.25, 0.8, "both", "exact", "magnitude", "", "released", "auto", "", "off",
    "off",
]  # fmt: skip


@pytest.mark.one_host
@pytest.mark.parametrize(
    ("args", "settings"),
    [
        (FULL_LIST, {**RATIOS, "k": 2, "start": 0.25, "end": 0.8}),
        (FULL_LIST[:10], {**RATIOS, "k": 2, "start": 0.25, "end": 0.8}),  # that of version 1.0.0
        (FULL_LIST[:6], {**RATIOS, "k": 2}),
        (FULL_LIST[:5], {**RATIOS}),
        (FULL_LIST[:3], {"down": RATIOS["down"]}),
        ([False, *FULL_LIST[1:]], {"enabled": False}),
        ([], {"enabled": False}),
        ([{}], {"enabled": False}),
        ([{"enabled": True, "preset": "CUSTOM", **RATIOS}], {**RATIOS}),
    ],
    ids=["full list", "ten", "six", "five", "three", "off", "no arguments", "empty object", "preset's case"],
)
def test_arguments(studio: Studio, args: list[Any], settings: dict[str, Any]) -> None:
    studio.assert_same(studio.draw(scripts={"cr-diff": args}), studio.crdiff(settings))


@pytest.mark.one_host
def test_defaults(studio: Studio) -> None:
    """An object and a list with nothing but the switch mean the same, and k is 1.5."""
    with studio.on(studio.checkpoint(family="sd15", inpainting=False)):
        auto = studio.crdiff({})
        studio.assert_same(auto, studio.draw(scripts={"cr-diff": [True]}))
        studio.assert_same(auto, studio.crdiff({"preset": "auto", "k": 1.5}))
        studio.assert_changed(auto, studio.draw())


# The infotext


def test_infotext_of_custom_ratios(studio: Studio) -> None:
    found = parse(studio.crdiff({**RATIOS, "k": 2, "start": 0.1, "end": 0.9, "hires": "first"}).infotext)
    assert found["CR-Diff version"] == studio.client.get("/crdiff/v1/version")["version"]
    assert found["CR-Diff preset"] == "custom"
    assert group_ratios(found) == RATIOS
    assert (found["CR-Diff k"], found["CR-Diff start"], found["CR-Diff end"]) == ("2", "0.1", "0.9")
    assert found["CR-Diff hires"] == "first"
    assert found["CR-Diff source"] == "custom ratios"


def test_infotext_leaves_defaults_out(studio: Studio) -> None:
    found = parse(studio.crdiff(RATIOS).infotext)
    assert not {"CR-Diff start", "CR-Diff end", "CR-Diff hires", "CR-Diff note"} & found.keys()
    assert "CR-Diff" not in studio.crdiff({"enabled": False}).infotext


def test_infotext_is_the_same_for_every_picture_of_a_batch(studio: Studio) -> None:
    drawn = studio.crdiff({**RATIOS, "k": 2}, batch_size=2, n_iter=2)
    ours = [[entry for entry in parse(text).items() if entry[0].startswith("CR-Diff")] for text in drawn.infotexts]
    assert len(ours) == 4
    assert ours[0]
    assert all(entries == ours[0] for entries in ours)


def test_infotext_draws_the_image_again(studio: Studio) -> None:
    plain = studio.draw()
    try:
        again = studio.draw(infotext=plain.infotext)
    except HostError as error:
        # Forge and Neo check an API request's types in a way that Python refuses, with or without extensions.
        if studio.target.standin or "parameterized generic" not in str(error):
            raise
        pytest.skip(f"{studio.target.name} fails on its own infotext: {error}")
    studio.assert_same(again, plain)
    drawn = studio.crdiff({**RATIOS, "down": 0.3974999, "k": 1.51234, "end": 0.7})
    studio.assert_same(studio.draw(infotext=drawn.infotext), drawn)


# Presets


@pytest.mark.one_host
def test_exact_size_takes_the_presets_ratios(studio: Studio) -> None:
    """A small image of the table, for hosts without a GPU, of sides that every host draws: one rounds to 64 pixels."""
    checkpoint = studio.checkpoint(family="sd15", inpainting=False)
    presets = [entry for entry in studio.client.get("/crdiff/v1/presets")["presets"] if entry["family"] == "sd15"]
    drawable = [entry for entry in presets if all(side % 64 == 0 for side in sides(entry["size"]))]
    smallest = min(drawable, key=lambda entry: math.prod(sides(entry["size"])))
    height, width = sides(smallest["size"])
    with studio.on(checkpoint):
        drawn = studio.crdiff({"preset": "auto"}, height=height, width=width, steps=1, cfg_scale=1)
    found = parse(drawn.infotext)
    assert group_ratios(found) == {group: smallest[group] for group in GROUPS}
    assert smallest["size"] in found["CR-Diff source"]


@pytest.mark.one_host
def test_other_sizes_are_interpolated_and_drawn_so(studio: Studio) -> None:
    presets = [entry for entry in studio.client.get("/crdiff/v1/presets")["presets"] if entry["family"] == "sd15"]
    with studio.on(studio.checkpoint(family="sd15", inpainting=False)):
        auto = studio.crdiff({"preset": "auto"})
        found = parse(auto.infotext)
        ratios = group_ratios(found)
        for group in GROUPS:
            assert min(p[group] for p in presets) <= ratios[group] <= max(p[group] for p in presets)
        assert "extrapolated from" in found["CR-Diff source"]
        # The ratios written are those drawn with, to the last digit.
        studio.assert_reference(auto, ratios)


@pytest.mark.one_host
def test_named_preset(studio: Studio) -> None:
    preset = next(entry for entry in studio.client.get("/crdiff/v1/presets")["presets"] if entry["family"] == "sd15")
    ratios = {group: preset[group] for group in GROUPS}
    named = studio.crdiff({"preset": preset["name"].upper()})
    studio.assert_reference(named, ratios)
    assert group_ratios(parse(named.infotext)) == ratios


def sides(size: str) -> list[int]:
    return [int(side) for side in size.split("x")]


# Routes


def test_version(studio: Studio) -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", studio.client.get("/crdiff/v1/version")["version"])


def test_schema_says_what_the_api_takes(studio: Studio) -> None:
    import jsonschema

    schema = studio.client.get("/crdiff/v1/schema")
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid({"enabled": True, "preset": "auto", **RATIOS, "k": None, "start": 0, "hires": "both"})
    # What no schema can tell: the order of start and end, the names of presets, and what is not JSON.
    beyond = [{"start": 0.6, "end": 0.4}, {"preset": "no such preset"}]
    for _, settings in [*FEW_WRONG, *MORE_WRONG]:
        numbers = [value for value in settings.values() if isinstance(value, float)]
        if settings not in beyond and all(abs(value) < float("inf") for value in numbers):
            assert not validator.is_valid(settings), settings


def test_presets_route(studio: Studio) -> None:
    answer = studio.client.get("/crdiff/v1/presets")
    assert answer["problems"] == []
    assert {entry["family"] for entry in answer["presets"]} >= {"sd15", "sd21", "sdxl"}
    for entry in answer["presets"]:
        assert re.fullmatch(r"\d+x\d+", entry["size"])
        assert all(0 <= entry[group] < 1 for group in GROUPS)


def test_script_info_names_every_argument(studio: Studio) -> None:
    infos = [entry for entry in studio.client.get("/sdapi/v1/script-info") if entry["name"] == "cr-diff"]
    assert sorted(entry["is_img2img"] for entry in infos) == [False, True]
    for entry in infos:
        assert len(entry["args"]) == len(FULL_LIST)
        assert all(argument["label"] for argument in entry["args"])
