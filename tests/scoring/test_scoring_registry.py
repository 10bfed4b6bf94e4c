"""Names and sums, SSIM, a user's score.py, prompts, and the folders that are looked at."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter
from scored_images import image

from crdiff.errors import SettingsError
from crdiff.scoring.errors import ScoringError
from crdiff.scoring.formula import NAMES, Formula
from crdiff.scoring.local_imports import versions
from crdiff.scoring.model_files import ModelFiles, hub_cache
from crdiff.scoring.own import OwnScorer
from crdiff.scoring.prompts import plain_text
from crdiff.scoring.registry import create, first_available
from crdiff.scoring.scorer import Scorer
from crdiff.scoring.ssim import SsimScorer

OWN = """
HIGHEST = 255
closed = []

def score(images, prompt):
    return [image.convert("L").resize((1, 1)).getpixel((0, 0)) + len(prompt) for image in images]

def close():
    closed.append(True)
"""


@pytest.fixture
def files(tmp_path):
    path = tmp_path / "score.py"
    path.write_text(OWN)
    return ModelFiles(tmp_path / "models", path, tmp_path / "cache", tmp_path / "hub")


def test_importing_the_package_loads_neither_torch_nor_transformers():
    code = (
        "import sys, crdiff.scoring, crdiff.scoring.registry, crdiff.scoring.formula, crdiff.scoring.download;"
        "print({'torch', 'transformers', 'PIL', 'numpy'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


@pytest.mark.parametrize("name", NAMES)
def test_every_name_makes_a_scorer_with_the_interface(name, files):
    scorer = create(name, files)
    assert isinstance(scorer, Scorer)
    assert scorer.name == name
    problem = scorer.available()
    assert problem is None or (problem.endswith(".") and "\n" not in problem)
    assert (problem is None) == (name in ("ssim", "own"))
    scorer.close()
    if name != "ssim":
        with pytest.raises(ScoringError):
            scorer.score(None, [image(32, 32)])


def test_the_first_available_is_imagereward_unless_it_is_missing(files, monkeypatch):
    assert first_available(files) == "own"
    assert first_available(ModelFiles(files.models, None, files.home, files.hub)) is None
    from crdiff.scoring.imagereward import ImageRewardScorer

    monkeypatch.setattr(ImageRewardScorer, "available", lambda _: None)
    assert first_available(files) == "imagereward"


@pytest.mark.parametrize(
    ("text", "terms", "shown"),
    [
        ("imagereward", (("imagereward", 1.0),), "imagereward"),
        (" ImageReward*1 + clip*0.2", (("imagereward", 1.0), ("clip", 0.2)), "imagereward*1 + clip*0.2"),
        ("0.5 * clip - ssim", (("clip", 0.5), ("ssim", -1.0)), "clip*0.5 - ssim*1"),
        ("clip*1e-3+ssim*-2", (("clip", 1e-3), ("ssim", -2.0)), "clip*0.001 - ssim*2"),
        ("-1e+2*clip", (("clip", -100.0),), "-clip*100"),
        ("pickscore - 2e-1*own", (("pickscore", 1.0), ("own", -0.2)), "pickscore*1 - own*0.2"),
    ],
)
def test_formulas_are_read_and_written(text, terms, shown):
    formula = Formula.parse(text)
    assert formula.terms == terms
    assert str(formula) == shown
    assert Formula.parse(shown) == formula


@pytest.mark.parametrize(
    "text",
    ["", "  ", "clap", "clip clip", "clip+clip", "clip*", "clip**2", "clip*0", "clip*nan", "clip*inf", "*2", "2*3",
     "clip+", "+", "clip*2*3", "clip;ssim", "1", None, 3, "clip*__import__('os')"],
)  # fmt: skip
def test_what_is_no_formula_is_one_sentence(text):
    with pytest.raises(SettingsError) as caught:
        Formula.parse(text)
    assert str(caught.value).endswith(".")


def test_sums_add_up_and_need_all_parts(files):
    dense = image(40, 50, 1)
    total = create("own*0.5 - ssim*2", files)
    assert total.needs_dense and total.highest is None and total.available() is None
    assert create("own*2 + ssim", files).highest is None  # the file is not run before it is loaded
    total.load()
    own, ssim = create("own", files), SsimScorer()
    own.load()
    assert own.highest == 255
    pair = [dense, image(40, 50, 2)]
    wanted = [
        0.5 * a - 2 * b for a, b in zip(own.score(own.prepare("cat"), pair), ssim.score(ssim.prepare("", dense), pair))
    ]
    assert total.score(total.prepare("cat", dense), pair) == pytest.approx(wanted)
    total.close()
    assert "ImageReward" in create("own + imagereward", files).available()


def test_a_sum_whose_part_cannot_be_loaded_keeps_none(files):
    total = create("own + clip", files)
    with pytest.raises(ScoringError):
        total.load()
    with pytest.raises(ScoringError, match="must be loaded"):
        total._scorers[0].score("x", [image(32, 32)])


@pytest.mark.parametrize("size", [(11, 11), (64, 48), (33, 70)])
def test_ssim_equals_a_second_computation(size):
    first, second = image(*size, seed=1), image(*size, seed=2)
    a, b = (np.asarray(one, dtype=np.float64) for one in (first, second))
    values = []
    for channel in range(3):
        x, y = a[..., channel], b[..., channel]

        def blur(z):
            return gaussian_filter(z, 1.5, truncate=3.5)[5:-5, 5:-5]  # radius 5: 11 pixels

        mx, my = blur(x), blur(y)
        vx, vy, vxy = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        values.append(((2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean())
    scorer = SsimScorer()
    scorer.load()
    found = scorer.score(scorer.prepare("", first), [second, first])
    assert found == pytest.approx([np.mean(values), 1.0], abs=1e-9)


def test_ssim_refuses_what_it_cannot_compare():
    scorer = SsimScorer()
    with pytest.raises(ScoringError, match="dense image"):
        scorer.prepare("a cat")
    with pytest.raises(ScoringError, match="same size, not 40x50 and 50x40"):
        scorer.score(scorer.prepare("", image(40, 50)), [image(50, 40)])
    with pytest.raises(ScoringError, match="at least 11x11"):
        scorer.score(scorer.prepare("", image(10, 50)), [image(10, 50)])


def test_an_own_score_is_run_when_loaded_and_closed(files):
    scorer = OwnScorer(files.own)
    scorer.load()
    module = scorer._module
    white = Image.new("RGB", (8, 8), "white")
    assert scorer.score(scorer.prepare("abc"), [white, Image.new("L", (4, 4))]) == [258.0, 3.0]
    assert scorer.score("abc", []) == []
    scorer.close()
    scorer.close()
    assert module.closed == [True] and scorer.highest is None


@pytest.mark.parametrize(
    "code",
    [
        "score = lambda images, prompt: [len(prompt)] * len(images)",
        "from crdiff_test_beside import score",
        "from crdiff_test_beside import *",
        "import crdiff_test_beside as here\nscore = here.score",
        "def score(images, prompt):\n    from crdiff_test_beside import score\n    return score(images, prompt)",
        "class Length:\n    def __call__(self, p, t): return [len(t)] * len(p)\nscore = Length()",
        "if True:\n    def score(p, t): return [len(t)] * len(p)",
    ],
)
def test_a_score_py_is_ordinary_python_and_its_imports_are_its_own(tmp_path, monkeypatch, code):
    """The module beside it has the name of one that the host has loaded, and imports another in turn."""
    (tmp_path / "score.py").write_text(code)
    (tmp_path / "crdiff_test_beside.py").write_text("from crdiff_test_length import score")
    (tmp_path / "crdiff_test_length.py").write_text("def score(p, t): return [len(t)] * len(p)")
    hosts = types.ModuleType("crdiff_test_beside")
    monkeypatch.setitem(sys.modules, hosts.__name__, hosts)
    path = list(sys.path)
    scorer = OwnScorer(tmp_path / "score.py")
    assert scorer.available() is None
    scorer.load()
    for prompt in ("four", "fifth"):
        assert scorer.score(prompt, [image(8, 8)] * 2) == [len(prompt)] * 2
        assert sys.modules["crdiff_test_beside"] is hosts and "crdiff_test_length" not in sys.modules
        assert sys.path == path
    scorer.close()


def test_a_changed_file_beside_score_py_counts_as_a_change_of_it(tmp_path):
    (tmp_path / "score.py").write_text("from crdiff_test_changed import score")
    beside = tmp_path / "crdiff_test_changed.py"
    beside.write_text("def score(p, t): return [1.0] * len(p)")
    before = versions(tmp_path)
    scorer = OwnScorer(tmp_path / "score.py")
    scorer.load()
    beside.write_text("def score(p, t): return [12.0] * len(p)")
    assert versions(tmp_path) != before
    scorer.close()
    scorer.load()
    assert scorer.score("", [image(8, 8)]) == [12.0]
    scorer.close()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("def score(:", "cannot be read as Python"),
        ("score: int", "has no function score"),
        ("score = 3", "has no function score"),
        ("import sys\nsys.exit('no')\ndef score(p, t): return [1]", "failed .SystemExit: no"),
        ("x = 1", "has no function score"),
        ("import nonsense_package\ndef score(p, t): return [1]", "nonsense_package"),
        ("def score(p, t): raise KeyError('colour')", "failed .KeyError: 'colour'"),
        ("def score(p, t): return [1.0]", "gave 1 scores for 2 images"),
        ("def score(p, t): return [float('nan')] * 2", "cannot be compared"),
        ("def score(p, t): return 3", "failed .TypeError"),
        ("def score(p, t): return ['good', 'bad']", "failed .ValueError"),
        ("HIGHEST = 'top'\ndef score(p, t): return [1]", "failed .ValueError"),
    ],
)
def test_a_score_py_that_does_not_work_is_one_sentence(tmp_path, code, words):
    (tmp_path / "score.py").write_text(code)
    scorer = OwnScorer(tmp_path / "score.py")

    def use():
        scorer.load()
        scorer.score("x", [image(16, 16)] * 2)

    with pytest.raises(ScoringError, match=words):
        use()
    assert "crdiff_own_score" not in sys.modules or scorer._module is not None
    scorer.close()
    assert OwnScorer(tmp_path / "none.py").available().endswith(".")


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("a cat, on a mat", "a cat, on a mat"),
        ("(a:1.2) ((cat)), [dog], <lora:style:0.8>, mat", "a cat, dog, mat"),
        ("a [red:blue:0.5] house [big:10] [small::0.3] BREAK tall", "a blue house big tall"),
        ("a cat AND a dog :1.2", "a cat a dog"),
        ("[cat|dog] in a \\(real\\) world", "dog in a (real) world"),
        ("BREAKFAST and SAND at 10:30", "BREAKFAST and SAND at 10:30"),
        ("[[a:b:0.2]:c:0.5] (x:.5)", "c x"),
        ("((((", ""),
        ("", ""),
    ],
)
def test_prompts_become_plain_text(prompt, text):
    assert plain_text(prompt) == text


def test_the_usual_folders_are_looked_at_in_order(tmp_path):
    files = ModelFiles(tmp_path / "models", None, tmp_path / "cache", tmp_path / "hub")
    assert list(files.folders("X", ("a/b",))) == []
    snapshots = tmp_path / "hub" / "models--a--b" / "snapshots"
    for folder in (tmp_path / "models" / "X", tmp_path / "cache" / "X", snapshots / "1", snapshots / "2"):
        folder.mkdir(parents=True)
    (snapshots.parent / "refs").mkdir()
    (snapshots.parent / "refs" / "main").write_text("2\n")
    found = [str(path.relative_to(tmp_path)) for path in files.folders("X", ("a/b",))]
    hub = "hub/models--a--b/snapshots"
    assert found == ["models/X", "cache/X", f"{hub}/2", f"{hub}/1"]
    assert files.target("X") == tmp_path / "models" / "X"
    assert hub_cache({"HF_HUB_CACHE": "/a", "HF_HOME": "/b"}).as_posix() == "/a"
    assert hub_cache({"HF_HOME": "/b"}).as_posix() == "/b/hub"
    assert hub_cache({"XDG_CACHE_HOME": "/c"}).as_posix() == "/c/huggingface/hub"


def test_the_demos_score_is_one_of_these_files(tmp_path):
    from demo.scenes.scorer import SceneScorer, save_scorer

    path = Path(__file__).resolve().parents[2] / "demo" / "score.py"
    scorer = OwnScorer(path)
    scorer.load()
    scorer._module.WEIGHTS = tmp_path / "scorer.safetensors"
    save_scorer(SceneScorer(), tmp_path / "scorer.safetensors")
    (found,) = scorer.score("a red house left of a yellow tree, by day", [image(128, 96)])
    assert 0 <= found <= scorer.highest == 1.0
    with pytest.raises(ScoringError, match=r"score\.py failed"):
        scorer.score("nothing of the kind", [image(128, 96)])
    scorer.close()
