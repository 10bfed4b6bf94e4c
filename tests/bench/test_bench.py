"""The benchmark against published numbers, and against a mode that does not do what it says."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from crdiff.__main__ import main
from crdiff.bench import overhead
from crdiff.bench.benchmark import GROUP_SETS, run_benchmark
from crdiff.bench.floors import count_operations
from crdiff.bench.modes import Case
from crdiff.bench.options import parse_options
from crdiff.bench.random_model import PUBLISHED, build_model, make_steps, with_the_same_weights
from crdiff.bench.report import to_json, to_text
from crdiff.bench.timing import Turn, interleave
from crdiff.models.architecture import find_layers
from crdiff.models.flux import FLUX
from crdiff.models.scope import Scope
from crdiff.models.sd3 import SD3
from crdiff.models.unet import SD15, SDXL
from crdiff.modes.registry import MODES
from crdiff.presets.size import Size

CPU, META = torch.device("cpu"), torch.device("meta")
TINY = ("--scale", "0.03", "--size", "64x64", "--rounds", "1")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def printed() -> dict:
    """What the command prints as JSON."""
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr("builtins.print", lambda *texts, **_: lines.extend(texts))
        assert main(["bench", *TINY, "--json"]) == 0
    return json.loads("".join(lines))


@pytest.mark.parametrize(
    ("family", "parameters", "prunable"),
    [
        (SD15, 859.5, {"down": (36, 68.8), "mid": (6, 26.2), "up": (54, 103.2)}),
        (SDXL, 2567.5, {"down": (144, 550.5), "mid": (60, 262.1), "up": (216, 825.8)}),
        (SD3, 2028.3, {"down": (16, 151.0), "mid": (16, 151.0), "up": (16, 151.0)}),
        (FLUX, 11891.2, {"down": (38, 1434.5), "mid": (0, 0.0), "up": (0, 0.0)}),
    ],
)
def test_the_model_has_the_published_shape(family, parameters, prunable):
    model = build_model(PUBLISHED[family], META, torch.float16)
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6, 1) == parameters
    layers = find_layers(model)
    assert layers.family is family
    found = {group: layers.group(group) for group in prunable}
    counts = {group: sum(layer.module.weight.numel() for layer in some) for group, some in found.items()}
    assert {group: (len(found[group]), round(counts[group] / 1e6, 1)) for group in prunable} == prunable


@pytest.mark.parametrize(
    ("family", "tera", "floors"),
    [(SD15, 1.607, (1.976, 1.682, 1.609)), (SDXL, 3.178, (1.939, 1.657, 1.533))],
)
def test_floors_at_512x512(family, tera, floors):
    """Counted independently on the UNets of another library."""
    found = count_operations(PUBLISHED[family], Size(512, 512))
    assert found.total / 1e12 == pytest.approx(tera, abs=0.001)
    assert [found.floor(case.groups) for case in GROUP_SETS] == pytest.approx(floors, abs=0.002)


def test_floors_of_transformers_at_512x512():
    """By hand: both passes compute what comes behind the first pruned layer, but for the modulation."""

    def stream(width, tokens, weights):
        """Linears of ``weights`` squares of the width, over tokens."""
        return 2 * tokens * width * width * weights

    flux = count_operations(PUBLISHED[FLUX], Size(512, 512), Scope("feed-forward"))
    assert flux.total / 1e12 == pytest.approx(17.686, abs=0.001)  # of diffusers' class, counted by torch
    width, tokens = 3072, 1024 + 256
    single = stream(width, tokens, 12) + 4 * tokens * tokens * width
    final = 2 * 1024 * width * 64
    assert flux.floor(("mid", "up")) == pytest.approx(1.0 + (38 * single + final) / flux.total, rel=1e-9)
    assert flux.floor(("up",)) == pytest.approx(1.0 + (19 * single + final) / flux.total, rel=1e-9)

    sd3 = count_operations(PUBLISHED[SD3], Size(512, 512))
    assert sd3.total / 1e12 == pytest.approx(3.605, abs=0.001)
    width, image, text = 1536, 2 * 1024, 2 * 154
    attention = 2 * 4 * (1024 + 154) ** 2 * width
    double = stream(width, image + text, 12) + attention
    # In the first pruned block the image's feed-forward, in the next the text's queries, keys and values not again;
    # the last one ends the text's stream with those.
    again = stream(width, image, 8) + 7 * double - stream(width, text, 3) - stream(width, text, 9)
    again += 2 * image * width * 64
    assert sd3.floor(("up",)) == pytest.approx(1.0 + again / sd3.total, rel=1e-9)


@pytest.mark.parametrize(
    ("family", "blocks"),
    [pytest.param(SD3, {"blocks": 3}, marks=pytest.mark.full), (FLUX, {"blocks": 2, "single_blocks": 2})],
)
def test_transformers_equal_the_authors_design(family, blocks, monkeypatch):
    """With as few blocks as have all groups."""
    published = PUBLISHED[family]
    monkeypatch.setitem(PUBLISHED, family, replace(published, shape=replace(published.shape, **blocks), tokens=8))
    words = {"family": family.value, "size": "64x64", "dtype": None, "device": "cpu", "scale": "0.04"}
    options = parse_options(**words, rounds="1", ratios="0.3/0.2/0.4", k="1.5", layers="feed-forward")
    found = run_benchmark(options, [Case("exact", "exact", all_groups=True)])
    assert found.thresholds.equal
    for pruned, costs in found.modes["exact"].items():
        assert (costs.bitwise_equal, costs.deviation) == (True, 0.0)
        # Nothing is shared within the first pruned block, one of three or four.
        assert 0.0 <= costs.operations - found.floors[pruned] < 1 / 3


@pytest.mark.full
def test_what_the_command_prints_as_json(printed):
    modes = printed["modes"]
    assert {"exact", "fast", "balanced", "reference"} <= set(modes)
    for costs in modes.values():
        assert costs["step_ratio"] > 0
        assert isinstance(costs["extra_bytes"], int)
        assert isinstance(costs["bitwise_equal"], bool)
    assert {"seconds", "kthvalue_seconds", "peak_bytes"} <= set(printed["profile"])
    assert printed["profile"]["equal"] is True
    assert printed["new_ratio_seconds"] > 0
    assert printed["disabled_ratio"] > 0
    assert set(printed["floors"]) == set(modes["exact"]["cases"]) == {"all", "down=0", "down=mid=0"}


@pytest.mark.full
def test_exact_modes_equal_the_authors_design_and_the_others_say_how_far_they_are(printed):
    modes = printed["modes"]
    assert modes["reference"]["deviation"] == 0.0
    for name in ("exact", "on_the_fly", "kept_copies"):
        for costs in [modes[name], *modes[name]["cases"].values()]:
            assert (costs["bitwise_equal"], costs["deviation"]) == (True, 0.0)
    for name in ("fast", "balanced"):
        assert modes[name]["bitwise_equal"] is False
        assert 0.0 < modes[name]["deviation"] < 1.0


@pytest.mark.full
def test_operations_of_a_step(printed):
    """Counted while it runs: two whole passes, one, and in the exact mode hardly more than must be."""
    modes = printed["modes"]
    assert modes["reference"]["operations"] == 2.0
    assert modes["fast"]["operations"] == 1.0
    for case, costs in modes["exact"]["cases"].items():
        assert costs["floor"] == printed["floors"][case]
        assert costs["floor"] <= costs["operations"] <= 1.02 * costs["floor"]


@pytest.mark.full
def test_memory(printed):
    """The authors' design holds a second UNet; kept copies take the pruned layers' weights."""
    shape = PUBLISHED[SD15].scaled(0.03)
    unet = build_model(shape, META, torch.float32)
    whole = 4 * sum(parameter.numel() for parameter in unet.parameters())
    pruned = 4 * sum(layer.module.weight.numel() for layer in find_layers(unet).layers)
    modes = printed["modes"]
    assert whole <= modes["reference"]["extra_bytes"] < 1.1 * whole
    assert pruned <= modes["kept_copies"]["extra_bytes"] - modes["on_the_fly"]["extra_bytes"] < 1.1 * pruned


class Sabotage:
    """A mode that forgets the pruned pass."""

    name, help, passes, shares, pruned_passes = "sabotage", "", 2.0, False, 1.0

    def predict(self, step):
        return step.dense()


@pytest.mark.usefixtures("shallow")
def test_a_mode_that_does_not_do_what_it_says_is_found_out(monkeypatch):
    monkeypatch.setitem(MODES, Sabotage.name, Sabotage)
    words = {"family": "sd15", "size": "64x64", "dtype": None, "device": "cpu", "scale": "0.03"}
    options = parse_options(**words, rounds="1", ratios="0.4/0.4/0.4", k="1.5")
    results = run_benchmark(options, [Case("exact", Sabotage.name)], GROUP_SETS[:1])
    costs = to_json(results)["modes"]["exact"]
    assert costs["bitwise_equal"] is False
    assert costs["deviation"] == pytest.approx(1.0)
    assert "| exact | all |" in to_text(results)
    assert "1 of the change |" in to_text(results)


@pytest.mark.full
def test_another_criterion():
    """Calibrated by a pass of the benchmark's own; skipped blocks are operations less."""
    words = {"family": "sd15", "size": "64x64", "dtype": None, "device": "cpu", "scale": "0.03"}
    options = parse_options(**words, rounds="1", ratios="0.4/0.4/0.4", k="1.5", criterion="layerdrop")
    found = run_benchmark(options, [Case("exact", "exact")], GROUP_SETS[:1])
    costs = found.modes["exact"]["all"]
    assert 1.5 < costs.operations < 1.95
    assert not costs.bitwise_equal
    assert to_json(found)["measured"]["criterion"] == "layerdrop"
    assert "criterion layerdrop; " in to_text(found)


