"""What images carry, and what pasting it restores: settings that draw the image again."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from crdiff.errors import PresetError
from crdiff.guidance.run import Applied
from crdiff.method.groups import GROUPS, Ratios
from crdiff.method.schedule import Schedule
from crdiff.models.checkpoint import Checkpoint
from crdiff.models.unet import SDXL
from crdiff.plan import Plan, plan_for
from crdiff.presets.library import PresetLibrary
from crdiff.presets.size import Size
from crdiff.presets.table import Preset
from crdiff.pruning.criterion import GroupSparsity
from crdiff.settings import Settings
from crdiff.specs import SPECS
from crdiff.webui import infotext
from crdiff.webui.generation import read_settings
from crdiff.webui.infotext import Outcome

CHECKPOINT = Checkpoint("sdxl", SDXL, "0" * 64)
SIZES = (Size(512, 512), Size(832, 1216))
"""Of the first and of the second pass; the second is interpolated."""


def applied(down, mid, up, k=1.5, origin="preset 512x512", pruned=0.41):
    ratios = Ratios(down, mid, up)
    sparsity = {group: GroupSparsity(1000, round(1000 * pruned), 0.1) for group in GROUPS}
    return Applied(SDXL, Plan(Schedule.constant(ratios), k, origin), ratios, sparsity)


def hosts_line(params: dict[str, Any]) -> str:
    """The last line of an infotext, as create_infotext of AUTOMATIC1111 1.10 joins it."""
    params = {"Steps": 20, "Sampler": "Euler", "Size": "512x512", **params, "Version": "v1.10.1"}
    quoted = {
        key: json.dumps(value, ensure_ascii=False) if any(mark in str(value) for mark in ",\n:") else value
        for key, value in params.items()
    }
    return ", ".join(key if key == value else f"{key}: {value}" for key, value in quoted.items())


def hosts_parse(line: str) -> dict[str, str]:
    """The line's entries, as parse_generation_parameters of AUTOMATIC1111 1.10 reads them."""
    found: dict[str, str] = {}
    for key, value in re.findall(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)', line):
        if value[0] == '"' and value[-1] == '"':
            value = json.loads(value)
        if size := re.match(r"^(\d+)x(\d+)$", value):
            found[f"{key}-1"], found[f"{key}-2"] = size.groups()
        else:
            found[key] = value
    return found


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """With own presets whose names ask a lot of a host."""
    library = PresetLibrary(tmp_path_factory.mktemp("own"))
    for place, name in enumerate(("mine", "640x832", "Straße (2)", "a\\b/c 'd'")):
        k = None if place == 1 else 1.2345678901
        library.store.save(Preset.own(name, SDXL, Size(64, 64 + place), Ratios(0.1 + place / 7, 0.2, 0.3), k))
    schedule = Schedule.parse("0.1/0.2/0.3/1.2345; 0/0/0 from 0.2; 0.30001/0.2/0.1 from 0.7000001")
    library.store.save(Preset.own("staged", SDXL, Size(640, 64), schedule, 2.5))
    return library


def written(settings, first=None, second=None, remark=""):
    params = {"Other": 1}
    passes = {hires_pass: what for hires_pass, what in ((False, first), (True, second)) if what is not None}
    infotext.write(params, settings, passes, remark)
    return params


def pasted(line: str, library: PresetLibrary) -> dict[str, Any]:
    params = hosts_parse(line)
    return {name: infotext.reader(name, library)(params) for name in SPECS}


def effect(settings: Settings, library: PresetLibrary, hires_pass: bool) -> tuple | None:
    """What one pass is drawn with; None if it is the host's own."""
    if not settings.acts_in(hires_pass=hires_pass) or settings.start >= settings.end:
        return None
    plan = planned(settings, library, hires_pass)
    if plan is None or plan.idle is not None:
        return None
    return plan.schedule.with_k(plan.k), plan.told, settings.window, settings.mode, settings.criterion


def planned(settings: Settings, library: PresetLibrary, hires_pass: bool) -> Plan | None:
    try:
        return plan_for(settings.for_pass(hires_pass=hires_pass), SIZES[hires_pass], library).make(CHECKPOINT)
    except PresetError:  # of a preset for another criterion
        return None


