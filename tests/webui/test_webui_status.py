"""The status line and the picture beside it."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest

from crdiff.method.groups import Ratios
from crdiff.models.checkpoint import Checkpoint
from crdiff.models.family import OTHER
from crdiff.models.flux import FLUX
from crdiff.models.unet import SD15, SDXL
from crdiff.presets.library import PresetLibrary
from crdiff.presets.size import Size
from crdiff.presets.table import Preset
from crdiff.settings import Settings
from crdiff.webui.status import describe
from crdiff.webui.unet_diagram import draw_unet

SDXL_BASE = "31e35c80fc4829d14f90153f4c74cd59c90b779f6afe05a74cd6120b893f7e5b"
BASE = Checkpoint("sd_xl_base_1.0", SDXL, SDXL_BASE)
FINE_TUNE = Checkpoint("tune", SDXL, "0" * 64)
ON = Settings(enabled=True)


@pytest.fixture
def library(tmp_path):
    return PresetLibrary(tmp_path)


def test_says_where_the_ratios_come_from(library):
    exact = describe(ON, library, BASE, Size(512, 512))
    assert exact.text == "SDXL: preset for this checkpoint, 512x512; 2.0x UNet time"
    assert (exact.schedule.first, exact.k, exact.level) == (Ratios(0.397, 0.434, 0.387), 1.5, "ok")
    assert describe(ON, library, FINE_TUNE, Size(512, 512)).text == "Preset for SDXL, 512x512; 2.0x UNet time"
    turned = describe(ON, library, FINE_TUNE, Size(560, 400)).text
    assert turned.startswith("Preset for SDXL, 400x560 (height x width), turned; ")


def test_says_what_sdxl_is_told_of_the_size(library):
    told = Settings(True, "custom", down=0.0, mid=0.0, up=0.0, size_conditioning="native")
    text = "SDXL: custom ratios, told the size 896x1216 (height x width); 1.0x UNet time"
    assert describe(told, library, BASE, Size(400, 560)).text == text
    assert "for SDXL only" in describe(told, library, Checkpoint("a", SD15), Size(400, 560)).text


def test_an_interpolation_is_never_silent(library):
    status = describe(ON, library, BASE, Size(832, 1216))
    assert status.text.startswith("SDXL: no preset of this size, interpolated from ")
    assert status.level == "estimated"


@pytest.mark.parametrize(
    ("settings", "times"),
    [
        (ON, "2.0x"),
        (Settings(True, k=1.0), "1.0x"),
        (Settings(True, start=0.25, end=0.75), "1.5x"),
        (Settings(True, mode="fast"), "1.0x"),
        (Settings(True, mode="batched"), "2.0x"),
    ],
)
def test_says_what_it_costs(library, settings, times):
    """Passes of the UNet in the mean of all steps; tests/core counts them."""
    assert f"{times} UNet time" in describe(settings, library, BASE, Size(512, 512)).text


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Settings(True, k=0.0), ". No effect: k is 0"),
        (Settings(True, "custom", 0.0, 0.0, 0.0), ". No effect: all ratios are 0"),
        (Settings(True, start=0.5, end=0.5), ". No effect: no step lies between start 0.5 and end 0.5"),
        (Settings(True, hires="second"), ", in the second pass of Hires. fix only"),
        (Settings(True, "custom", 0.0, 0.0, 0.0, hires_ratios="0.3/0.34/0.3"), ", 0.3/0.34/0.3 in the second pass;"),
        (Settings(True, "custom", k=0.0, hires_ratios="0.3/0.34/0.3"), ". No effect: k is 0"),
        (Settings(True, "custom", 0.0, 0.0, 0.0, hires="first", hires_ratios="0.3/0.34/0.3"), ". No effect: all"),
        (Settings(True, "auto", k=0.0, hires_ratios="0.3/0.34/0.3/1.2"), ". No effect: k is 0"),
    ],
)
def test_says_where_it_has_no_effect(library, settings, said):
    text = describe(settings, library, BASE, Size(512, 512)).text
    assert said in text
    assert ("No effect" in text) == ("No effect" in said)


def test_switched_off_it_says_so(library):
    assert "off; when on, 2.0x UNet time" in describe(Settings(), library, BASE, Size(512, 512)).text


def test_what_cannot_be_drawn_is_said(library):
    other = Checkpoint("x", OTHER, None)
    auto = describe(ON, library, other, Size(512, 512))
    assert auto.level == "problem"
    assert "choose Custom" in auto.text
    assert describe(Settings(True, "custom"), library, other, Size(512, 512)).level == "ok"
    unsupported = Checkpoint("flux", None, None, "flux.safetensors holds no UNet transformer blocks.")
    status = describe(ON, library, unsupported, Size(512, 512))
    assert status.level == "problem"
    assert status.text.startswith("flux.safetensors holds no UNet")
    missing = describe(Settings(True, "gone"), library, BASE, Size(512, 512))
    assert missing.level == "problem"
    assert "'gone' does not exist" in missing.text


def test_a_broken_file_of_own_presets_is_told_in_the_status(library, tmp_path):
    (tmp_path / "presets.json").write_text("{broken", encoding="utf-8")
    for _ in range(2):
        assert "presets.json: line 1 is not valid JSON" in describe(ON, library, BASE, Size(512, 512)).text
    assert (tmp_path / "presets.json").read_text(encoding="utf-8") == "{broken"


def test_an_own_preset_is_what_auto_takes(library):
    own = Preset.own("mine", SDXL, Size(512, 512), Ratios(0.1, 0.2, 0.3), 1.2, SDXL_BASE, limited=False)
    library.store.save(own)
    for checkpoint in (BASE, FINE_TUNE):
        status = describe(ON, library, checkpoint, Size(512, 512))
        assert (status.schedule.first, status.k) == (own.ratios, 1.2)
        assert "own preset 'mine'" in status.text
    limited = Preset.own("only base", SDXL, Size(400, 560), Ratios(0.5, 0.5, 0.5), None, SDXL_BASE)
    library.store.save(limited)
    assert describe(ON, library, BASE, Size(400, 560)).schedule.first == limited.ratios
    assert describe(ON, library, FINE_TUNE, Size(400, 560)).schedule.first == Ratios(0.482, 0.396, 0.469)


def test_a_preset_of_another_family_is_said(library):
    status = describe(Settings(True, "SD1.x 768x768"), library, BASE, Size(512, 512))
    assert "which was made for SD1.x" in status.text
    assert status.schedule.first == Ratios(0.185, 0.445, 0.1)


def test_picture_is_darker_where_more_is_pruned():
    picture = ElementTree.fromstring(draw_unet(Ratios(0.0, 0.5, 0.9)))
    shades = [float(shape.get("fill-opacity")) for shape in picture.iter() if shape.tag.endswith("rect")]
    down, mid, up = shades[:3], shades[3:4], shades[4:]
    assert max(down) < min(mid) < min(up)
    text = "".join(picture.itertext())
    assert re.search(r"down ?0mid ?0\.5up ?0\.9", text)
    assert "currentColor" in draw_unet(None)


def test_labels_of_the_picture_do_not_overlap():
    picture = ElementTree.fromstring(draw_unet(Ratios(0.433, 0.345, 0.305)))
    lines = {}
    for text in picture.iter("text"):
        half = len(text.text) * float(text.get("font-size")) * 0.65 / 2
        lines.setdefault(text.get("y"), []).append((float(text.get("x")) - half, float(text.get("x")) + half))
    assert len(lines) == 2
    for (_, first), (second, _), (third, _) in lines.values():
        assert 0 < first < second < third


def test_the_presets_of_the_family_come_first(library):
    own = Preset.own("mine", SD15, Size(512, 512), Ratios(0.1, 0.2, 0.3))
    library.store.save(own)
    families = {preset.name: preset.family for preset in library.presets()}
    for family in (SD15, SDXL, OTHER):
        listed = [families[name] is family for name in library.names(family)]
        assert listed == sorted(listed, reverse=True)
    assert library.names(SD15)[0] == "mine"
    assert sorted(library.names(SDXL)) == sorted(families)


def test_a_presets_own_k_is_brought_along_even_if_it_is_the_default(library):
    for size, k in ((Size(80, 128), 1.0), (Size(96, 128), 1.5), (Size(64, 64), None)):
        library.store.save(Preset.own(f"own {size}", SDXL, size, Ratios(0.2, 0.2, 0.2), k, SDXL_BASE))

    def own_k(settings, size):
        return library.own_k(settings, SDXL, SDXL_BASE, size)

    assert [own_k(ON, size) for size in (Size(80, 128), Size(96, 128), Size(64, 64))] == [1.0, 1.5, None]
    assert own_k(Settings(True, "own 96x128"), Size(512, 512)) == 1.5
    assert own_k(Settings(True, library.built_in.presets[0].name), Size(80, 128)) is None
    assert own_k(Settings(True, "custom"), Size(80, 128)) is None


def test_a_transformer_is_told_as_one():
    found = describe(Settings(True), PresetLibrary(), Checkpoint("a", FLUX), Size(1024, 1024))
    assert found.text.startswith("No preset has been published for Flux, so 0.1 for all blocks; a search finds better")
    assert "2.0x transformer time. Down: double blocks. The released layers have none for mid and up." in found.text
    assert (found.level, tuple(found.schedule.first)) == ("estimated", (0.1, 0.1, 0.1))
    wider = describe(Settings(True, layers="attention"), PresetLibrary(), Checkpoint("a", FLUX), Size(1024, 1024))
    assert "mid: first half of the single blocks, up: second half." in wider.text
    picture = ElementTree.fromstring(draw_unet(found.schedule.first, transformer=True))
    assert picture.get("aria-label").startswith("Transformer groups, pruned down 0.1")
