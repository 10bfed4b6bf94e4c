"""``crdiff.evaluation``: what is drawn, how a killed one resumes, and its figures against numpy and scipy."""

from __future__ import annotations

import hashlib
import json
import random
import re
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from crdiff.__main__ import main
from crdiff.evaluation import command
from crdiff.evaluation.engine import Drawn
from crdiff.evaluation.images import Item
from crdiff.evaluation.ways import Way
from crdiff.intervals import mean_interval, student
from crdiff.method.groups import Ratios
from crdiff.models.architecture import family_named
from crdiff.models.checkpoint import Checkpoint
from crdiff.presets.library import PresetLibrary
from crdiff.presets.size import Size
from crdiff.settings import Settings

RATIOS = {"down": 0.3, "mid": 0.4, "up": 0.5}
SIZE = Size(64, 48)


@dataclass
class FakeEngine:
    """Draws one colour, which depends on the prompt, the seed and the settings."""

    checkpoint: Checkpoint = field(default_factory=lambda: Checkpoint("fake", family_named("sd15"), "1" * 64))
    identity: dict = field(default_factory=lambda: {"engine": "fake", "steps": 3})
    drawn: list = field(default_factory=list)
    most: int = 10**6
    calibrated: str = ""

    def check(self, size, settings):
        pass

    def calibration(self, settings):
        return self.calibrated if settings.criterion == "wanda" else ""

    def draw(self, request):
        if len(self.drawn) == self.most:
            raise KeyboardInterrupt
        self.drawn.append((str(request.size), request.prompt, request.seed, request.settings.k))
        shade = random.Random(str(self.drawn[-1])).randrange(256)
        return Drawn(Image.new("RGB", (request.size.width, request.size.height), (shade, 0, 0)), "steps")


SCORE = """
import numpy as np
def score(images, prompt):
    return [float(np.asarray(image)[0, 0, 0]) for image in images]
"""
_CODE = f"red.py {hashlib.sha256(SCORE.encode()).hexdigest()}\n"
RED = f"red-{hashlib.sha256(_CODE.encode()).hexdigest()[:8]}"


@pytest.fixture
def evaluate(tmp_path, monkeypatch):
    """Runs the command with a fake engine; answers the engine, its status and the report."""
    (tmp_path / "red.py").write_text(SCORE)
    (tmp_path / "prompts.txt").write_text("a\nb\nc\nd\n")

    usual_options = ("--metrics", str(tmp_path / "red.py"), "--sizes", "64x64", "64x96", "--seeds", "1", "2")

    def run(*more, most=10**6, usual=usual_options, **changes):
        engine = FakeEngine(most=most, **changes)
        monkeypatch.setattr(command, "_engine", lambda arguments: engine)
        options = ["--prompts", str(tmp_path / "prompts.txt"), "--out", str(tmp_path / "out")]
        status = main(["evaluate", *options, *usual, *more])
        report = tmp_path / "out" / "report.json"
        return engine, status, json.loads(report.read_text()) if report.is_file() else None

    return run


def test_what_was_drawn_before_a_kill_is_not_drawn_again(evaluate, tmp_path):
    engine, status, _ = evaluate(most=7)
    assert status == 130 and len(engine.drawn) == 7
    journal = tmp_path / "out" / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-9])  # killed while it wrote
    again, status, report = evaluate()
    assert status == 0 and again.drawn[0] == engine.drawn[6]
    assert len(again.drawn) == 2 * 4 * 2 * 3 - 6 == len(set(again.drawn))
    assert {*engine.drawn, *again.drawn} >= {("64x96", "d", 2, 1.0)}
    assert evaluate()[0].drawn == []
    more, _, _ = evaluate("--seeds", "1", "2", "3", "--ways", "dense", "crdiff:k=2")
    assert {drawn[2:] for drawn in more.drawn} == {(3, None), (1, 2.0), (2, 2.0), (3, 2.0)}
    with Image.open(next((tmp_path / "out" / "images" / "64x96" / "dense").glob("a-1-*.png"))) as image:
        assert image.size == (96, 64) and image.text["parameters"] == "steps"
    assert report["sizes"]["64x96"][0]["images"] == 8


