"""The shipped tables hold the paper's numbers, and the schema and the loader accept the same files."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from crdiff.errors import PresetError
from crdiff.models.architecture import family_named
from crdiff.presets.built_in import load_file, load_folder
from crdiff.presets.lookup import How, look_up
from crdiff.presets.size import Size

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "presets"

# arXiv 2604.05524v1, Table 6: down, mid, up at height x width. It stars the sizes in NATIVE, and for SD2.1 512x512,
# but the authors' code loads stabilityai/stable-diffusion-2-1, the v-prediction model trained at 768x768.
TABLE_6 = {
    ("sd15", 512, 512): (0.433, 0.345, 0.300),
    ("sd15", 400, 560): (0.319, 0.240, 0.192),
    ("sd15", 480, 360): (0.467, 0.363, 0.196),
    ("sd15", 768, 768): (0.185, 0.445, 0.100),
    ("sd21", 512, 512): (0.623, 0.259, 0.115),
    ("sd21", 400, 560): (0.534, 0.534, 0.169),
    ("sd21", 480, 360): (0.651, 0.138, 0.271),
    ("sd21", 768, 768): (0.277, 0.206, 0.313),
    ("sdxl", 1024, 1024): (0.295, 0.194, 0.236),
    ("sdxl", 512, 512): (0.397, 0.434, 0.387),
    ("sdxl", 400, 560): (0.482, 0.396, 0.469),
    ("sdxl", 480, 360): (0.434, 0.428, 0.355),
    ("sdxl", 1536, 1536): (0.300, 0.343, 0.300),
}
NATIVE = {("sd15", 512, 512), ("sd21", 768, 768), ("sdxl", 1024, 1024)}
BASE_CHECKPOINTS = {
    "sd15": {
        "6ce0161689b3853acaa03779ec93eafe75a02f4ced659bee03f50797806fa2fa",
        "cc6cb27103417325ff94f52b7a5d2dde45a7515b25c255d8e396c90014281516",
    },
    "sd21": {
        "ad2a33c361c1f593c4a1fb32ea81afce2b5bb7d1983c6b94793a26a3b54b08a0",
        "dcd690123cfc64383981a31d955694f6acf2072a80537fdb612c8e58ec87a8ac",
    },
    "sdxl": {
        "31e35c80fc4829d14f90153f4c74cd59c90b779f6afe05a74cd6120b893f7e5b",
        "e6bb9ea85bbf7bf6478a7c6d18b71246f22e95d41bcdd80ed40aa212c33cfeff",
    },
}

GOOD: dict[str, Any] = {
    "family": "sdxl",
    "source": "somewhere",
    "checkpoints": [{"sha256": "a" * 64, "name": "base.safetensors", "source": "somebody/base"}],
    "presets": [
        {"size": "512x768", "native": True, "ratios": {"down": 0, "mid": 0.5, "up": 0.999}},
        {"name": "mine", "size": "64x99999", "k": 3, "checkpoints": ["b" * 64], "note": "one\ntwo",
         "source": "elsewhere", "ratios": {"down": 0.1, "mid": 0.2, "up": 0.3}},
    ],
}  # fmt: skip
DROP = object()
STAGE = {"from": 0, "down": 0.1, "mid": 0.2, "up": 0.3}

# A place in GOOD, what to put there, and what the sentence about it must say.
BROKEN: list[tuple[tuple[str | int, ...], Any, str]] = [
    (("family",), "other", "family must be one of sd15, sd21, sdxl, flux, chroma, sd3, lumina2,"),
    (("family",), ["sdxl"], "family must be one of"),
    (("family",), DROP, "lacks the key 'family'"),
    (("source",), "", "source must be one line"),
    (("source",), "two\nlines", "source must be one line"),
    (("source",), 7, "source must be text, not 7"),
    (("author",), "me", "has the unknown key 'author'"),
    (("$schema",), 3, "$schema must be text"),
    (("checkpoints",), {}, "checkpoints must be a JSON array, not an object"),
    (("checkpoints", 0), "a" * 64, "checkpoints[0] must be a JSON object"),
    (("checkpoints", 0, "sha256"), "A" * 64, "checkpoints[0].sha256 must be a SHA-256"),
    (("checkpoints", 0, "sha256"), "a" * 10, "checkpoints[0].sha256 must be a SHA-256"),
    (("checkpoints", 0, "name"), DROP, "checkpoints[0] lacks the key 'name'"),
    (("checkpoints", 0, "url"), "x", "checkpoints[0] has the unknown key 'url'"),
    (("presets",), [], "presets must not be empty"),
    (("presets",), None, "presets must be a JSON array, not null"),
    (("presets", 0), [], "presets[0] must be a JSON object, not an array"),
    (("presets", 0, "ratio"), 1, "presets[0] has the unknown key 'ratio'"),
    (("presets", 0, "size"), "512", "presets[0].size must be HEIGHTxWIDTH"),
    (("presets", 0, "size"), "63x512", "presets[0].size must be HEIGHTxWIDTH"),
    (("presets", 0, "size"), "512x100000", "presets[0].size must be HEIGHTxWIDTH"),
    (("presets", 0, "size"), "0512x512", "presets[0].size must be HEIGHTxWIDTH"),
    (("presets", 0, "size"), "512 x 512", "presets[0].size must be HEIGHTxWIDTH"),
    (("presets", 0, "size"), "\uff15\uff11\uff12x512", "presets[0].size must be HEIGHTxWIDTH"),
    (("presets", 0, "size"), [512, 512], "presets[0].size must be HEIGHTxWIDTH"),
    (("presets", 0, "size"), DROP, "presets[0] lacks the key 'size'"),
    (("presets", 0, "native"), 1, "presets[0].native must be true or false, not 1"),
    (("presets", 0, "ratios"), [0.1, 0.2, 0.3], "presets[0].ratios[0] must be a JSON object, not 0.1"),
    (("presets", 0, "ratios", "mid"), DROP, "presets[0].ratios lacks the key 'mid'"),
    (("presets", 0, "ratios", "left"), 0.1, "presets[0].ratios has the unknown key 'left'"),
    (("presets", 0, "ratios", "up"), 1.2, "presets[0].ratios.up must be a number in [0, 1), not 1.2"),
    (("presets", 0, "ratios", "up"), 1, "presets[0].ratios.up must be a number in [0, 1), not 1"),
    (("presets", 0, "ratios", "up"), -0.001, "presets[0].ratios.up must be a number in [0, 1)"),
    (("presets", 0, "ratios", "up"), 10**400, "presets[0].ratios.up must be a number in [0, 1)"),
    (("presets", 0, "ratios", "up"), "0.3", "presets[0].ratios.up must be a number in [0, 1), not '0.3'"),
    (("presets", 0, "ratios", "up"), False, "presets[0].ratios.up must be a number in [0, 1), not false"),
    (("presets", 0, "ratios"), [{**STAGE, "k": 3.1}], "presets[0].ratios[0].k must be a number in [-2, 3], not 3.1"),
    (("presets", 0, "ratios"), [{**STAGE, "mid": 1}], "presets[0].ratios[0].mid must be a number in [0, 1), not 1"),
    (("presets", 0, "ratios"), [{**STAGE, "to": 1}], "presets[0].ratios[0] has the unknown key 'to'"),
    (("presets", 0, "ratios"), [{**STAGE, "from": place / 9} for place in range(9)], "has at most 8 stages, not 9"),
    (("presets", 1, "k"), 3.001, "presets[1].k must be a number in [-2, 3]"),
    (("presets", 1, "k"), -2.1, "presets[1].k must be a number in [-2, 3]"),
    (("presets", 1, "k"), None, "presets[1].k must be a number in [-2, 3], not null"),
    (("presets", 1, "checkpoints"), [], "presets[1].checkpoints must not be empty"),
    (("presets", 1, "checkpoints"), ["b" * 63], "presets[1].checkpoints[0] must be a SHA-256"),
    (("presets", 1, "checkpoints"), ["b" * 64, "b" * 64], "presets[1].checkpoints lists a checkpoint twice"),
    (("presets", 1, "name"), DROP, "presets[1] has checkpoints of its own and lacks the key 'name'"),
    (("presets", 1, "name"), "", "presets[1].name must have 1 to 80 characters"),
    (("presets", 1, "name"), "n" * 81, "presets[1].name must have 1 to 80 characters, not 81"),
    (("presets", 1, "name"), "a:b", "presets[1].name must not contain the character ':'"),
    (("presets", 1, "name"), "a\nb", "presets[1].name must not contain the character '\\n'"),
    (("presets", 1, "name"), " a", "presets[1].name must not begin or end with a space"),
    (("presets", 1, "name"), "a ", "presets[1].name must not begin or end with a space"),
    (("presets", 1, "note"), "n" * 501, "presets[1].note must have at most 500 characters"),
    (("presets", 1, "note"), "\x00", "presets[1].note must not contain the character '\\x00'"),
    ((), [], "the document must be a JSON object, not an array"),
    ((), "text", "the document must be a JSON object, not 'text'"),
]  # fmt: skip


def schema() -> Any:
    return json.loads((FOLDER / "schema.json").read_text(encoding="utf-8"))


def schema_accepts(document: Any) -> bool:
    return jsonschema.Draft202012Validator(schema()).is_valid(document)


def changed(place: tuple[str | int, ...], content: Any) -> Any:
    document = copy.deepcopy(GOOD)
    if not place:
        return content
    target: Any = document
    for step in place[:-1]:
        target = target[step]
    if content is DROP:
        del target[place[-1]]
    else:
        target[place[-1]] = content
    return document


def test_shipped_numbers_are_those_of_table_6() -> None:
    loaded = load_folder(FOLDER)
    assert loaded.problems == ()
    shipped = {
        (preset.family.value, preset.size.height, preset.size.width): tuple(preset.ratios) for preset in loaded.presets
    }
    assert shipped == TABLE_6
    assert len(loaded.presets) == len(TABLE_6)
    natives = {(p.family.value, p.size.height, p.size.width) for p in loaded.presets if p.native}
    assert natives == NATIVE
    source = "Ren, Zhu, Wang: Cross-Resolution Diffusion Models via Network Pruning, arXiv 2604.05524v1, Table 6"
    assert {preset.source for preset in loaded.presets} == {source}
    assert all(preset.built_in and not preset.limited and preset.k is None for preset in loaded.presets)


@pytest.mark.parametrize(("family", "height", "width"), TABLE_6)
def test_the_paper_s_entries_serve_base_checkpoints_exactly_and_fine_tunes_by_family(
    family: str, height: int, width: int
) -> None:
    presets = load_folder(FOLDER).presets
    for sha256 in BASE_CHECKPOINTS[family]:
        match = look_up(presets, family_named(family), sha256, Size(height, width))
        assert match is not None
        assert match.how is How.EXACT_CHECKPOINT
        assert tuple(match.ratios) == TABLE_6[family, height, width]
        assert match.describe().startswith(f"preset for this checkpoint, {height}x{width}")
    match = look_up(presets, family_named(family), "0" * 64, Size(height, width))
    assert match is not None
    assert match.how is How.FAMILY
    assert tuple(match.ratios) == TABLE_6[family, height, width]
    assert match.describe().startswith(f"preset for {family_named(family).label}, {height}x{width}")


def test_shipped_files_follow_the_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    for family in ("sd15", "sd21", "sdxl"):
        document = json.loads((FOLDER / f"{family}.json").read_text(encoding="utf-8"))
        jsonschema.validate(document, schema(), cls=jsonschema.Draft202012Validator)
        assert document["family"] == family


def test_a_file_that_uses_every_key_passes_schema_and_loader(tmp_path: Path) -> None:
    assert schema_accepts(GOOD)
    path = tmp_path / "good.json"
    path.write_text(json.dumps(GOOD), encoding="utf-8")
    first, second = load_file(path)
    assert (first.name, first.native, first.k, first.source) == ("SDXL 512x768", True, None, "somewhere")
    assert first.checkpoints == {"a" * 64} and not first.limited
    assert (second.name, second.native, second.k, second.source) == ("mine", False, 3.0, "elsewhere")
    assert second.checkpoints == {"b" * 64} and second.limited
    assert second.note == "one\ntwo"
    assert tuple(first.ratios) == (0.0, 0.5, 0.999)


def test_stages_of_a_file_and_one_stage_that_is_the_ratios_and_k(tmp_path: Path) -> None:
    document, path = copy.deepcopy(GOOD), tmp_path / "staged.json"
    document["presets"][0]["ratios"] = [STAGE, {**STAGE, "from": 0.5, "up": 0, "k": 1.2}]
    document["presets"][1]["ratios"] = [{**STAGE, "k": -1}]
    assert schema_accepts(document)
    path.write_text(json.dumps(document), encoding="utf-8")
    first, second = load_file(path)
    assert (str(first.schedule), first.k) == ("0.1/0.2/0.3; 0.1/0.2/0/1.2 from 0.5", None)
    assert (str(second.schedule), second.k) == ("0.1/0.2/0.3", -1.0)


@pytest.mark.parametrize(("place", "content", "sentence"), BROKEN)
def test_schema_and_loader_both_refuse(
    place: tuple[str | int, ...], content: Any, sentence: str, tmp_path: Path
) -> None:
    document = changed(place, content)
    assert not schema_accepts(document)
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(PresetError) as caught:
        load_file(path)
    message = str(caught.value)
    assert message.startswith("broken.json: ")
    assert sentence in message
    assert message.endswith(".") and "\n" not in message
    assert len(message) < 250


def test_the_package_needs_no_torch() -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "import crdiff.presets.lookup, crdiff.presets.store, crdiff.presets.built_in\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
