"""What settings are accepted, and that every refusal names its key."""

from __future__ import annotations

import json
import math
import re
from dataclasses import fields, replace

import jsonschema
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from crdiff.checks import exact
from crdiff.errors import CRDiffError, SettingsError
from crdiff.json_schema import json_schema
from crdiff.method.groups import Ratios
from crdiff.method.schedule import TEXT_PATTERN, Position, Schedule, Stage, StepWindow
from crdiff.presets.library import PresetLibrary
from crdiff.settings import Settings, overruled

NOT_NUMBERS = ["0.3", "", True, False, [0.3], {}, b"1"]
NOT_FINITE = [math.nan, math.inf, -math.inf, 10**400, -(10**400)]
OUTSIDE = [1.2, 1.0, 1, -0.1, -1, None]
BAD = [
    *((key, value) for key in ("down", "mid", "up") for value in [*OUTSIDE, *NOT_NUMBERS, *NOT_FINITE]),
    *(("k", value) for value in [-2.001, 3.001, *NOT_NUMBERS, *NOT_FINITE]),
    *((key, value) for key in ("start", "end") for value in [-0.001, 1.001, None, *NOT_NUMBERS, *NOT_FINITE]),
    *(("enabled", value) for value in [None, 0, 1, "true", ""]),
    *(("preset", value) for value in ["", "  ", None, 512, ["auto"]]),
    *(("hires", value) for value in ["", "Both", "third", None, True, 1, ["both"]]),
    *(("mode", value) for value in ["", "Fast", "slow", None, True, 1, ["fast"]]),
    *(
        (key, value)
        for key in ("hires_ratios", "stages")
        for value in [
            *("0.3", "0.3/1/0.3", "0/0/0/3.1", "0/0/0/", "a/b/c", "nan/0/0", None, 3, [], {}, [0.3], [{"down": 0.3}]),
            *(
                "0/0/0;",
                "0/0/0 from 0.5",
                "0/0/0; 0/0/0",
                "0/0/0; 0/0/0 from 1",
                "0/0/0 from 0; 0/0/0 from 0.5 from 0.6",
            ),
            *("; ".join(f"0/0/0 from {place / 10}" for place in range(9)),),
        ]
    ),
]


@pytest.mark.parametrize(("key", "value"), BAD, ids=lambda value: repr(value)[:20])
def test_a_bad_value_is_refused_in_a_sentence_that_names_its_key(key, value):
    for make in (Settings.from_dict, lambda values: Settings(**values), lambda values: Settings.from_args([values])):
        with pytest.raises(SettingsError, match=rf"^CR-Diff: {key} must .*\.$") as refusal:
            make({"preset": "custom", key: value})
        assert len(str(refusal.value)) < 200
        assert refusal.value.status_code == 422
        assert refusal.value.detail == str(refusal.value)
        assert isinstance(refusal.value, CRDiffError)
        assert isinstance(refusal.value, ValueError)


@pytest.mark.parametrize("key", ["ratio", "Down", "", "class", 3, "__init__"])
def test_an_unknown_key_is_named(key):
    with pytest.raises(SettingsError, match=r"^CR-Diff: unknown key .*enabled.*\.$") as refusal:
        Settings.from_dict({"enabled": True, key: 1})
    assert repr(key) in str(refusal.value)
    assert refusal.value.status_code == 422


def test_start_after_end():
    with pytest.raises(SettingsError, match=r"^CR-Diff: start .*end.*\.$"):
        Settings(start=0.6, end=0.5)
    assert Settings(start=0.5, end=0.5).window == StepWindow(0.5, 0.5)


def test_the_bounds_are_accepted():
    found = Settings.from_dict({"down": 0, "mid": 0.9999999, "up": 0.0, "k": -2, "start": 0, "end": 1})
    assert found.ratios == Ratios(0.0, 0.9999999, 0.0)
    assert (found.k, found.start, found.end) == (-2.0, 0.0, 1.0)
    assert all(isinstance(value, float) for value in (found.down, found.k, found.start, found.end))
    assert Settings(k=3).k == 3.0
    assert Settings(k=None).k is None