def test_the_figures_are_those_of_numpy_and_scipy(evaluate):
    _, _, report = evaluate("--ways", "dense", "crdiff")
    for size, ways in report["sizes"].items():
        values = {}
        for way, k in (("dense", None), ("crdiff", 1.5)):
            cells = [[random.Random(str((size, text, seed, k))).randrange(256) for seed in (1, 2)] for text in "abcd"]
            values[way] = np.mean(cells, axis=1)
            interval = stats.ttest_1samp(values[way], 0).confidence_interval()
            mean = next(one for one in ways if one["way"] == way)["scores"][RED]["mean"]
            assert mean["value"] == pytest.approx(values[way].mean())
            assert mean["high"] - mean["value"] == pytest.approx((interval.high - interval.low) / 2)
            assert mean["low"] + mean["high"] == pytest.approx(2 * mean["value"])
        gain = values["crdiff"] - values["dense"]
        found = ways[1]["scores"][RED]
        assert found["gain"]["value"] == pytest.approx(gain.mean()) and found["wins"] == np.mean(gain > 0)
        assert ways[0]["scores"][RED]["gain"] is None and ways[1]["passes"] > 1.9


def test_intervals():
    freedoms = [*range(1, 90), 499, 5000]
    assert [student(n) for n in freedoms] == pytest.approx(stats.t.ppf(0.975, freedoms), rel=1e-9)
    assert mean_interval([3.0]).low is None


def test_images_that_are_not_kept_are_scored_once(evaluate, tmp_path):
    engine, _, first = evaluate("--no-images")
    assert len(engine.drawn) == 48 and not (tmp_path / "out" / "images").exists()
    again, _, second = evaluate("--no-images")
    assert again.drawn == [] and first == second


def test_a_score_whose_code_has_changed_is_asked_again(evaluate, tmp_path):
    def means(report):
        ((scores, *_),) = ([way["scores"] for way in ways] for ways in report["sizes"].values())
        return [score["mean"]["value"] for score in scores.values()]

    options = ("--sizes", "64x64", "--ways", "dense")
    (before,) = means(evaluate(*options)[2])
    (tmp_path / "red.py").write_text(SCORE.replace("[0, 0, 0]", "[0, 0, -1]"))  # blue, of which there is none
    engine, _, report = evaluate(*options)
    assert engine.drawn == [] and before > 0 and means(report) == [0.0]
    assert "<th>red</th>" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_ways_with_the_same_settings_share_their_images(evaluate, tmp_path):
    options = ("--sizes", "64x64", "--ways", "pruned", "crdiff:k=1")
    for more in (("--seeds", "1", "--no-images"), ("--seeds", "2")):
        engine, _, report = evaluate(*options, *more)
        assert len(engine.drawn) == 4 and [way["images"] for way in report["sizes"]["64x64"]] == [4, 4]
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    images = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])
    assert len(images) == 4 and all(set(one["ways"]) == {"pruned", "crdiff:k=1"} for one in images)
    assert evaluate(*options, "--seeds", "2", "--ways", "crdiff:k=1")[0].drawn == []


