"""A comparison without a host: its ways, what is counted, what is shown, what is refused."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
from PIL import Image

from crdiff.cost import passes_of
from crdiff.errors import SettingsError
from crdiff.method.groups import Ratios
from crdiff.method.schedule import Schedule
from crdiff.models.checkpoint import Checkpoint
from crdiff.models.unet import SD15, SDXL
from crdiff.plan import plan_for
from crdiff.presets.library import PresetLibrary
from crdiff.presets.size import Size
from crdiff.presets.table import Preset
from crdiff.scoring.errors import ScoringError
from crdiff.settings import Settings
from crdiff.webui.compare import grid
from crdiff.webui.compare import job as job_module
from crdiff.webui.compare.comparison import Column, Comparison, Drawn
from crdiff.webui.compare.context import CompareContext, Kept
from crdiff.webui.compare.drawing import k_of
from crdiff.webui.compare.job import run_compare
from crdiff.webui.compare.panel import panel_html
from crdiff.webui.compare.pruned import without_own_k
from crdiff.webui.compare.request import CompareRequest
from crdiff.webui.compare.scores import score
from crdiff.webui.compare.ways import WAYS


def column(way, scores=None, count=None, **more):
    images = [
        Drawn(Image.new("RGB", (24, 16), (10 * number, 0, 0)), "text", "a <cat>", "", 5 + number, 1)
        for number in range(len(scores) if count is None else count)
    ]
    return Column(way, images, 1.0, scores=scores, **more)


def test_each_way_has_its_settings():
    present = Settings(
        enabled=True, preset="custom", end=0.5, k=2.0, stages="0.4/0.3/0.3; 0.2/0.2/0.1/1.2 from 0.5",
        hires_ratios="0.1/0.1/0.1/2",
    )  # fmt: skip
    assert not WAYS["dense"].settings(present).enabled
    assert WAYS["crdiff"].settings(present) == present
    pruned = WAYS["pruned"].settings(present)
    assert (pruned.k, pruned.end) == (1.0, 0.5)
    assert pruned.stages == "0.4/0.3/0.3; 0.2/0.2/0.1/1 from 0.5"
    assert pruned.hires_ratios == "0.1/0.1/0.1/1"


@pytest.mark.parametrize("preset", ["auto", "staged"])
def test_the_pruned_model_is_alone_in_every_stage_and_pass(tmp_path, preset):
    library, sizes = PresetLibrary(tmp_path), {Size(64, 96): "0.4/0.3/0.3", Size(128, 192): "0.1/0.3/0.3"}
    for size, numbers in sizes.items():
        staged = Preset.own("staged" if size.height == 64 else "larger", SD15, size, Ratios(0.4, 0.3, 0.3), 1.5)
        library.store.save(replace(staged, schedule=Schedule.parse(f"{numbers}; 0.2/0.2/0.1/1.2 from 0.5")))
    wanted = Settings(True, preset, k=1.0, end=0.9, hires_ratios="0.9/0.9/0.9")
    job = SimpleNamespace(height=64, width=96, enable_hr=True, hr_scale=2.0, hr_resize_x=0, hr_resize_y=0)
    found = without_own_k(wanted, job, Checkpoint("a", SD15), library)
    second = "0.1/0.3/0.3" if preset == "auto" else "0.4/0.3/0.3"
    for hires_pass, numbers in ((False, "0.4/0.3/0.3"), (True, second)):
        drawn = found.for_pass(hires_pass=hires_pass)
        assert (str(drawn.schedule), drawn.k, drawn.end) == (f"{numbers}; 0.2/0.2/0.1 from 0.5", 1.0, 0.9)
    given = SimpleNamespace(**{**vars(job), "hr_resize_x": 192, "hr_scale": 1.0})
    assert without_own_k(wanted, given, Checkpoint("a", SD15), library) == found
    usual = replace(wanted, preset="SD1.x 512x512")
    assert without_own_k(usual, job, Checkpoint("a", SD15), library) == usual


@pytest.mark.parametrize(
    ("more", "k"),
    [
        ({}, 1.0),
        ({"CR-Diff stages": "0.4/0.3/0.3; 0.2/0.2/0.1 from 0.5"}, 1.0),
        ({"CR-Diff stages": "0.4/0.3/0.3; 0.2/0.2/0.1/1.2 from 0.5"}, None),
        ({"CR-Diff hires ratios": "0.4/0.3/0.3; 0.2/0.2/0.1/1.2 from 0.5"}, None),
        ({"CR-Diff hires k": "2"}, None),
    ],
)
def test_an_image_has_one_k_only_if_nothing_has_another(more, k):
    assert k_of({"CR-Diff source": "custom ratios", "CR-Diff k": "1", **more}) == k
    assert k_of({"CR-Diff k": "1", **more}) is None


def test_auto_stands_in_where_the_accordion_is_off():
    off = Settings(enabled=False, preset="custom", k=2.0, criterion="soft")
    assert WAYS["crdiff"].settings(off) == Settings(enabled=True, criterion="soft")
    assert WAYS["pruned"].settings(off) == Settings(enabled=True, criterion="soft", k=1.0)


def test_the_rivals_cost_one_pass():
    present = Settings(enabled=True, preset="custom", k=1.5, attention_scale="auto 768x768")
    for way, scale in (("attention", "auto 768x768"), ("attenuation", "off")):
        settings = WAYS[way].settings(present)
        plan = plan_for(settings, Size(400, 400)).make(Checkpoint("a", SD15))
        assert (passes_of(settings, plan, SD15), settings.attention_scale) == (1.0, scale)
        assert plan.idle is None
    told = WAYS["sizes"].settings(present)
    plan = plan_for(told, Size(400, 400)).make(Checkpoint("a", SDXL))
    assert (passes_of(told, plan, SDXL), plan.told, plan.attention) == (1.0, Size(1024, 1024), None)
    assert WAYS["attention"].settings(Settings()).attention_scale == "auto"
    assert WAYS["crdiff+attention"].settings(replace(present, attention_scale="off")) == replace(
        present, attention_scale="auto"
    )


@pytest.mark.parametrize(
    ("native", "asked", "found"),
    [
        # Of SDXL's buckets, by area and aspect.
        ((1024, 1024), (512, 512), (1024, 1024)),
        ((1024, 1024), (360, 480), (896, 1152)),
        ((1024, 1024), (768, 432), (1344, 768)),
        ((512, 512), (2048, 64), (2880, 64)),
    ],
)
def test_the_native_size_of_an_aspect(native, asked, found):
    assert Size(*native).with_aspect(Size(*asked)) == Size(*found)


def test_wins_and_gains_are_counted_seed_by_seed():
    # Seeds 1 and 3 go to CR-Diff, 2 to dense, 4 is a draw of the two best, and pruned lacks the last.
    dense = column("dense", [0.1, 0.9, 0.2, 0.5])
    amplified = column("crdiff", [0.2, 0.8, 0.6, 0.5])
    pruned = column("pruned", [0.0, 0.0, 0.0])
    comparison = Comparison([dense, pruned, amplified])
    assert [comparison.wins(one) for one in comparison.columns] == [1, 0, 2]
    assert dense.mean == pytest.approx(0.425)
    comparison.judge()
    # Differences 0.1, -0.1, 0.4, 0: mean 0.1, deviation 0.21602, and 3.182 standard errors of 0.10801.
    assert comparison.sentences[1] == (
        "CR-Diff scores higher than dense at 2 of 4 seeds, lower at 1; "
        "on average +0.100 (95 % interval -0.244 to +0.444)."
    )
    assert comparison.sentences[0].startswith("pruned (k = 1) scores higher than dense at 0 of 3 seeds, lower at 3;")
    uniform = Comparison([column("dense", [0.0, 0.0]), column("crdiff", [1.0, 1.0])])
    uniform.judge()
    assert uniform.sentences == [
        "CR-Diff scores higher than dense at 2 of 2 seeds, lower at 0; on average +1.000 (the same at each)."
    ]
    seeds = [one["wins"] for one in json.loads(json.dumps(comparison.summary()))["columns"]]
    assert seeds == [1, 0, 2]


def test_a_seed_that_one_way_lacks_leaves_the_others_in_their_places():
    comparison = Comparison([column("dense", count=2), column("crdiff", count=1)])
    assert [(one.way, row) for one, row in comparison.cells()] == [("dense", 0), ("crdiff", 0), ("dense", 1)]
    page = panel_html(comparison, "images", "key")
    assert re.findall(r"images/key/\d\.png", page.partition("<figure")[2]) == [f"images/key/{n}.png" for n in (0, 2, 1)]
    assert json.loads(re.search(r'data-crdiff-compare="([^"]*)"', page)[1].replace("&quot;", '"'))["seeds"] == [
        "5",
        "6",
    ]


def test_nothing_of_a_prompt_or_a_sentence_is_markup():
    comparison = Comparison([column("dense", count=1, origin="preset <b>")], ["<script>"])
    page = panel_html(comparison, "images", "key")
    assert "<script>" not in page and "preset <b>" not in page


def test_the_grid_shows_every_image_in_its_place(monkeypatch):
    monkeypatch.setitem(sys.modules, "modules", SimpleNamespace(images=SimpleNamespace()))
    comparison = Comparison([column("dense", [0.1, 0.2]), column("crdiff", [0.3])])
    drawn = grid.labelled_grid(comparison)
    reds = [(x, y) for x in range(drawn.width) for y in range(drawn.height) if drawn.getpixel((x, y)) == (10, 0, 0)]
    # The second image of dense alone has this colour: once, whole, in the left column's lower row.
    assert len(reds) == 24 * 16
    assert max(x for x, _ in reds) < drawn.width * 0.6 and min(y for _, y in reds) > drawn.height / 2
    assert (drawn.width - 1, drawn.height - 1) not in reds


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"ways": ["dense", "best"]}, "'best'"),
        ({"ways": []}, "ways"),
        ({"ways": "dense"}, "ways"),
        ({"seeds": 17}, "seeds"),
        ({"seeds": 1.5}, "seeds"),
        ({"score": "beauty"}, "'beauty'"),
        ({"seed": 1}, "'seed'"),
    ],
)
def test_what_cannot_be_used_is_named(asked, named):
    with pytest.raises(SettingsError, match=named):
        CompareRequest.from_args([asked])


def test_the_pages_values_and_the_apis_object_say_the_same():
    assert CompareRequest.from_args([["crdiff", "dense"], 4.0, None]) == CompareRequest(("dense", "crdiff"), 4)
    assert CompareRequest.from_args([{"ways": ["dense", "crdiff"], "seeds": 4}]) == CompareRequest(
        ("dense", "crdiff"), 4
    )
    assert CompareRequest.from_args([]).ways == ("dense", "pruned", "crdiff")


@pytest.mark.parametrize("by_api", [True, False])
def test_a_comparison_that_cannot_be_used_is_a_sentence(monkeypatch, tmp_path, by_api):
    from fastapi import HTTPException

    class Script:
        def on_after_component(self, *args, **kwargs):
            pass

    monkeypatch.setitem(sys.modules, "modules", SimpleNamespace(scripts=SimpleNamespace(Script=Script)))
    from crdiff.webui.compare.script import make_compare_script

    del sys.modules["crdiff.webui.compare.script"]  # which holds on to these modules
    script = make_compare_script(CompareContext(tmp_path, None, None))()
    # Of an HTTPException hosts print no traceback.
    with pytest.raises(HTTPException if by_api else SettingsError) as raised:
        script.run(SimpleNamespace(is_api=by_api), {"ways": ["best"]})
    assert raised.value.status_code == 422 and "'best'" in raised.value.detail


@pytest.fixture
def comparing(monkeypatch, tmp_path):
    """Compares by a host that calls ``image_of(job, seed)``; answers the result and the jobs."""
    accordion = SimpleNamespace(title=lambda: "CR-Diff", args_from=0, args_to=1)
    checkpoints = SimpleNamespace(selected=lambda: Checkpoint("a", SD15))
    context = CompareContext(tmp_path, PresetLibrary(tmp_path), checkpoints)

    def compare(image_of, ways, seeds=1, interrupted=lambda jobs: False, **more):
        jobs = []
        state = SimpleNamespace(interrupted=False, stopping_generation=False)

        def process_images(job):
            jobs.append(job)
            seeds = [job.seed + (0 if job.subseed_strength else n) for n in range(job.n_iter * job.batch_size)]
            lists = {name: ["a"] * len(seeds) for name in ("infotexts", "all_prompts", "all_negative_prompts")}
            state.interrupted = interrupted(jobs)
            return SimpleNamespace(
                images=[image_of(job, seed) for seed in seeds], index_of_first_image=0, all_seeds=seeds,
                all_subseeds=[job.subseed] * len(seeds), extra_generation_params={}, **lists,
            )  # fmt: skip

        processing = SimpleNamespace(
            fix_seed=lambda p: None,
            process_images=process_images,
            Processed=lambda p, images: SimpleNamespace(images=images),
        )
        shared = SimpleNamespace(state=state, opts=SimpleNamespace(grid_save=False))
        host = SimpleNamespace(
            processing=processing, shared=shared, images=SimpleNamespace(), devices=SimpleNamespace(device="cpu")
        )
        for name, module in (("modules", host), ("modules.shared", shared)):
            monkeypatch.setitem(sys.modules, name, module)
        job = SimpleNamespace(
            scripts=SimpleNamespace(alwayson_scripts=[accordion]), script_args=({},), extra_generation_params={},
            override_settings={}, styles=[], width=96, height=64, batch_size=1, n_iter=1, do_not_save_grid=True,
            seed=5, subseed=7, subseed_strength=0.0,
        )  # fmt: skip
        vars(job).update(more)
        result = run_compare(job, CompareRequest(ways, seeds, "none"), context, "told")
        result.jobs, result.planned = jobs, state.job_count
        result.told = result.extra_generation_params["told"]
        return result

    return compare


@pytest.mark.parametrize("settled", [None, (200, 120)])
@pytest.mark.parametrize("asked", [("dense", "native"), ("native",)])
def test_the_native_image_has_the_size_of_the_others(comparing, settled, asked):
    """The job's size, or what Hires. fix to a given size and "Only masked" make of it whatever the job's size."""
    drawn = comparing(lambda job, seed: Image.new("RGB", settled or (job.width, job.height)), asked)
    assert [image.size for image in drawn.images[1:]] == [settled or (96, 64)] * 2
    # Of the area of 512x512 with the aspect 3:2, in multiples of 64.
    assert [(job.width, job.height) for job in drawn.jobs] == [(96, 64), (640, 448)]
    assert ("Dense was drawn too" in drawn.comments) == (asked == ("native",))


def red(job, seed):
    """The redder, the higher it scores; of the seeds from 5 on the first is the better one of two, then the second."""
    shade = {5: 90, 6: 20, 1_000_005: 40, 1_000_006: 60}[seed] + (50 if job.subseed > 7 else 0)
    return Image.new("RGB", (24, 16), (shade, 0, 0))


def shades(images):
    return [image.getpixel((0, 0))[0] for image in images]


@pytest.mark.parametrize("asked", [("dense", "best-of-2"), ("best-of-2",)])
def test_the_better_of_two_dense_images_is_shown(comparing, monkeypatch, asked):
    monkeypatch.setattr(job_module, "scorer_for", lambda name, context: (Redness(), ""))
    drawn = comparing(red, asked, seeds=2)
    assert [job.seed for job in drawn.jobs] == [5, 1_000_005] and drawn.planned == 4
    *dense, best = drawn.told["columns"]
    assert (best["way"], best["passes"], best["scores"]) == ("best-of-2", 2.0, [9.0, 6.0])
    assert shades(drawn.images[1:]) == ([90, 90, 20, 60] if dense else [90, 60])
    assert drawn.all_seeds[-1] == 1_000_006
    assert "best of 2 dense: the score that judges has also chosen, which favours this way." in drawn.comments
    if dense:  # the first image is the same one
        assert [one["wins"] for one in (*dense, best)] == [1, 2]
    varied = comparing(red, asked, subseed_strength=0.2)
    assert [(job.seed, job.subseed) for job in varied.jobs] == [(5, 7), (5, 1_000_007)]
    assert shades(varied.images[-1:]) == [140]


def test_what_cannot_be_chosen_is_not_shown(comparing, monkeypatch):
    alone = comparing(red, ("dense", "best-of-2"))
    assert len(alone.jobs) == alone.planned == 1 and [one["way"] for one in alone.told["columns"]] == ["dense"]
    assert "best of 2 dense was left out: there is no score to choose by." in alone.comments
    monkeypatch.setattr(job_module, "scorer_for", lambda name, context: (Change(), ""))
    compared = comparing(red, ("best-of-2",))
    assert compared.jobs == compared.images == []
    assert "left out: a score that compares with the dense image is none to choose by." in compared.comments
    monkeypatch.setattr(job_module, "scorer_for", lambda name, context: (Broken(), ""))
    failed = comparing(red, ("dense", "best-of-2"))
    assert [one["way"] for one in failed.told["columns"]] == ["dense"]
    assert failed.comments == "No scores: It is broken.\nbest of 2 dense was left out: nothing could choose."
    monkeypatch.setattr(job_module, "scorer_for", lambda name, context: (Redness(), ""))
    # What was being drawn when it was interrupted is not done: of the second batch one image is.
    stopped = comparing(red, ("dense", "best-of-2"), seeds=2, interrupted=lambda jobs: len(jobs) == 2)
    assert shades(stopped.images[1:]) == [90, 90, 20]


def varied(way, reds):
    """Images of one seed that differ in their variation."""
    images = [Drawn(Image.new("RGB", (24, 16), (red, 0, 0)), "", "a", "", 7, 12 + n) for n, red in enumerate(reds)]
    return Column(way, images, 1.0)


def test_rows_of_one_seed_are_told_by_their_variation():
    comparison = Comparison([varied("dense", [0]), varied("crdiff", [0, 0])])
    assert comparison.seeds == ["7, variation 12", "7, variation 13"]
    assert "CR-Diff, seed 7, variation 13" in panel_html(comparison, "images", "key")
    assert Comparison([column("dense", count=2)]).seeds == ["5", "6"]


def test_old_comparisons_make_room_for_the_images_of_new_ones():
    def large(side):
        # Not one pixel of it is needed.
        return Comparison([Column("dense", [Drawn(SimpleNamespace(width=side, height=side), "", "", "", 1, 1)], 1.0)])

    def left(sides):
        kept = Kept()
        keys = [kept.add(large(side)) for side in sides]
        return [kept.get(key) is not None for key in keys]

    # In millions of pixels: 100 and 100 fill it; 400 alone are more than it holds.
    assert left([10_000, 10_000]) == [True, True]
    assert left([10_000, 10_000, 1]) == [False, True, True]
    assert left([1, 20_000]) == [False, True]
    assert left([1] * 5) == [False] + [True] * 4


class Redness:
    """Scores by the red channel, and fails on nothing else."""

    name, highest, needs_dense = "red", None, False

    def load(self, device):
        self.loaded = True

    def prepare(self, prompt, dense=None):
        return prompt

    def score(self, prepared, images):
        return [image.getpixel((0, 0))[0] / 10 for image in images]

    def close(self):
        self.loaded = False


class Broken(Redness):
    def score(self, prepared, images):
        raise ScoringError("It is broken.")


class Change(Redness):
    """Scores by how much more red an image has than the dense one."""

    needs_dense = True

    def prepare(self, prompt, dense=None):
        return dense.getpixel((0, 0))[0]

    def score(self, prepared, images):
        return [image.getpixel((0, 0))[0] - prepared for image in images]


def test_a_variation_is_compared_with_its_own_dense_image(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "modules", SimpleNamespace(devices=SimpleNamespace(device="cpu")))
    comparison = Comparison([varied("dense", [10, 50]), varied("crdiff", [11, 52])])
    score(comparison, Change(), CompareContext(tmp_path, None, None))
    assert [one.scores for one in comparison.columns] == [[0.0, 0.0], [1.0, 2.0]]


def test_every_image_is_scored_and_the_scorer_is_freed(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "modules", SimpleNamespace(devices=SimpleNamespace(device="cpu")))
    comparison, scorer = Comparison([column("dense", count=2), column("crdiff", count=2)]), Redness()
    score(comparison, scorer, CompareContext(tmp_path, None, None))
    assert [one.scores for one in comparison.columns] == [[0.0, 1.0]] * 2
    assert [one.right for one in comparison.columns] == [None] * 2
    assert not scorer.loaded
    assert comparison.sentences == ["CR-Diff scores the same as dense at every seed."]