@pytest.mark.parametrize("group", ["down", "mid", "up"])
def test_ratios_without_a_preset_mean_custom(group):
    found = Settings.from_dict({"enabled": True, group: 0.2})
    assert found.preset == "custom"
    assert found.ratios[group] == 0.2
    assert Settings.from_dict({"hires_ratios": "0.1/0.2/0.3"}).preset == "custom"
    assert Settings.from_dict({"preset": "auto", group: 0.2}).preset == "auto"


def test_ratios_that_a_preset_leaves_unused_are_told():
    """Such requests were accepted by version 1.0.0, so that they are drawn as they were then."""
    sentence = overruled([{"preset": "Auto", "down": 0.5, "hires_ratios": "0.1/0.2/0.3"}])
    assert sentence is not None
    assert "down 0.5, hires_ratios 0.1/0.2/0.3" in sentence
    for args in ([{"preset": "custom", "down": 0.5}], [{"down": 0.5}], [True, "Auto", 0.5], [Settings().to_dict()], []):
        assert overruled(args) is None


def test_a_refusal_does_not_echo_what_it_was_sent():
    for values in (
        {"preset": ["x" * 10_000]},
        {"x" * 10_000: 1},
        {"mode": "x" * 10_000},
        {"hires_ratios": "1/" * 9999},
    ):
        with pytest.raises(SettingsError) as refusal:
            Settings.from_dict(values)
        assert len(str(refusal.value)) < 250
    with pytest.raises(SettingsError) as refusal:
        PresetLibrary().named("x" * 10_000)
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize("number", [0.999999, 0.3974999, 1e-07, 0.1 + 0.2, 5e-324, 0.9999999999999999])
def test_numbers_are_written_in_the_digits_it_takes_to_read_them_back(number):
    text = exact(number)
    assert float(text) == number and float(text) not in (0.0, 1.0)
    assert Ratios.parse(str(Ratios(number, 0.5, 0.25))) == Ratios(number, 0.5, 0.25)


def test_minus_zero_is_zero():
    found = Settings(down=-0.0, k=-0.0, start=-0.0)
    assert [math.copysign(1.0, value) for value in (found.down, found.k, found.start)] == [1.0, 1.0, 1.0]
    assert [exact(value) for value in (-0.0, 2.0, 1.5)] == ["0", "2", "1.5"]


def test_the_second_pass_may_have_ratios_and_k_of_its_own():
    found = Settings(True, "custom", 0.1, 0.2, 0.3, 1.25, hires_ratios="0.4/0.50/0")
    assert found.hires_ratios == "0.4/0.5/0"
    assert found.for_pass(hires_pass=False) is found
    second = found.for_pass(hires_pass=True)
    assert (second.ratios, second.k) == (Ratios(0.4, 0.5, 0.0), 1.25)
    own_k = replace(found, hires_ratios="0.4/0.5/0/-1").for_pass(hires_pass=True)
    assert (own_k.ratios, own_k.k) == (Ratios(0.4, 0.5, 0.0), -1.0)
    assert replace(found, preset="auto").for_pass(hires_pass=True).ratios == found.ratios


def test_defaults():
    found = Settings.from_dict({})
    assert found == Settings() == Settings.from_args([])
    assert not found.enabled
    assert (found.preset, found.k, found.hires, found.window) == ("auto", None, "both", StepWindow(0.0, 1.0))


@pytest.mark.parametrize(("name", "expected"), [("Auto", "auto"), ("CUSTOM", "custom"), ("My Preset", "My Preset")])
def test_the_reserved_presets_are_found_whatever_their_case(name, expected):
    assert Settings(preset=name).preset == expected


STAGES = "0.1/0.2/0.3; 0.4/0.5/0.6/-1 from 0.5"


def test_stages_take_the_place_of_the_ratios():
    """In text, or as objects in the API; a k that a stage does not have is that of the settings."""
    objects = [
        {"from": 0, "down": 0.1, "mid": 0.2, "up": 0.3},
        {"from": 0.5, "down": 0.4, "mid": 0.5, "up": 0.6, "k": -1},
    ]
    found = Settings.from_dict({"stages": objects, "k": 2.0})
    assert found == Settings.from_dict({"stages": "0.10/.2/0.3 from 0;0.4/0.5/0.6/-1  from 5e-1", "k": 2.0})
    assert (found.preset, found.stages, found.ratios, found.k) == ("custom", STAGES, Ratios(0.1, 0.2, 0.3), 2.0)
    assert found.schedule.to_json() == [objects[0], objects[1]]
    assert [stage.k for stage in found.schedule.with_k(2.0).stages] == [2.0, -1.0]
    assert Settings.from_dict(found.to_dict()) == found
    assert jsonschema.Draft202012Validator(json_schema()).is_valid({"stages": objects, "hires_ratios": STAGES})