def drawn(settings: Settings, library: PresetLibrary, hires_fix: bool) -> dict[str, Any]:
    """The infotext of an image with these settings."""
    passes = {}
    for hires_pass in (False, True)[: 1 + hires_fix]:
        if settings.acts_in(hires_pass=hires_pass):
            plan = planned(settings, library, hires_pass)
            acts = effect(settings, library, hires_pass) is not None
            what = [Applied(SDXL, plan, plan.schedule.first, {})] if plan and acts else []
            passes[hires_pass] = Outcome(what, "" if acts else "There was: nothing, to do.")
    params: dict[str, Any] = {}
    infotext.write(params, settings, passes)
    return params


RATIO = st.floats(0.0, 1.0, exclude_max=True)
K = st.floats(-2.0, 3.0)
SECOND = st.builds("/".join, st.lists(RATIO.map(repr), min_size=3, max_size=3))
STAGES = st.builds(
    "{}; {} from 0.25; {}/1.25 from {!r}".format,
    SECOND,
    SECOND,
    SECOND,
    st.floats(0.25, 1, exclude_min=True, exclude_max=True),
)
SETTINGS = st.builds(
    lambda window, **values: Settings(enabled=True, start=window[0], end=window[1], **values),
    preset=st.sampled_from(["auto", "custom", "mine", "640x832", "Straße (2)", "staged", "a\\b/c 'd'", "SDXL 512x512"]),
    down=RATIO,
    mid=RATIO,
    up=RATIO,
    k=st.none() | K,
    window=st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0)).map(sorted),
    hires=st.sampled_from(SPECS["hires"].choices),
    mode=st.sampled_from(SPECS["mode"].choices),
    criterion=st.sampled_from(SPECS["criterion"].choices),
    size_conditioning=st.sampled_from(SPECS["size_conditioning"].choices),
    hires_ratios=st.just("") | SECOND | st.builds("{}/{!r}".format, SECOND, K) | STAGES,
    stages=st.just("") | STAGES,
)


@examples(deadline=None, max_examples=60)
@example(Settings(True, "custom", 0.3974999, 0.999999, 1e-07, 1.51234), False)
@example(Settings(True, "custom", 0.3975, 0.434, 0.387, -0.0), True)
@example(Settings(True), True)
@example(Settings(True, hires="second"), True)
@example(Settings(True, "custom", 0.0, -0.0, 0.0, hires_ratios="0.1/0.2/0.3/1.2"), True)
@example(Settings(True, "custom", stages="0.1/0.2/0.3; 0.4/0.2/0.3/0 from 0.5", hires_ratios="0.1/0.2/0.3"), True)
@example(Settings(True, "custom", stages="0.1/0.2/0.3/1; 0.1/0.2/0.3/2 from 1e-05"), False)
@example(Settings(True, "staged", k=-1.0), True)
@given(SETTINGS, st.booleans())
def test_an_infotext_draws_its_image_again(library: PresetLibrary, settings: Settings, hires_fix: bool) -> None:
    params = drawn(settings, library, hires_fix)
    assert not any(re.fullmatch(r"-0|1/.*|.*/1(/.*)?", str(value)) for value in params.values())
    before = [effect(settings, library, hires_pass) for hires_pass in (False, True)[: 1 + hires_fix]]
    back = Settings(**{name: value for name, value in pasted(hosts_line(params), library).items() if value is not None})
    assert [effect(back, library, hires_pass) for hires_pass in (False, True)[: 1 + hires_fix]] == before


