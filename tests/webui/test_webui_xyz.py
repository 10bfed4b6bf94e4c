"""The axes of the X/Y/Z plot: values checked before the grid, each written to one cell only."""

from __future__ import annotations

import copy
import math
import sys
import types
from dataclasses import fields

import pytest

from crdiff.errors import SettingsError
from crdiff.presets.library import PresetLibrary
from crdiff.settings import Settings
from crdiff.webui import xyz


class Axis:
    """The plot's AxisOption, as much as an extension gives it."""

    def __init__(self, label, type_, apply, confirm=None, choices=None):
        self.label, self.type, self.apply, self.confirm, self.choices = label, type_, apply, confirm, choices


@pytest.fixture
def axes(monkeypatch, tmp_path):
    options = [Axis("Steps", int, None)]
    plot = types.SimpleNamespace(axis_options=options, AxisOption=Axis)
    script_class = type("XYZ", (), {"__module__": "xyz_grid.py"})
    host = types.ModuleType("modules")
    host.scripts = types.SimpleNamespace(scripts_data=[types.SimpleNamespace(script_class=script_class, module=plot)])
    monkeypatch.setitem(sys.modules, "modules", host)
    library = PresetLibrary(tmp_path)
    xyz.add_axes(library)
    xyz.add_axes(library)
    return {axis.label: axis for axis in plot.axis_options}, plot


def test_every_setting_has_one_axis(axes):
    by_label, plot = axes
    labels = {"enabled": "Enabled", "preset": "Preset"}
    names = [labels.get(field.name, field.name) for field in fields(Settings)]
    assert sorted(axis.label for axis in plot.axis_options) == sorted(["Steps", *(f"[CR-Diff] {one}" for one in names)])
    assert "SDXL 512x512" in by_label["[CR-Diff] Preset"].choices()
    assert by_label["[CR-Diff] hires"].choices() == ["both", "first", "second"]
    second_pass = ["[CR-Diff] hires", "[CR-Diff] hires_ratios"]
    assert [axis.label for axis in plot.axis_options if getattr(axis, "is_img2img", None) is False] == second_pass


def test_a_cell_does_not_leak_into_the_next(axes):
    by_label, _ = axes
    p = types.SimpleNamespace()
    first, second = copy.copy(p), None
    by_label["[CR-Diff] k"].apply(first, 2.0, [2.0])
    second = copy.copy(first)
    by_label["[CR-Diff] up"].apply(second, 0.7, [0.7])
    assert xyz.overrides(first) == {"enabled": True, "k": 2.0}
    assert xyz.overrides(second) == {"enabled": True, "k": 2.0, "up": 0.7, "preset": "custom", "stages": ""}
    assert xyz.overrides(p) == {}


@pytest.mark.parametrize(("value", "expected"), [("True", True), ("False", False), (" true ", True)])
@pytest.mark.parametrize("order", [1, -1])
def test_an_axis_acts_with_the_accordion_off_unless_the_axis_enabled_says_otherwise(axes, value, expected, order):
    by_label, _ = axes
    p = types.SimpleNamespace()
    for name, given in [("Enabled", value), ("k", 2.0)][::order]:
        by_label[f"[CR-Diff] {name}"].apply(p, given, [given])
    assert xyz.overrides(p) == {"enabled": expected, "k": 2.0}


@pytest.mark.parametrize(
    ("axis", "value", "words"),
    [
        ("k", 3.5, "k must lie in"),
        ("down", 1.0, "down must lie in"),
        ("end", -0.1, "end must lie in"),
        ("end", math.nan, "end must lie in"),
        ("mode", "quick", "mode must be one of"),
        ("hires", "third", "hires must be one of"),
        ("Preset", "no such", "'no such' does not exist"),
        ("Preset", " ", "preset must be the name"),
        ("stages", "0.3/0.3/0.3; 0.1/0.1/0.1", "stages must be written as in"),
        ("Enabled", "maybe", "takes True and False, not 'maybe'"),
    ],
)
def test_a_bad_value_is_told_before_anything_is_drawn(axes, axis, value, words):
    by_label, _ = axes
    option, p = by_label[f"[CR-Diff] {axis}"], types.SimpleNamespace(enable_hr=True)
    good = {
        "Enabled": "False",
        "Preset": "sdxl 512X512",
        "mode": "fast",
        "hires": "second",
        "hires_ratios": "0.3/0.34/0.3",
        "stages": "0.3/0.3/0.3; 0.1/0.1/0.1/1.2 from 0.5",
    }.get(axis, 0.5)
    option.confirm(p, [good, good])
    with pytest.raises(SettingsError, match=words):
        option.confirm(p, [good, value])


def test_no_cell_starts_after_its_end(axes):
    by_label, _ = axes
    for ends, fits in (([0.5, 1.0], True), ([0.4, 1.0], False)):
        p = types.SimpleNamespace()
        by_label["[CR-Diff] start"].confirm(p, [0.0, 0.5])
        if fits:
            by_label["[CR-Diff] end"].confirm(p, ends)
            continue
        with pytest.raises(SettingsError, match="after the end"):
            by_label["[CR-Diff] end"].confirm(p, ends)


def test_axes_whose_cells_would_all_be_the_same_are_refused(axes):
    by_label, _ = axes
    with pytest.raises(SettingsError, match="as long as Hires"):
        by_label["[CR-Diff] hires"].confirm(types.SimpleNamespace(enable_hr=False), ["both", "first"])
    for names in (("Preset", "down"), ("up", "Preset")):
        first, second = (by_label[f"[CR-Diff] {name}"] for name in names)
        p = types.SimpleNamespace()
        values = {"Preset": ["auto"], "down": [0.1], "up": [0.1]}
        first.confirm(p, values[names[0]])
        with pytest.raises(SettingsError, match="without effect"):
            second.confirm(p, values[names[1]])


def test_a_host_without_the_plot_is_left_alone(monkeypatch, tmp_path):
    host = types.ModuleType("modules")
    host.scripts = types.SimpleNamespace(scripts_data=[])
    monkeypatch.setitem(sys.modules, "modules", host)
    xyz.add_axes(PresetLibrary(tmp_path))
