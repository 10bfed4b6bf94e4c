"""CR-Diff's accordion in a browser."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

# Table 6 of the paper.
SD15_400x560 = [0.319, 0.240, 0.192]
SD15_512 = [0.433, 0.345, 0.300]
DEFAULTS = "a cube\nSteps: 2, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 512x512, CR-Diff version: 1.0.0"
DEFAULTS += ", CR-Diff preset: auto, CR-Diff k: 1.5"
SDXL_512 = [0.397, 0.434, 0.387]


class Controls:
    """CR-Diff's controls in the current tab."""

    def __init__(self, host_page):
        self.host_page = host_page
        self.page = host_page.page
        host_page.open_accordion("{tab}_crdiff")
        host_page.open_accordion("{tab}_crdiff_details")

    def id(self, name):
        return f"{self.host_page.current}_crdiff_{name}"

    def wait_line(self, name, pattern):
        """The line that matches, as it stood then: an answer that comes late may replace it for a moment."""
        shown = self.page.wait_for_function(
            "([id, pattern]) => { const text = document.querySelector(`#${id} .crdiff-status`)?.innerText.trim();"
            " return text && new RegExp(pattern).test(text) ? text : null; }",
            arg=[self.id(name), pattern],
        )
        return shown.json_value()

    def wait_status(self, pattern):
        return self.wait_line("status", pattern)

    def ratios(self):
        return [self.host_page.number(self.id(group)) for group in ("down", "mid", "up")]

    def wait_ratios(self, expected):
        self.host_page.wait_numbers(dict(zip(map(self.id, ("down", "mid", "up")), expected)))

    def wait_picture(self, text):
        """The shades of the blocks in the picture whose description has ``text``."""
        shades = self.page.wait_for_function(
            "([id, text]) => { const svg = document.querySelector(`#${id} svg`);"
            " return svg?.getAttribute('aria-label').includes(text)"
            "  && [...svg.querySelectorAll('rect')].map(rect => +rect.getAttribute('fill-opacity')); }",
            arg=[self.id("picture"), text],
        )
        return shades.json_value()

    def wait_held(self, held):
        while not held:
            self.page.wait_for_timeout(50)

    def wait_preset(self, name):
        self.host_page.wait_chosen(self.id("preset"), name)

    def wait_first_preset(self, family):
        """Below Auto and Custom."""
        self.page.wait_for_function(
            "([id, family]) => { const input = document.querySelector(`#${id} input`);"
            " const shown = document.querySelectorAll('ul.options li');"
            " if (shown.length > 2 && shown[2].innerText.replace('✓', '').trim().startsWith(family)) return true;"
            " input.blur(); input.focus(); return false; }",
            arg=[self.id("preset"), family],
            polling=500,
        )
        self.host_page.one(self.id("preset")).locator("input").blur()

    def wait_message(self, pattern):
        self.wait_line("own_message", pattern)

    def open_own(self):
        if not self.host_page.one(self.id("own_save")).is_visible():
            self.host_page.one(self.id("own")).locator(".label-wrap").first.click()
        self.host_page.one(self.id("own_save")).wait_for(state="visible")

    def name(self, text):
        self.host_page.one(self.id("own_name")).locator("textarea, input").first.fill(text)

    def pick_import(self, file):
        self.host_page.upload(self.id("own_import"), file)

    def press(self, name):
        self.host_page.one(self.id(name)).click()


@pytest.fixture
def controls(host_page):
    """With every value at its default, whatever the test before has left."""
    controls = Controls(host_page)
    host_page.paste(DEFAULTS)
    controls.wait_preset("Auto")
    controls.wait_ratios(SD15_512)
    return controls


@pytest.mark.parametrize("tab", ["txt2img", "img2img"])
def test_status_and_ratios_follow_the_size(host_page, server, tab):
    host_page.tab(tab)
    controls = Controls(host_page)
    host_page.set_number("{tab}_width", 560)
    host_page.set_number("{tab}_height", 400)
    status = controls.wait_status(r"Preset for SD1.x, 400x560 \(height x width\);")
    assert "2.0x UNet time" in status
    controls.wait_ratios(SD15_400x560)
    host_page.set_number("{tab}_width", 400)
    host_page.set_number("{tab}_height", 560)
    controls.wait_status(r"400x560 \(height x width\), turned")
    host_page.set_number("{tab}_width", 640)
    status = controls.wait_status(r"SD1.x: no preset of this size, interpolated from")
    assert all(0.1 <= ratio <= 0.5 for ratio in controls.ratios())


