"""The axes of the X/Y/Z plot write to one cell only."""

from __future__ import annotations

import copy
import sys
import types

import pytest

from crdiff.presets.library import PresetLibrary
from crdiff.webui import xyz


class Axis:
    """The plot's AxisOption, as much as an extension gives it."""

    def __init__(self, label, type_, apply, choices=None):
        self.label, self.type, self.apply, self.choices = label, type_, apply, choices


@pytest.fixture
def axes(monkeypatch, tmp_path):
    plot = types.SimpleNamespace(axis_options=[Axis("Steps", int, None)], AxisOption=Axis)
    script_class = type("XYZ", (), {"__module__": "xyz_grid.py"})
    host = types.ModuleType("modules")
    host.scripts = types.SimpleNamespace(scripts_data=[types.SimpleNamespace(script_class=script_class, module=plot)])
    monkeypatch.setitem(sys.modules, "modules", host)
    library = PresetLibrary(tmp_path)
    xyz.add_axes(library)
    xyz.add_axes(library)
    return {axis.label: axis for axis in plot.axis_options}, plot


def test_every_axis_is_there_once(axes):
    by_label, plot = axes
    names = ["Enabled", "Preset", "k", "down", "mid", "up", "start", "end", "mode"]
    assert [axis.label for axis in plot.axis_options] == ["Steps", *(f"[CR-Diff] {name}" for name in names)]
    assert "SDXL 512x512" in by_label["[CR-Diff] Preset"].choices()


def test_a_cell_does_not_leak_into_the_next(axes):
    by_label, _ = axes
    p = types.SimpleNamespace()
    first, second = copy.copy(p), None
    by_label["[CR-Diff] k"].apply(first, 2.0, [2.0])
    second = copy.copy(first)
    by_label["[CR-Diff] up"].apply(second, 0.7, [0.7])
    assert xyz.overrides(first) == {"k": 2.0}
    assert xyz.overrides(second) == {"k": 2.0, "up": 0.7, "preset": "custom"}
    assert xyz.overrides(p) == {}


@pytest.mark.parametrize(("value", "expected"), [("True", True), ("False", False), (" true ", True)])
def test_enabled_is_read_from_its_text(axes, value, expected):
    by_label, _ = axes
    p = types.SimpleNamespace()
    by_label["[CR-Diff] Enabled"].apply(p, value, [value])
    assert xyz.overrides(p) == {"enabled": expected}


def test_a_host_without_the_plot_is_left_alone(monkeypatch, tmp_path):
    host = types.ModuleType("modules")
    host.scripts = types.SimpleNamespace(scripts_data=[])
    monkeypatch.setitem(sys.modules, "modules", host)
    xyz.add_axes(PresetLibrary(tmp_path))
