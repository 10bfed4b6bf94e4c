"""Ratios found for one criterion, set of layers or kind of threshold are never used for another."""

from __future__ import annotations

import json

import pytest

from crdiff.errors import PresetError, SettingsError
from crdiff.method.groups import Ratios
from crdiff.models.checkpoint import Checkpoint
from crdiff.models.flux import FLUX
from crdiff.models.scope import Scope
from crdiff.models.unet import SDXL
from crdiff.plan import plan_for
from crdiff.presets.library import OWN_FILE, PresetLibrary
from crdiff.presets.own_document import from_text, to_text
from crdiff.presets.size import Size
from crdiff.presets.table import Preset
from crdiff.settings import Settings
from crdiff.webui.status import describe

SIZE, MODEL = Size(400, 560), Checkpoint("model", SDXL, "ab" * 32)
WEAK, OF_THE_FUTURE = Ratios(0.1, 0.2, 0.15), Ratios(0.9, 0.9, 0.9)


@pytest.fixture
def library(tmp_path):
    found = PresetLibrary(tmp_path)
    found.store.save(Preset.own("weak", SDXL, SIZE, WEAK, 1.2, criterion="attenuation", limited=False))
    found.store.save(Preset.own("later", SDXL, SIZE, OF_THE_FUTURE, 1.2, criterion="telepathy", limited=False))
    return found


def planned(library, size=SIZE, model=MODEL, **settings):
    plan = plan_for(Settings(enabled=True, **settings), size, library).make(model)
    return plan.schedule.first, plan.k, plan.origin


def test_auto_takes_those_of_the_criterion(library):
    assert planned(library, criterion="attenuation")[:2] == (WEAK, 1.2)
    ratios, _, origin = planned(library)
    assert ratios == Ratios(0.482, 0.396, 0.469) and "400x560" in origin


@pytest.mark.parametrize("criterion", ["soft", "random"])
def test_auto_without_any_starts_where_a_search_would_and_says_so(library, criterion):
    ratios, k, origin = planned(library, criterion=criterion)
    assert (ratios, k) == (Ratios(0.3, 0.3, 0.3), 1.5)
    assert origin == "no ratios have been found for this criterion and threshold yet, so 0.3 for all blocks"
    status = describe(Settings(enabled=True, criterion=criterion), library, MODEL, SIZE)
    assert origin in status.text and status.level == "estimated"


@pytest.mark.parametrize(
    ("preset", "criterion", "found_for"),
    [("weak", "magnitude", "attenuation"), ("SDXL 400x560", "attenuation", "magnitude")],
)
def test_a_preset_of_another_criterion_is_refused(library, preset, criterion, found_for):
    with pytest.raises(PresetError, match=f"{preset} were found for the criterion {found_for}, not for {criterion}"):
        planned(library, preset=preset, criterion=criterion)
    assert planned(library, preset=preset, criterion=found_for)


TRANSFORMER = Checkpoint("flux", FLUX, "cd" * 32)


def test_a_transformers_ratios_are_those_of_its_layers(library):
    for layers, ratios in (("attention", WEAK), ("released", OF_THE_FUTURE)):
        library.store.save(Preset.own(layers, FLUX, SIZE, ratios, limited=False, scope=Scope(layers)))
    assert planned(library, model=TRANSFORMER)[0] == OF_THE_FUTURE
    assert planned(library, model=TRANSFORMER, layers="attention")[0] == WEAK
    assert planned(library, model=TRANSFORMER, layers="attention", threshold="layer")[0] == WEAK  # auto's own
    for others in ({"layers": "feed-forward"}, {"threshold": "group"}):
        assert planned(library, model=TRANSFORMER, **others)[0] == Ratios(0.1, 0.1, 0.1)
    with pytest.raises(PresetError, match="found for layers attention, threshold auto, not for layers released"):
        planned(library, model=TRANSFORMER, preset="attention")


def test_a_unet_has_one_set_of_layers_and_its_groups_share_thresholds(library):
    usual = planned(library)
    for same in ({"layers": "attention"}, {"threshold": "group"}):
        assert planned(library, **same) == usual
    ratios, _, origin = planned(library, threshold="layer")
    assert ratios == Ratios(0.3, 0.3, 0.3) and "criterion and threshold yet" in origin
    with pytest.raises(PresetError, match="threshold auto, not for layers released, threshold layer"):
        planned(library, preset="SDXL 400x560", threshold="layer")


def test_layers_and_threshold_stand_in_the_file_where_they_are_not_the_usual_ones(library):
    own = Preset.own("own", FLUX, SIZE, WEAK, limited=False, scope=Scope("attention", "group"))
    assert from_text(to_text([own])) == (own,)
    (entry,) = json.loads(to_text([own]))["presets"]
    assert (entry["layers"], entry["threshold"]) == ("attention", "group")
    (plain,) = json.loads(to_text([Preset.own("plain", FLUX, SIZE, WEAK, limited=False)]))["presets"]
    assert not {"layers", "threshold"} & set(plain)
    with pytest.raises(PresetError, match="must be one of released"):
        from_text(to_text([own]).replace('"attention"', '"all"'))


def test_a_criterion_that_cannot_be_chosen_is_kept_and_not_offered(library, tmp_path):
    """That of a later version."""
    assert "weak" in library.names() and "later" not in library.names()
    with pytest.raises(SettingsError, match="'later' does not exist"):
        library.named("later")
    library.store.rename("weak", "weaker")
    entries = json.loads((tmp_path / OWN_FILE).read_text())["presets"]
    found_for = {entry["name"]: entry["criterion"] for entry in entries}
    assert found_for == {"weaker": "attenuation", "later": "telepathy"}


def test_files_of_earlier_versions_have_none(library):
    text = to_text([Preset.own("plain", SDXL, SIZE, WEAK)])
    assert "criterion" not in text
    assert from_text(text)[0].criterion == "magnitude"