@pytest.mark.full
def test_a_stage_costs_no_operations(capsys):
    assert main(["bench", "--stages", *TINY, "--modes", "exact", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (list(found), found["exact"]["operations"]) == (["exact"], 1.0)
    assert found["exact"]["time"] > 0


def test_shared_weights_but_modules_of_their_own():
    shape = PUBLISHED[SDXL].scaled(0.03)
    unet = build_model(shape, CPU, torch.float32)
    other = with_the_same_weights(unet)
    assert all(mine is its for mine, its in zip(unet.parameters(), other.parameters()))
    assert not set(unet.modules()) & set(other.modules())
    (inputs,) = make_steps(shape, Size(72, 88), 1, CPU, torch.float32)
    found = unet(*inputs)
    assert found.shape == (2, 4, 9, 11)
    assert torch.equal(found, other(*inputs))
    assert not torch.equal(found, unet(*inputs._replace(y=inputs.y + 1)))


def test_thresholds_alone(capsys):
    assert main(["bench", "--weights", "0.1M", "--dtype", "float16", "--rounds", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"profile", "new_ratio_seconds", "recount_seconds"}
    assert (found["profile"]["weights"], found["profile"]["equal"]) == (100_000, True)
    # A value of two bytes and an index of eight for each weight at the least.
    assert found["profile"]["kthvalue_peak_bytes"] >= 10 * 100_000


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--family", "sd9"], "'sd9'"),
        (["--size", "100x100"], "100x100"),
        (["--family", "flux", "--size", "200x200"], "multiples of 16"),
        (["--family", "flux", "--layers", "text"], "'text'"),
        (["--family", "flux", "--threshold", "row"], "'row'"),
        (["--size", "big"], "'big'"),
        (["--dtype", "int8"], "'int8'"),
        (["--device", "nowhere"], "'nowhere'"),
        (["--device", "meta"], "'meta'"),
        (["--scale", "0"], "scale"),
        (["--scale", "nan"], "scale"),
        (["--rounds", "0"], "'0'"),
        (["--ratios", "0.4/0.4"], "'0.4/0.4'"),
        (["--ratios", "0/0.4/0.4"], "above 0"),
        (["--k", "1"], "k"),
        (["--modes", "exact,quick"], "'quick'"),
        (["--weights", "many"], "'many'"),
    ],
)
def test_a_bad_option_gets_one_sentence(words, named, capsys):
    assert main(["bench", *words]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("crdiff: ") and printed.err.count("\n") == 1
    assert named in printed.err


@pytest.mark.usefixtures("shallow")
def test_overhead_as_json(monkeypatch, capsys):
    monkeypatch.setattr(overhead, "_SCALE", 0.03)
    assert main(["bench", "--overhead", "--rounds", "1", "--json"]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert set(found) == {"sdxl", "sd15"}
    named = {"reference", "exact", "on_the_fly", "kept_copies", "batched", "balanced", "fast", "off"}
    assert all(named <= set(ratios) and min(ratios.values()) > 0 for ratios in found.values())
    assert "SDXL: round 1 of 1" in printed.err


@pytest.mark.parametrize(("seconds", "rounds"), [(100.0, 2), (1.0, 9), (0.1, 30)])
def test_rounds_end_with_the_time_that_there_is(monkeypatch, seconds, rounds):
    """20 seconds, of which each of two turns takes its share; a slow machine still gets two rounds."""
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])

    def work(_):
        now[0] += seconds

    lines = []
    times = interleave({"a": Turn(work), "b": Turn(work)}, CPU, None, 20.0, lines.append)
    assert len(times["a"]) == len(times["b"]) == rounds
    assert len(lines) == 2 + rounds