def test_one_stage_is_the_ratios_and_k():
    assert Settings.from_dict({"stages": [{"from": 0.0, "down": 0.1, "mid": 0.2, "up": 0.3, "k": 1.2}]}) == Settings(
        False, "custom", 0.1, 0.2, 0.3, 1.2
    )
    assert Settings(preset="custom", k=2.0, stages="0.1/0.2/0.3") == Settings(False, "custom", 0.1, 0.2, 0.3, 2.0)


def test_the_second_pass_may_have_stages_of_its_own():
    found = Settings(True, "custom", 0.1, 0.2, 0.3, 1.25, hires_ratios=STAGES)
    second = found.for_pass(hires_pass=True)
    assert (str(second.schedule), second.k, found.schedule.is_constant) == (STAGES, 1.25, True)
    back = replace(found, stages=STAGES, hires_ratios="0.4/0.5/0").for_pass(hires_pass=True)
    assert (back.schedule.first, back.schedule.is_constant, back.k) == (Ratios(0.4, 0.5, 0.0), True, 1.25)


def test_ratios_that_stages_leave_unused_are_told():
    assert "not used: down 0.5" in (overruled([{"stages": STAGES, "down": 0.5, "mid": 0.2}]) or "")
    assert overruled([Settings.from_dict({"stages": STAGES, "k": 2.0}).to_dict()]) is None
    assert "not used: k 2.0" in (overruled([{"stages": "0/0/0/1; 0.1/0/0/2 from 0.5", "k": 2.0}]) or "")
    assert f"stages {STAGES}" in (overruled([{"preset": "auto", "stages": STAGES}]) or "")


NUMBER = st.floats(0.0, 1.0, exclude_max=True)
PART = st.tuples(NUMBER, NUMBER, NUMBER) | st.tuples(NUMBER, NUMBER, NUMBER, st.floats(-2.0, 3.0))


@given(st.lists(st.floats(0.0, 1.0, exclude_min=True, exclude_max=True), max_size=7, unique=True), st.data())
def test_a_schedule_in_text_and_json_is_read_back(starts, data):
    stages = [
        Stage(start, Ratios(*part[:3]), *part[3:]) for start in sorted([0.0, *starts]) for part in [data.draw(PART)]
    ]
    schedule = Schedule(tuple(stages))
    assert Schedule.parse(str(schedule)) == schedule
    assert Schedule.from_json([stage.to_json() for stage in stages]) == schedule
    assert re.fullmatch(TEXT_PATTERN, str(schedule))
    assert not set(str(schedule)) & set(',:"\n')


def test_even_stages():
    assert str(Schedule.even([(0.1, 0.2, 0.3, 1.5), (0.4, 0.5, 0.6)])) == "0.1/0.2/0.3/1.5; 0.4/0.5/0.6 from 0.5"


ORDER = ["enabled", "preset", "down", "mid", "up", "k", "start", "end", "hires", "mode", "criterion", "hires_ratios",
         "layers", "threshold", "stages", "attention_scale", "size_conditioning"]  # fmt: skip
VALUES = [True, "custom", 0.1, 0.2, 0.3, 1.25, 0.4, 0.5, "second", "fast", "magnitude", "0.1/0.2/0.3/1.2",
          "attention", "group", "0.1/0.2/0.3; 0.4/0.5/0.6/-1 from 0.5", "auto", "native"]  # fmt: skip


@pytest.mark.parametrize("length", range(len(ORDER) + 1))
def test_a_list_of_arguments_has_the_order_of_the_ui(length):
    expected = Settings(**dict(zip(ORDER[:length], VALUES[:length])))
    assert Settings.from_args(VALUES[:length]) == expected
    assert Settings.from_args(tuple(VALUES[:length])) == expected


def test_too_many_arguments():
    with pytest.raises(SettingsError, match=r"at most 17 arguments .*not 18\.$"):
        Settings.from_args([*VALUES, 1])