def test_the_best_of_several_dense_images_is_chosen_by_one_score_and_kept_for_the_others(evaluate, tmp_path, capsys):
    (tmp_path / "far.py").write_text(SCORE.replace("image)[0, 0, 0]", "image)[0, 0, 0] % 16"))
    scores = [str(tmp_path / name) for name in ("red.py", "far.py")]
    options = ("--n", "2", "--sizes", "64x64", "--ways", "dense", "best-of-2", "--metrics", *scores)
    assert len(evaluate("--n", "2", "--sizes", "64x64", "--ways", "dense")[0].drawn) == 4
    killed, status, _ = evaluate(*options, most=3)
    again, _, report = evaluate(*options)
    # Each dense image is one of the two, so that the others alone are drawn.
    assert status == 130 and len(killed.drawn + again.drawn) == 4
    assert {drawn[2:] for drawn in killed.drawn + again.drawn} == {(1_000_001, None), (1_000_002, None)}

    def shade(text, seed):
        return random.Random(str(("64x64", text, seed, None))).randrange(256)

    best = {text: [max(shade(text, seed), shade(text, seed + 1_000_000)) for seed in (1, 2)] for text in "ab"}
    found = report["sizes"]["64x64"][1]
    assert (found["passes"], found["images"], found["candidates"]) == (2.0, 4, 2)
    red, far = found["scores"].values()
    assert red["mean"]["value"] == pytest.approx(np.mean([*best.values()]))
    assert far["mean"]["value"] == pytest.approx(np.mean([np.mod(pair, 16) for pair in best.values()]))
    sentence = "best-of-2: of 2 dense images from different seeds the one with the highest red."
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert sentence in page and sentence in capsys.readouterr().out
    shown = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])
    assert [one["ways"]["best-of-2"]["scores"]["red"] for one in shown[:2]] == best["a"]
    _, _, report = evaluate(*options, "--best-by", scores[1])
    other = report["sizes"]["64x64"][1]
    assert other["chosen_by"].startswith("far-") and other["scores"] != found["scores"]
    folder = str(tmp_path / "half")
    evaluate(*options, "--shard", "1/2", "--out", folder)
    half, _, _ = evaluate(*options, "--shard", "2/2", "--out", folder)
    assert len(half.drawn) == 4 and main(["evaluate", "--merge", folder, "--out", str(tmp_path / "all")]) == 0
    together = json.loads((tmp_path / "all" / "report.json").read_text())["sizes"]["64x64"][1]
    assert together["scores"] == found["scores"] and together["images"] == 4


def test_each_prompt_may_have_seeds_of_its_own(evaluate, tmp_path):
    engine, _, report = evaluate("--sizes", "64x64", "--ways", "dense", "--seed-step", "10")
    seeds = {"a": (1, 2), "b": (11, 12), "c": (21, 22), "d": (31, 32)}
    assert {drawn[1:3] for drawn in engine.drawn} == {(text, seed) for text, own in seeds.items() for seed in own}
    shades = [random.Random(str(("64x64", text, seed, None))).randrange(256) for text in seeds for seed in seeds[text]]
    found = report["sizes"]["64x64"][0]
    assert found["images"] == 8 and found["scores"][RED]["mean"]["value"] == pytest.approx(np.mean(shades))
    assert main(["evaluate", "--merge", str(tmp_path / "out"), "--out", str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report


def test_scores_of_earlier_metrics_are_not_shown(evaluate, tmp_path):
    evaluate("--sizes", "64x64")
    (tmp_path / "red.py").write_text(SCORE.replace("[0, 0, 0]", "[0, 0, 0] / 2"))
    evaluate("--sizes", "64x64")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    shown = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])
    assert {name for one in shown for way in one["ways"].values() for name in way["scores"]} == {"red"}


def test_shares_are_drawn_apart_and_reported_together(evaluate, tmp_path, capsys):
    whole, _, report = evaluate()
    folders = [str(tmp_path / name) for name in ("first", "second", "second")]
    killed, status, _ = evaluate("--shard", "1/3", "--out", folders[0], most=5)
    assert status == 130 and len(killed.drawn) == 5
    parts = [evaluate("--shard", f"{n}/3", "--out", folder)[0].drawn for n, folder in enumerate(folders, 1)]
    parts[0] = killed.drawn + parts[0]
    plan = tmp_path / "second" / "plan.json"
    plan.write_text(plan.read_text().replace('"origin": "', '"origin": "from another preset: '))  # and drawn alike
    assert sorted(str(drawn) for part in parts for drawn in part) == sorted(map(str, whole.drawn))
    assert not {drawn[:3] for drawn in parts[0]} & {drawn[:3] for drawn in parts[1]}
    assert main(["evaluate", "--merge", *folders[:2], "--out", str(tmp_path / "all")]) == 0
    together = json.loads((tmp_path / "all" / "report.json").read_text())
    for way in [way for one in (report, together) for ways in one["sizes"].values() for way in ways]:
        del way["seconds"]
    assert together == report
    assert "data:image/jpeg" in (tmp_path / "all" / "report.html").read_text(encoding="utf-8")
    evaluate("--shard", "3/3", "--out", str(tmp_path / "nothing yet"), most=0)
    for order in ([folders[0], str(tmp_path / "nothing yet")], [str(tmp_path / "nothing yet"), folders[0]]):
        assert main(["evaluate", "--merge", *order, "--out", str(tmp_path / "some")]) == 0
        some = json.loads((tmp_path / "some" / "report.json").read_text())
        assert some["drawn_with"] == {"engine": "fake", "steps": 3}
        assert sum(way["images"] for ways in some["sizes"].values() for way in ways) == len(parts[0])
    assert evaluate("--shard", "1/3", "--out", folders[0])[0].drawn == []
    evaluate("--n", "2", "--out", str(tmp_path / "other"))
    capsys.readouterr()
    assert main(["evaluate", "--merge", folders[0], str(tmp_path / "other"), "--out", str(tmp_path / "all")]) == 2
    assert "has other prompts, seeds, sizes, ways, presets, calibrations or --best-by than" in capsys.readouterr().err