def test_status_follows_the_checkpoint(controls, host_page, host_kind):
    ids = {"a1111": "#setting_sd_model_checkpoint", "forge": ".model_selection"}
    host_page.set_number("{tab}_width", 512)
    host_page.set_number("{tab}_height", 512)
    controls.wait_ratios(SD15_512)
    box = host_page.page.locator(ids[host_kind.flavour]).first
    for checkpoint, family, ratios in (("tiny-sdxl-a", "SDXL", SDXL_512), ("tiny-sd15-a", "SD1.x", SD15_512)):
        box.locator("input").click()
        host_page.page.locator("ul.options li", has_text=checkpoint).first.click()
        controls.wait_status(f"^Preset for {family}, 512x512")
        controls.wait_first_preset(family)
        controls.wait_ratios(ratios)


def test_moving_a_ratio_means_custom_and_shades_the_picture(controls, host_page):
    host_page.set_number(controls.id("up"), 0.75)
    controls.wait_preset("Custom")
    controls.wait_status("custom ratios")
    shades = controls.wait_picture("up 0.75")
    assert len(shades) == 7
    assert min(shades[-3:]) > max(shades[:4])


@pytest.mark.one_page
def test_the_stages_are_shown_and_the_chosen_one_is_changed_by_the_sliders(controls, host_page):
    stages = host_page.one(controls.id("stages")).locator("textarea, input").first
    stages.fill("0.4/0.3/0.2; 0.21/0.22/0.23/1.2 from 0.5")
    controls.wait_status("custom ratios, 2 stages; 2.0x UNet time")
    controls.wait_preset("Custom")
    controls.wait_picture("k 1.5 from 0; down 0.21, mid 0.22, up 0.23, k 1.2 from 0.5")
    controls.wait_ratios([0.4, 0.3, 0.2])
    second = host_page.one(controls.id("picture")).locator("[data-crdiff-stage='1']")
    second.click()
    controls.wait_ratios([0.21, 0.22, 0.23])
    host_page.set_number(controls.id("up"), 0.65)
    controls.wait_picture("down 0.21, mid 0.22, up 0.65, k 1.2")
    expect(stages).to_have_value("0.4/0.3/0.2; 0.21/0.22/0.65/1.2 from 0.5")
    expect(second).to_have_attribute("aria-pressed", "true")
    text = host_page.generate(width=64, height=64, steps=2, seed=5)
    assert "CR-Diff stages: 0.4/0.3/0.2; 0.21/0.22/0.65/1.2 from 0.5, " in text
    stages.fill("0.4/0.3/0.2; 0.2/0.2/0.2")
    controls.wait_status("^CR-Diff: stages must be .* one after the other")
    host_page.choose(controls.id("preset"), "Auto")
    controls.wait_picture("UNet groups, pruned")
    expect(stages).to_have_value("")
    host_page.paste(text)
    controls.wait_picture("up 0.65, k 1.2")
    assert host_page.generate(seed=5) == text


def test_an_answer_that_comes_late_does_not_stay(controls, host_page):
    page, held = host_page.page, []

    def hold_the_switch(route):
        if '"Custom",' in (route.request.post_data or "") and "0.75" not in route.request.post_data:
            held.append(route)
        else:
            route.continue_()

    # After the last of the refreshes that follow the loading of the page, which would mend it too.
    page.wait_for_function("() => performance.now() > 11000")
    host_page.set_number(controls.id("up"), 0.2)
    controls.wait_preset("Custom")
    controls.wait_status("custom ratios")
    page.route("**/run/predict*", hold_the_switch)
    host_page.one("{tab}_crdiff-visible-checkbox").uncheck()
    controls.wait_held(held)
    host_page.set_number(controls.id("up"), 0.75)
    controls.wait_picture("up 0.75")
    page.unroute("**/run/predict*", hold_the_switch)
    for route in held:
        with page.expect_response(route.request.url):
            route.continue_()
    page.wait_for_timeout(1000)
    controls.wait_picture("up 0.75")


def test_an_answer_does_not_set_what_is_being_moved(controls, host_page):
    page = host_page.page
    # The page has what is typed or dragged before gradio does.
    moving = (
        host_page.one(controls.id("down"))
        .locator("input[type=number]")
        .evaluate("input => setInterval(() => input.dispatchEvent(new Event('input', {bubbles: true})), 5)")
    )
    host_page.set_number("{tab}_width", 768)
    controls.wait_status("768")
    page.wait_for_timeout(1000)
    controls.wait_ratios(SD15_512)
    page.evaluate("moving => clearInterval(moving)", moving)
    host_page.set_number("{tab}_height", 768)
    controls.wait_ratios([0.185, 0.445, 0.1])