def test_an_object_as_first_argument_replaces_the_rest():
    """Hosts fill the list up with what the UI shows."""
    assert Settings.from_args([{"enabled": True, "k": 2.0}, *VALUES[1:]]) == Settings(enabled=True, k=2.0)


@pytest.mark.parametrize(
    ("hires", "first", "second"), [("both", True, True), ("first", True, False), ("second", False, True)]
)
def test_the_passes_of_hires_fix(hires, first, second):
    found = Settings(enabled=True, hires=hires)
    assert (found.acts_in(hires_pass=False), found.acts_in(hires_pass=True)) == (first, second)
    off = Settings(enabled=False, hires=hires)
    assert not off.acts_in(hires_pass=False)
    assert not off.acts_in(hires_pass=True)


RATIO = st.floats(0.0, 1.0, exclude_max=True)


WINDOW = st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0)).map(sorted)
PRESET = st.text(min_size=1).filter(str.strip)
HIRES = st.sampled_from(["both", "first", "second"])
MODE = st.sampled_from(["exact", "batched", "balanced", "fast"])


@given(st.booleans(), PRESET, RATIO, RATIO, RATIO, st.none() | st.floats(-2.0, 3.0), WINDOW, HIRES, MODE)
def test_round_trip_through_json(enabled, preset, down, mid, up, k, window, hires, mode):
    found = Settings(enabled, preset, down, mid, up, k, *window, hires, mode)
    values = json.loads(json.dumps(found.to_dict()))
    assert Settings.from_dict(values) == found
    assert list(values) == ORDER == [field.name for field in fields(Settings)]


JSON_VALUE = (
    st.none() | st.booleans() | st.integers(-3, 4) | st.floats(-3, 4) | st.sampled_from(["", "both", "0.5", "auto"])
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from([*ORDER, "other"]), JSON_VALUE, max_size=4))
def test_the_schema_says_what_is_accepted(values):
    # That start must not lie after end cannot be said in a schema.
    assume(not {"start", "end"} <= values.keys())
    try:
        Settings.from_dict(values)
    except SettingsError:
        accepted = False
    else:
        accepted = True
    assert jsonschema.Draft202012Validator(json_schema()).is_valid(values) == accepted


@pytest.mark.parametrize("text", ["", "0.3", "0.3/0.3", "0.1/0.2/0.3/0.4", "a/b/c", "0,3/0,3/0,3", "//"])
def test_ratios_in_another_form_are_refused(text):
    with pytest.raises(SettingsError, match=r"^Ratios are written down/mid/up"):
        Ratios.parse(text)


@pytest.mark.parametrize(
    ("text", "group"), [("1/0/0", "down"), ("0/nan/0", "mid"), ("0/0/-1e-9", "up"), ("0/0/inf", "up")]
)
def test_a_ratio_outside_its_range_is_named(text, group):
    with pytest.raises(SettingsError, match=rf"^{group} must lie in \[0, 1\)"):
        Ratios.parse(text)


def test_ratios_in_text():
    assert Ratios.parse("0.397/0.434/0.387") == Ratios(0.397, 0.434, 0.387)
    assert str(Ratios(0.397, 0.434, 0)) == "0.397/0.434/0"
    assert list(Ratios(0.1, 0.2, 0.3)) == [0.1, 0.2, 0.3]
    with pytest.raises(KeyError):
        Ratios()["left"]


@pytest.mark.parametrize("total", [0, 1, 2, 20, 150])
def test_every_step_is_in_exactly_one_of_two_adjoining_windows(total):
    for edge in (0.0, 0.05, 0.3, 0.5, 0.999, 1.0):
        for step in range(-1, total + 30):
            position = Position(step, total)
            assert 0.0 <= position.fraction < 1.0
            assert (position in StepWindow(0.0, edge)) != (position in StepWindow(edge, 1.0)) or edge == 1.0
            assert position in StepWindow(0.0, 1.0)


def test_a_window_of_steps():
    inside = [step for step in range(20) if Position(step, 20) in StepWindow(0.25, 0.75)]
    assert inside == list(range(5, 15))
    assert Position(0, 1) in StepWindow(0.0, 0.01)
    assert Position(0, 1) not in StepWindow(0.01, 1.0)
    assert Position(25, 20) in StepWindow(0.9, 1.0)
    assert Position(25, 20) not in StepWindow(0.0, 0.9)