class Redness:
    """In place of FID: the mean of the red."""

    name = "fid"

    def __init__(self, reference):
        pass

    def available(self):
        return None

    def load(self, device):
        pass

    def features(self, image):
        return np.asarray(image, dtype=np.float32)[0, 0]

    def distance(self, features):
        return float(features[:, 0].mean()) + len(features)


def test_a_distance_is_that_of_all_images_and_needs_none_of_them_again(evaluate, monkeypatch):
    monkeypatch.setattr(command, "Fid", Redness)
    engine, _, report = evaluate("--no-images", "--metrics", "fid", "--sizes", "64x64")
    shades = [random.Random(str(drawn)).randrange(256) for drawn in engine.drawn if drawn[3] is None]
    assert report["sizes"]["64x64"][0]["distances"] == {"fid": pytest.approx(np.mean(shades) + 8)}
    again, _, second = evaluate("--no-images", "--metrics", "fid", "--sizes", "64x64")
    assert again.drawn == [] and second == report


def test_another_calibration_draws_what_depends_on_it_again_and_nothing_else(evaluate):
    options = (
        "--sizes",
        "64x64",
        "--ways",
        "dense",
        "crdiff:criterion=wanda",
        "--seeds",
        "1",
        "--ratios",
        "0.1/0.1/0.1",
    )
    assert len(evaluate(*options, calibrated="first")[0].drawn) == 8
    assert evaluate(*options, calibrated="first")[0].drawn == []
    again, _, report = evaluate(*options, calibrated="second")
    assert len(again.drawn) == 4 and {drawn[3] for drawn in again.drawn} == {1.5}
    assert report["sizes"]["64x64"][1]["calibration"] == "second"


def test_another_model_or_number_of_steps_needs_another_folder(evaluate, capsys):
    evaluate()
    engine, status, _ = evaluate(identity={"engine": "fake", "steps": 4})
    assert status == 2 and engine.drawn == []
    assert "with steps 3, and this evaluation has 4; give it a folder of its own" in capsys.readouterr().err


def test_the_page_needs_no_other_file(evaluate, tmp_path):
    (tmp_path / "prompts.txt").write_text("</script><img src=x>\nb\n", encoding="utf-8")
    evaluate("--sizes", "64x64")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<img src=x>" not in page and page.count("</script>") == 2
    assert "//" not in re.sub(r'base64,[^"]*', "", page) and "<!--" not in page.replace("<!doctype", "")
    images = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])
    assert [one["prompt"] for one in images] == ["</script><img src=x>"] * 2 + ["b"] * 2
    assert set(images[0]["ways"]) == {"dense", "pruned", "crdiff"}


class FakeMetric:
    """The red of an image, by a name of the registry."""

    def __init__(self, name):
        self.name = name

    def available(self):
        return None

    def load(self, device):
        pass

    def score(self, prompt, image):
        return float(np.asarray(image)[0, 0, 0])