def test_picture_follows_the_theme(page):
    page.wait_for_selector("#txt2img_crdiff_picture svg", state="attached")
    colours = [
        page.evaluate(
            "dark => { const was = document.body.classList.contains('dark');"
            " document.body.classList.toggle('dark', dark);"
            " const svg = document.querySelector('#txt2img_crdiff_picture svg');"
            " const colour = getComputedStyle(svg).color;"
            " document.body.classList.toggle('dark', was); return colour; }",
            dark,
        )
        for dark in (False, True)
    ]
    light, dark = (sum(int(part) for part in re.findall(r"\d+", colour)[:3]) for colour in colours)
    assert light < 384 < dark


@pytest.mark.one_page
def test_status_says_what_a_setting_costs(controls, host_page):
    host_page.set_number(controls.id("k"), 1)
    controls.wait_status("1.0x UNet time")
    host_page.set_number(controls.id("k"), 2)
    controls.wait_status("2.0x UNet time")
    host_page.set_number(controls.id("end"), 0.5)
    controls.wait_status("1.5x UNet time")
    host_page.set_number(controls.id("start"), 0.8)
    controls.wait_status(r"start \(0.8\) must not be after end \(0.5\)")


def test_every_control_has_a_tooltip(controls, host_page):
    untold = host_page.page.evaluate(
        "tab => [...document.querySelectorAll(`#${tab}_crdiff [id^=${tab}_crdiff_]`)]"
        " .filter(element => element.matches('button, .block:has(input, textarea):not(:has(.block))'))"
        " .filter(element => getComputedStyle(element).display !== 'none' && !(element.title.length > 25))"
        " .map(element => element.id)",
        host_page.current,
    )
    assert untold == []
    assert "AutoGuidance" in host_page.one(controls.id("k")).get_attribute("title")


@pytest.mark.one_page
def test_a_picture_drawn_with_auto_can_be_pasted_back(controls, host_page):
    host_page.fill_prompt("a red cube")
    text = host_page.generate(width=64, height=64, steps=2, seed=5)
    ratios = [float(re.search(rf"CR-Diff {group}: ([\d.]+)", text)[1]) for group in ("down", "mid", "up")]
    controls.wait_ratios(ratios)
    assert "CR-Diff version: " in text
    assert "CR-Diff preset: auto" in text
    host_page.set_number(controls.id("down"), 0.01)
    controls.wait_preset("Custom")
    host_page.set_number(controls.id("k"), -1)
    host_page.paste(text)
    # Another preset may fit by the next time; the numbers draw this image.
    controls.wait_ratios(ratios)
    controls.wait_preset("Custom")
    host_page.wait_numbers({controls.id("k"): 1.5})
    host_page.wait_checked("{tab}_crdiff")
    # More digits than a slider has steps, and a ratio beyond its end.
    numbers = {"down": "0.3974999", "up": "0.9995", "k": "1.51234"}
    for name, number in numbers.items():
        text = re.sub(rf"(CR-Diff {name}): [\d.]+", rf"\1: {number}", text)
    host_page.paste(text)
    controls.wait_ratios([0.3974999, ratios[1], 0.9995])
    text = host_page.generate(width=64, height=64, steps=2, seed=5)
    assert {name: re.search(rf"CR-Diff {name}: ([\d.]+)", text)[1] for name in numbers} == numbers
    host_page.paste("a cube\nSteps: 2, Sampler: Euler, CFG scale: 7, Seed: 5, Size: 64x64")
    host_page.wait_checked("{tab}_crdiff", False)


@pytest.mark.one_page
def test_switched_off_draws_the_hosts_own_picture(controls, host_page):
    def drawn():
        return host_page.page.request.get(host_page.gallery_images()[-1]).body()

    host_page.fill_prompt("a red cube")
    text = host_page.generate(width=64, height=64, steps=2, seed=5)
    assert "CR-Diff" in text
    with_crdiff = drawn()
    host_page.one("txt2img_crdiff-visible-checkbox").uncheck()
    text = host_page.generate(width=64, height=64, steps=2, seed=5)
    assert "CR-Diff" not in text
    assert drawn() != with_crdiff


