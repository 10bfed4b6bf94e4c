"""``bench --criteria``: what is counted, not timed."""

from __future__ import annotations

import json

import pytest

from crdiff.__main__ import main
from crdiff.bench import criteria
from crdiff.bench.allocations import Measured
from crdiff.bench.criteria import CriterionCosts

TINY = ["--scale", "0.05", "--size", "64x64", "--rounds", "1"]
MIB = 2**20


@pytest.mark.full
def test_attenuation_is_one_pass_without_memory_and_layerdrop_less_than_one(capsys):
    assert main(["bench", "--criteria", "attenuation,layerdrop,taylor", *TINY, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    alone = {name: costs["ways"]["pruned alone"] for name, costs in found.items()}
    assert (alone["attenuation"]["operations"], alone["taylor"]["operations"]) == (1.0, 1.0)
    assert abs(alone["attenuation"]["extra_bytes"]) < MIB / 16 < alone["taylor"]["extra_bytes"]
    assert 0.5 < alone["layerdrop"]["operations"] < 0.99
    assert all(1.5 < costs["ways"]["both passes"]["operations"] < 2.0 for costs in found.values())
    needs = {name: costs["calibration_seconds"] > 0 for name, costs in found.items()}
    assert needs == {"attenuation": False, "layerdrop": True, "taylor": True}


@pytest.mark.usefixtures("one_thread", "shallow")
def test_a_table_says_that_attenuation_computes_one_pass(capsys, monkeypatch):
    monkeypatch.setattr(criteria, "measure", lambda work, device: Measured(work(), 0, 0))  # a profiler takes seconds
    assert main(["bench", "--criteria", "attenuation", *TINY]) == 0
    heads, _, cells = (line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[-3:])
    assert (cells[0], cells[heads.index("operations")]) == ("attenuation", "1.00")


@pytest.mark.usefixtures("one_thread", "shallow")
def test_what_is_measured_is_told_though_the_rest_is_cut_off(capsys, monkeypatch):
    def costs(bench, criterion, progress):
        if criterion == "soft":
            raise KeyboardInterrupt
        return CriterionCosts({}, 0.0, 0.25)

    monkeypatch.setattr(criteria._Bench, "costs", costs)
    assert main(["bench", "--criteria", "attenuation,soft", *TINY]) != 0
    *_, last = capsys.readouterr().out.splitlines()
    assert last.startswith("| attenuation |") and last.endswith("| 0.25 |")


@pytest.mark.parametrize("names", ["attenuation,nothing", ","])
def test_an_unknown_criterion_is_told(capsys, names):
    assert main(["bench", "--criteria", names]) == 2
    assert "criterion" in capsys.readouterr().err