# In the paper's text, by hand: size, way, metric, and its figure.
PUBLISHED = {
    "table1": ("480x360", "dense", "clip", 0.225),
    "table2": ("1024x1024", "crdiff", "imagereward-256", 0.946),
    "table4": ("400x560", "pruned", "imagereward-256", -0.272),
    "table5": ("512x512", "crdiff:k=2.5", "pickscore", 20.34),
    "table7": ("1536x1536", "pruned", "fid", 39.362),
    "table8": ("1536x1536", "dense", "aesthetic", 5.952),
    "fig2": ("512x512", "dense", "fid", 83.827),
    "fig8": ("512x512", "crdiff", "aesthetic", 5.525),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_table_of_the_paper_runs_and_has_its_figures_beside(evaluate, monkeypatch, capsys, tmp_path, name):
    monkeypatch.setattr(command, "Fid", Redness)
    monkeypatch.setattr(command, "metric_of", lambda name, files: FakeMetric(name))
    size, way, metric, figure = PUBLISHED[name]
    sdxl = Checkpoint("sdxl", family_named("sdxl"))
    engine, status, report = evaluate("--paper", name, "--n", "1", "--no-images", usual=(), checkpoint=sdxl)
    assert status == 0 and len(engine.drawn) == sum(map(len, report["sizes"].values()))
    found = next(one for one in report["sizes"][size] if one["way"] == way)
    assert found["published"][metric] == figure and {**found["scores"], **found["distances"]}[metric]
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert page.count('aria-label="radar"') == (0 if name in ("table4", "fig2") else len(report["sizes"]))
    # Over the ratio, which figure 2 alone varies: of both its metrics.
    assert len(re.findall(r'aria-label="[^"]* over the ratios"', page)) == (2 if name == "fig2" else 0)
    assert f", paper {figure:.3f}" in capsys.readouterr().out
    assert report["baseline"] == report["sizes"][size][0]["way"]


@pytest.mark.parametrize("option", [("--k", "2"), ("--k", "0"), ("--ratios", "0.1/0.1/0.1")])
def test_the_papers_figures_stand_beside_its_own_settings_only(evaluate, monkeypatch, option):
    monkeypatch.setattr(command, "Fid", Redness)
    monkeypatch.setattr(command, "metric_of", lambda name, files: FakeMetric(name))
    sdxl = Checkpoint("sdxl", family_named("sdxl"))
    _, _, report = evaluate("--paper", "table1", "--n", "1", "--no-images", *option, usual=(), checkpoint=sdxl)
    ways = {way["way"]: way["published"] for way in report["sizes"]["480x360"]}
    assert ways["dense"]["clip"] == 0.225 and ways["crdiff"] == {}


def test_the_share_of_prompts_in_which_a_way_is_the_best(evaluate):
    _, _, report = evaluate("--ways", "dense", "crdiff", "crdiff:k=2", "--seeds", "1")
    for size, ways in report["sizes"].items():
        shades = [[random.Random(str((size, text, 1, k))).randrange(256) for k in (None, 1.5, 2.0)] for text in "abcd"]
        best = np.array(shades) == np.max(shades, axis=1, keepdims=True)  # at 64x64 two of one prompt are
        wins = (best / best.sum(axis=1, keepdims=True)).mean(axis=0)
        assert [way["scores"][RED]["best"] for way in ways] == wins.tolist()


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (
            ["--prompts", "nowhere.txt"],
            "crdiff: nowhere.txt: the prompts cannot be read (No such file or directory).\n",
        ),
        (["--n", "5"], "prompts.txt has 4 prompts, fewer than the 5 asked for.\n"),
        (["--presets", "nowhere"], "crdiff: nowhere: there is no presets.json in this folder.\n"),
        (["--shard", "3/2"], "crdiff: A share of the images is written NUMBER/OF, such as 2/8, not '3/2'.\n"),
        (["--ways", "sparse"], "crdiff: There is no way 'sparse' of drawing; known are dense, "),
        (["--ways", "crdiff:l=2"], "crdiff: The way 'crdiff:l=2' cannot be read at 'l=2'; settings are ratios, "),
        (["--ways", "crdiff:k=9"], "crdiff: CR-Diff: k must lie in [-2, 3], not 9.0.\n"),
        (["--ways", "best-of-2", "--metrics", "fid"], "best-of-2 needs a metric of single images to choose by"),
        (["--ways", "best-of-2", "--best-by", "clip"], "--best-by is one of the --metrics of single images, here "),
        (["--seeds", "3", "1", "--seed-step", "2"], "--seed-step must be above 2 with these --seeds, or prompts would"),
        (["--best-by", "clip"], "--best-by is for ways that take the best of several images, such as best-of-2.\n"),
        (["--ways", "best-of-2", "--seeds", "1", "1000001"], "Seeds that lie 1000000 apart would be drawn twice by "),
        (["--metrics", "beauty"], "crdiff: There is no metric 'beauty'; known are imagereward, "),
        (["--metrics", "clip", "--weights", "nowhere"], "crdiff: CLIP ViT-B/16 needs pytorch_model.bin from http"),
        (["--metrics", "nowhere.py"], "nowhere.py with a function score(images, prompt).\n"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_drawn(evaluate, capsys, monkeypatch, tmp_path, more, sentence):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    engine, status, _ = evaluate(*more)
    error = capsys.readouterr().err
    assert status == 2 and engine.drawn == [] and sentence in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_table_of_the_paper_is_of_its_models_and_of_prompts_that_are_named(evaluate, capsys, tmp_path):
    engine, status, _ = evaluate("--paper", "table8", "--metrics", str(tmp_path / "red.py"), usual=())
    assert status == 2 and engine.drawn == []
    assert "The paper has no figures of SD1.x in this place" in capsys.readouterr().err
    assert main(["evaluate", "--paper", "table8", "--out", str(tmp_path / "out")]) == 2
    assert "--paper needs --prompts; the paper's are in COCO's" in capsys.readouterr().err


def test_a_model_that_is_not_there_is_one_sentence(capsys, tmp_path):
    assert main(["evaluate", "--model", "nowhere.safetensors", "--sizes", "64x64", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "crdiff: nowhere.safetensors: there is no such checkpoint.\n"


def test_what_the_ways_come_to():
    model, base = Checkpoint("model", family_named("sdxl")), Settings()
    size, library = Size(512, 512), PresetLibrary()
    found = {text: Way.parse(text).at(size, base, model, library) for text in ("dense", "crdiff", "pruned", "native")}
    assert found["dense"].settings == Settings() and found["dense"].passes == 1.0
    crdiff = found["crdiff"].settings
    assert (crdiff.down, crdiff.mid, crdiff.up, crdiff.k) == (0.397, 0.434, 0.387, 1.5)
    assert found["crdiff"].passes == 2.0 and found["pruned"].passes == 1.0 and found["pruned"].settings.k == 1.0
    assert found["native"].size == Size(1024, 1024) and found["native"].passes == 4.0
    assert Way.parse("native").at(Size(512, 768), base, model, library).size == Size(832, 1280)
    told = Way.parse("sizes").at(size, base, model, library)
    assert (told.settings.size_conditioning, told.settings.ratios, told.passes) == ("native", Ratios(), 1.0)
    assert told.origin == "no pruning, told the size 1024x1024"
    native = Way.parse("sizes").at(Size(1024, 1024), base, model, library)
    assert (native.settings, native.origin) == (Settings(), "the model as it is: it is told this size anyway.")
    idle = Way.parse("crdiff:k=0").at(size, base, model, library)
    assert idle.key == found["dense"].key and "k is 0" in idle.origin
    weak = Way.parse("attenuation:ratios=0.1/0/0.2").at(size, base, model, library)
    assert (weak.settings.down, weak.settings.mid, weak.settings.up) == (0.1, 0.0, 0.2) and weak.passes == 1.0
    stages = Settings(preset="custom", stages="0.4/0.3/0.3/2; 0.2/0.2/0.1 from 0.5")
    pruned = Way.parse("pruned").at(size, stages, model, library)
    assert pruned.passes == 1.0 and pruned.settings.k == 1.0 and "/2" not in pruned.settings.stages
    assert Way.parse("crdiff").at(size, stages, model, library).settings.stages.startswith("0.4/0.3/0.3/2")
    given = Way.parse("crdiff").at(size, replace(stages, k=2.5), model, library)
    assert (given.settings.stages, given.settings.k) == ("0.4/0.3/0.3; 0.2/0.2/0.1 from 0.5", 2.5)
    keys = {Item(size, one, "a", 1).key for one in (*found.values(), weak)}
    assert len(keys) == 5