def test_own_presets_are_saved_chosen_renamed_exported_and_deleted(controls, host_page, server, tmp_path):
    host_page.set_number("{tab}_width", 64)
    host_page.set_number("{tab}_height", 96)
    for group, value in (("down", 0.11), ("mid", 0.22), ("up", 0.33)):
        host_page.set_number(controls.id(group), value)
    controls.wait_ratios([0.11, 0.22, 0.33])
    controls.wait_preset("Custom")
    controls.open_own()
    controls.name("tall cats")
    controls.press("own_save")
    controls.wait_message("Saved tall cats")
    controls.wait_preset("tall cats")
    stored = server.data / "crdiff" / "presets.json"
    assert "tall cats" in stored.read_text(encoding="utf-8")
    assert any(preset["name"] == "tall cats" for preset in server.get("/crdiff/v1/presets")["presets"])

    host_page.choose(controls.id("preset"), "Auto")
    controls.wait_status("own preset 'tall cats'")
    controls.wait_ratios([0.11, 0.22, 0.33])
    assert "CR-Diff preset: auto" in host_page.generate(steps=2, seed=1)

    host_page.choose(controls.id("preset"), "tall cats")
    controls.wait_status("preset tall cats")
    controls.name("tall dogs")
    controls.press("own_rename")
    controls.wait_message("Renamed tall cats to tall dogs")
    controls.wait_preset("tall dogs")

    controls.press("own_export")
    controls.wait_message("Exported")
    with host_page.page.expect_download() as download:
        host_page.one(controls.id("own_file")).locator("a").first.click()
    exported = tmp_path / "exported.json"
    download.value.save_as(exported)
    assert [preset["name"] for preset in json.loads(exported.read_text(encoding="utf-8"))["presets"]] == ["tall dogs"]

    controls.press("own_delete")
    controls.wait_message("Deleted tall dogs")
    controls.wait_preset("Auto")
    assert "tall dogs" not in stored.read_text(encoding="utf-8")

    controls.press("own_restore")
    controls.wait_message("tall dogs is back")
    controls.wait_preset("tall dogs")
    controls.press("own_delete")
    controls.wait_message("Deleted tall dogs")

    controls.pick_import(exported)
    controls.wait_message("Imported 1: tall dogs")
    controls.pick_import(exported)  # without removing it first
    controls.wait_message("Imported 0. Here already: tall dogs")
    host_page.choose(controls.id("preset"), "tall dogs")
    controls.wait_ratios([0.11, 0.22, 0.33])
    controls.press("own_delete")
    controls.wait_message("Deleted tall dogs")


@pytest.mark.one_page
def test_a_broken_import_is_answered_with_one_sentence(controls, host_page, tmp_path):
    controls.open_own()
    broken = tmp_path / "broken.json"
    broken.write_text('{"format": "cr-diff presets", "version": 1, "presets": [{"name": "x"}]}', encoding="utf-8")
    controls.pick_import(broken)
    controls.wait_message("family")
    assert "Traceback" not in host_page.one(controls.id("own_message")).inner_text()


@pytest.mark.one_page
def test_a_built_in_preset_cannot_be_overwritten_or_deleted(controls, host_page):
    controls.open_own()
    host_page.choose(controls.id("preset"), "SD1.x 768x768")
    controls.wait_ratios([0.185, 0.445, 0.1])
    controls.press("own_delete")
    controls.wait_message("SD1.x 768x768")
    controls.name("sd1.X 768x768")
    controls.press("own_save")
    controls.wait_message("sd1.X 768x768")
    host_page.choose(controls.id("preset"), "SD1.x 512x512")
    host_page.choose(controls.id("preset"), "SD1.x 768x768")
    controls.wait_ratios([0.185, 0.445, 0.1])


def test_nothing_is_written_into_the_extensions_folder(server):
    root = Path(__file__).resolve().parents[2]
    assert not (root / "presets" / "presets.json").exists()
    assert not (root / "crdiff" / "profiles").exists()


def test_a_checkpoint_is_calibrated_and_its_calibration_deleted(controls, host_page, server):
    """Calibrate is Generate with another script for one press, whose image is not the tab's."""
    page, fold = host_page.page, controls.id("calibration_accordion")
    if not page.locator(f"#{fold}").is_visible():
        host_page.open_accordion(controls.id("details"))
    host_page.open_accordion(fold)
    controls.wait_line("calibration_known", "is not calibrated. .*wanda")
    host_page.set_number("{tab}_steps", 2)
    host_page.set_number(controls.id("calibration_images"), 1)
    page.locator(f"#{controls.id('calibration_size')} textarea, #{controls.id('calibration_size')} input").fill("64x96")
    page.locator(f"#{controls.id('calibration_start')}").click()
    assert re.search(
        r"Drawing 1 image at 64x96. The sums take [\d.]+ KB", controls.wait_line("calibration_message", "Dra")
    )
    controls.wait_line("calibration_message", r"is calibrated with 1 image: \d+ tokens at 64x96\.")
    controls.wait_line("calibration_known", r"is calibrated: 1 image at 64x96, .* obs-saliency.* still needs? ")
    host_page.wait_chosen("script_list", "None")
    (kept,) = (server.data / "crdiff" / "calibrations").iterdir()
    page.once("dialog", lambda dialog: dialog.accept())
    page.locator(f"#{controls.id('calibration_delete')}").click()
    controls.wait_line("calibration_message", "Deleted 1 calibration.")
    controls.wait_line("calibration_known", "is not calibrated.")
    assert not kept.exists()
