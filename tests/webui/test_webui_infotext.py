"""What pictures carry, and what pasting it restores."""

from __future__ import annotations

import pytest

from crdiff.guidance.run import Applied
from crdiff.method.groups import GROUPS, Ratios
from crdiff.method.schedule import Schedule
from crdiff.models.unet import SDXL
from crdiff.plan import Plan
from crdiff.pruning.criterion import GroupSparsity
from crdiff.settings import SPECS, Settings
from crdiff.webui import infotext

KNOWN = ("Auto", "Custom", "SDXL 512x512", "mine")


def applied(down, mid, up, k=1.5, origin="preset 512x512"):
    ratios = Ratios(down, mid, up)
    thresholds = {group: GroupSparsity(100, 41, 0.1) for group in GROUPS}
    return Applied(SDXL, Plan(Schedule.constant(ratios), k, origin), ratios, thresholds)


def written(settings, k=1.5, passes=()):
    params = {"Other": 1}
    infotext.write_settings(params, settings, k)
    for hires_pass, what in passes:
        infotext.write_applied(params, [what], hires_pass=hires_pass)
    return params


def pasted(params):
    """As the hosts do: every value arrives as text."""
    texts = {key: str(value) for key, value in params.items()}
    return {name: infotext.reader(name, KNOWN.__contains__)(texts) for name in SPECS}


def test_custom_settings_come_back():
    settings = Settings(True, "custom", 0.397, 0.434, 0.387, 2.0, 0.1, 0.9, "second", "balanced")
    params = written(settings, 2.0, [(False, applied(0.397, 0.434, 0.387, 2.0, "custom ratios"))])
    assert pasted(params) == {
        "enabled": True, "preset": "Custom", "down": 0.397, "mid": 0.434, "up": 0.387, "k": 2.0, "start": 0.1,
        "end": 0.9, "hires": "second", "mode": "balanced", "criterion": "magnitude",
    }  # fmt: skip


def test_auto_comes_back_with_the_ratios_it_found():
    params = written(Settings(True), 1.5, [(False, applied(0.4, 0.43, 0.39))])
    back = pasted(params)
    assert (back["preset"], back["down"], back["mid"], back["up"]) == ("Auto", 0.4, 0.43, 0.39)
    assert (back["start"], back["end"], back["hires"], back["mode"]) == (0.0, 1.0, "both", "exact")
    assert params["CR-Diff sparsity"] == "0.410/0.410/0.410"
    assert params["CR-Diff source"] == "preset 512x512"


def test_defaults_are_left_out_and_the_version_has_its_own_key():
    params = written(Settings(True))
    assert set(params) == {"Other", "CR-Diff version", "CR-Diff preset", "CR-Diff k"}


def test_a_hires_pass_is_noted_only_where_it_differs():
    same = [(False, applied(0.4, 0.43, 0.39)), (True, applied(0.4, 0.43, 0.39))]
    other = [(False, applied(0.4, 0.43, 0.39)), (True, applied(0.3, 0.34, 0.3))]
    assert "CR-Diff hires ratios" not in written(Settings(True), 1.5, same)
    params = written(Settings(True), 1.5, other)
    assert params["CR-Diff hires ratios"] == "0.3/0.34/0.3"
    assert params["CR-Diff down"] == "0.4"


def test_an_infotext_without_crdiff_switches_it_off_and_touches_nothing_else():
    back = pasted({"Steps": 20, "Sampler": "Euler"})
    assert back.pop("enabled") is False
    assert all(value is None for value in back.values())


def test_a_preset_that_is_gone_becomes_custom_with_its_ratios():
    params = written(Settings(True, "mine"), 1.5, [(False, applied(0.2, 0.3, 0.4))])
    assert pasted(params)["preset"] == "mine"
    params["CR-Diff preset"] = "deleted since"
    back = pasted(params)
    assert (back["preset"], back["down"], back["mid"], back["up"]) == ("Custom", 0.2, 0.3, 0.4)


@pytest.mark.parametrize(
    ("key", "value", "name", "expected"),
    [
        ("CR-Diff k", "9", "k", 3.0),
        ("CR-Diff k", "nan", "k", None),
        ("CR-Diff start", "soon", "start", 0.0),
        ("CR-Diff end", "-1", "end", 0.0),
        ("CR-Diff hires", "third", "hires", "both"),
        ("CR-Diff mode", "slow", "mode", "exact"),
        ("CR-Diff down", "1.5", "down", 0.99),
        ("CR-Diff from the future", "x", "k", 1.5),
    ],
)
def test_values_of_other_versions_do_no_harm(key, value, name, expected):
    params = written(Settings(True), 1.5)
    params[key] = value
    assert pasted(params)[name] == expected


def test_clearing_leaves_what_is_not_ours():
    params = written(Settings(True), 1.5, [(False, applied(0.4, 0.43, 0.39))])
    infotext.write_note(params, "why")
    infotext.clear(params)
    assert params == {"Other": 1}