@examples(deadline=None, max_examples=60)
@example("CR-Diff preset")
@example("cr-diff  PRESET")
@example("CR-Diff k")
@example("12x34")
@example("\u0661x\u0662")
@example('"quoted"')
@example("a: b, c")
@given(st.text(max_size=9) | st.text(alphabet='aB1x,:"\\ /-\u00e9e\u0301', max_size=9))
def test_a_name_that_can_be_saved_is_read_back(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    library = PresetLibrary(tmp_path_factory.mktemp("names"))
    try:
        library.store.save(Preset.own(name, SDXL, Size(64, 64), Ratios(0.1, 0.2, 0.3), 1.2))
    except PresetError as refusal:
        assert str(refusal).isprintable()
        return
    (own,) = library.own().presets
    for typed in (own.name, f" {own.name.swapcase() if own.name.isascii() else own.name} "):
        settings = read_settings(({"enabled": True, "preset": typed},), {}, library)
        assert settings.preset == own.name
        line = hosts_line(drawn(settings, library, hires_fix=False))
        assert pasted(line, library)["preset"] == own.name


def test_what_auto_found_is_drawn_again_when_another_preset_fits(tmp_path):
    library = PresetLibrary(tmp_path)
    settings = Settings(True)
    line = hosts_line(drawn(settings, library, hires_fix=True))
    before = [effect(settings, library, hires_pass) for hires_pass in (False, True)]
    for place, size in enumerate(SIZES):
        library.store.save(Preset.own(f"own {place}", SDXL, size, Ratios(0.1, 0.2, 0.3), 1.1))
    assert [effect(settings, library, hires_pass) for hires_pass in (False, True)] != before
    back = pasted(line, library)
    assert back["preset"] == "Custom"
    assert [effect(Settings(**back), library, hires_pass) for hires_pass in (False, True)] == before
    assert hosts_parse(line)["CR-Diff source"] == "preset for SDXL, 512x512"
    again = drawn(Settings(**pasted(line, PresetLibrary())), PresetLibrary(), hires_fix=True)
    assert again["CR-Diff source"] == "custom ratios, as Auto finds them (preset for SDXL, 512x512)"


def test_a_preset_that_has_changed_or_is_gone_comes_back_as_its_numbers(tmp_path):
    library = PresetLibrary(tmp_path)
    preset = Preset.own("Mine", SDXL, Size(64, 64), Ratios(0.2, 0.3, 0.4), 1.2)
    library.store.save(preset)
    line = hosts_line(drawn(Settings(True, "Mine"), library, hires_fix=False))
    assert pasted(line, library)["preset"] == "Mine"
    # A k of one's own is not the preset's, which choosing the preset would bring back.
    own_k = drawn(Settings(True, "Mine", k=2.0), library, hires_fix=False)
    assert (pasted(hosts_line(own_k), library)["preset"], own_k["CR-Diff k"]) == ("Custom", "2")
    library.store.rename("Mine", "mine")
    assert pasted(line, library)["preset"] == "mine"
    for changed in (replace(preset, k=1.3), replace(preset, schedule=Schedule.constant(Ratios(0.2, 0.3, 0.41))), None):
        library.store.delete("mine")
        if changed is not None:
            library.store.save(replace(changed, name="mine"))
        back = pasted(line, library)
        assert [back[name] for name in ("preset", *GROUPS, "k")] == ["Custom", 0.2, 0.3, 0.4, 1.2]


VERSION_1_0_0 = [
    (
        "CR-Diff preset: custom, CR-Diff down: 0.3975, CR-Diff mid: 0.434, CR-Diff up: 0.387, CR-Diff k: 2, "
        "CR-Diff start: 0.1, CR-Diff end: 0.9, CR-Diff mode: balanced, CR-Diff hires ratios: 0.398/0.434/0.387, "
        "CR-Diff source: custom ratios, CR-Diff sparsity: 0.397/0.434/0.387",
        Settings(True, "custom", 0.3975, 0.434, 0.387, 2.0, 0.1, 0.9, "both", "balanced"),
    ),
    (
        "CR-Diff preset: custom, CR-Diff down: 0.2, CR-Diff mid: 0.2, CR-Diff up: 0.2, CR-Diff k: 1.5, "
        "CR-Diff hires: second",
        Settings(True, "custom", 0.2, 0.2, 0.2, 1.5, hires="second"),
    ),
    ("CR-Diff preset: auto, CR-Diff k: 1.5", Settings(True, "auto", k=1.5)),
    (
        "CR-Diff preset: auto, CR-Diff k: 1.5, CR-Diff down: 0.397, CR-Diff mid: 0.434, CR-Diff up: 0.387, "
        'CR-Diff source: "no preset of this size, interpolated from 512x512, 512x640 and 640x512", '
        "CR-Diff sparsity: 0.397/0.434/0.387, CR-Diff hires ratios: 0.3/0.34/0.3",
        Settings(True, "custom", 0.397, 0.434, 0.387, 1.5, hires_ratios="0.3/0.34/0.3"),
    ),
    (
        "CR-Diff preset: sdxl 512X512, CR-Diff k: 1.5, CR-Diff down: 0.397, CR-Diff mid: 0.434, CR-Diff up: 0.387",
        Settings(True, "SDXL 512x512", 0.397, 0.434, 0.387, 1.5),
    ),
    (
        "CR-Diff preset: 640x832, CR-Diff k: 1.5, CR-Diff down: 0.2429, CR-Diff mid: 0.2, CR-Diff up: 0.3",
        Settings(True, "640x832", 0.2429, 0.2, 0.3, 1.5),
    ),
]


@pytest.mark.parametrize(("entries", "expected"), VERSION_1_0_0)
def test_infotexts_of_version_1_0_0(library, entries, expected):
    line = f"Steps: 20, Sampler: Euler, Size: 512x512, CR-Diff version: 1.0.0, {entries}, Version: v1.10.1"
    back = {name: value for name, value in pasted(line, library).items() if value is not None}
    assert Settings(**back) == expected


def test_keys_that_say_nothing_are_left_out():
    params = written(Settings(True))
    assert set(params) == {"Other", "CR-Diff version", "CR-Diff preset", "CR-Diff k"}
    same = Outcome([applied(0.41, 0.41, 0.41)])
    params = written(Settings(True), same, same)
    assert set(params) - {f"CR-Diff {group}" for group in GROUPS} == {
        "Other", "CR-Diff version", "CR-Diff preset", "CR-Diff k", "CR-Diff source",
    }  # fmt: skip
    assert written(Settings(True), Outcome([applied(0.4, 0.41, 0.41)]))["CR-Diff sparsity"] == "0.410/0.410/0.410"
    tiny = written(Settings(True), Outcome([applied(1e-4, 0.0, 0.0, pruned=0.0)], "Too small."))
    assert (tiny["CR-Diff sparsity"], tiny["CR-Diff note"]) == ("0.000/0.000/0.000", "Too small.")


def test_a_size_told_without_pruning_is_written_and_read_back(library):
    settings = Settings(True, "custom", 0.0, 0.0, 0.0, size_conditioning="native")
    plan = plan_for(settings, Size(400, 560), library).make(CHECKPOINT)
    params = written(settings, Outcome(adapted=plan))
    assert params["CR-Diff source"] == "no pruning, told the size 896x1216 (height x width)"
    assert "CR-Diff note" not in params
    assert params["CR-Diff size conditioning"] == "native"
    assert pasted(hosts_line(params), library)["size_conditioning"] == "native"


def test_the_second_pass_is_told_where_it_differs():
    first = Outcome([applied(0.3975, 0.43, 0.39)])
    params = written(Settings(True), first, Outcome([applied(0.3975, 0.43, 0.39, 1.25)]))
    assert ("CR-Diff hires ratios" in params, params["CR-Diff hires k"]) == (False, "1.25")
    params = written(Settings(True), first, Outcome([applied(0.398, 0.43, 0.39)]))
    assert (params["CR-Diff hires ratios"], "CR-Diff hires k" in params) == ("0.398/0.43/0.39", False)
    # A model that could not be handled was drawn with nothing left out.
    refused = Outcome((), "The model has no such layers.", refused=True)
    params = written(Settings(True), first, refused)
    assert params["CR-Diff hires ratios"] == "0/0/0"
    assert params["CR-Diff note"] == "Second pass: The model has no such layers."
    params = written(Settings(True), refused, first)
    assert [params[f"CR-Diff {key}"] for key in ("down", "k", "hires ratios")] == ["0", "1.5", "0.3975/0.43/0.39"]
    only = written(Settings(True, "custom", 0.1, 0.2, 0.3, hires="second"), None, Outcome([applied(0.1, 0.2, 0.3)]))
    assert only["CR-Diff source"] == "preset 512x512"


def test_auto_stays_where_numbers_cannot_say_what_was_drawn(library):
    """A refiner with ratios of its own, or one that cannot be handled."""
    stages = Outcome([applied(0.1, 0.2, 0.3), applied(0.4, 0.2, 0.3)])
    for outcome in (stages, replace(stages, applied=stages.applied[:1], refused=True)):
        params = written(Settings(True), outcome)
        assert pasted(hosts_line(params), library)["preset"] == "Auto"
    assert written(Settings(True), stages)["CR-Diff later ratios"] == "0.4/0.2/0.3/1.5"


def test_stages_are_one_short_value_that_hosts_leave_as_it_is(tmp_path, library):
    settings = Settings(True, "custom", k=1.4, stages="0.4/0.3/0.3; 0.2/0.2/0.1/1.2 from 0.5", hires_ratios="0/0/0.1")
    params = drawn(settings, library, hires_fix=True)
    assert [params[f"CR-Diff {key}"] for key in ("down", "mid", "up", "k")] == ["0.4", "0.3", "0.3", "1.4"]
    assert params["CR-Diff stages"] == "0.4/0.3/0.3; 0.2/0.2/0.1/1.2 from 0.5"
    assert "CR-Diff stages: 0.4/0.3/0.3; 0.2/0.2/0.1/1.2 from 0.5, CR-Diff k" in hosts_line(params)
    back = pasted(hosts_line(params), library)
    assert (back["preset"], back["stages"], back["hires_ratios"]) == ("Custom", settings.stages, "0/0/0.1")
    own, empty = drawn(Settings(True, "staged"), library, hires_fix=False), PresetLibrary(tmp_path)
    assert [pasted(hosts_line(own), one)["preset"] for one in (library, empty)] == ["staged", "Custom"]
    assert pasted(hosts_line(own), empty)["stages"] == str(library.named("staged").schedule)
    empty.store.save(replace(library.named("staged"), schedule=Schedule.parse("0.1/0.2/0.3/1.2345; 0/0/0 from 0.2")))
    assert pasted(hosts_line(own), empty)["preset"] == "Custom"
    one = drawn(Settings(True, "custom", stages="0.1/0.2/0.3/1.2"), library, hires_fix=False)
    assert one == drawn(Settings(True, "custom", 0.1, 0.2, 0.3, 1.2), library, hires_fix=False)


def test_an_infotext_without_crdiff_switches_it_off_and_touches_nothing_else(library):
    back = pasted("Steps: 20, Sampler: Euler, Seed: 1", library)
    assert back.pop("enabled") is False
    assert all(value is None for value in back.values())


@pytest.mark.parametrize(
    ("key", "value", "name", "expected"),
    [
        ("CR-Diff k", "9", "k", 3.0),
        ("CR-Diff k", "nan", "k", None),
        ("CR-Diff start", "soon", "start", 0.0),
        ("CR-Diff end", "-1", "end", 0.0),
        ("CR-Diff hires", "third", "hires", "both"),
        ("CR-Diff mode", "slow", "mode", "exact"),
        ("CR-Diff down", "1.5", "down", 0.999),
        ("CR-Diff hires ratios", "0.3/1.3/0.3", "hires_ratios", ""),
        ("CR-Diff hires k", "9", "hires_ratios", ""),
        ("CR-Diff stages", "0.1/0.2/0.3; 0.1/0.2/0.3 from 2", "stages", ""),
        ("CR-Diff from the future", "x", "k", 1.5),
    ],
)
def test_values_of_other_versions_do_no_harm(library, key, value, name, expected):
    params = written(Settings(True, "custom", k=1.5))
    params[key] = value
    assert pasted(hosts_line(params), library)[name] == expected


def test_writing_and_clearing_leave_what_is_not_ours():
    params = written(Settings(True, "custom"), Outcome([applied(0.4, 0.43, 0.39)]), remark="Why.")
    assert params["CR-Diff note"] == "Why."
    infotext.write(params, Settings(True), {})
    assert set(params) == {"Other", "CR-Diff version", "CR-Diff preset", "CR-Diff k"}
    infotext.clear(params)
    assert params == {"Other": 1}
