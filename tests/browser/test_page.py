"""The stand-in's page itself: it loads, generates, and shows scripts the way hosts do."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

# What of it every extension's page needs is used on both gradios by the tests of CR-Diff's own.
pytestmark = [pytest.mark.standin, pytest.mark.one_page]
INFOTEXT = "a red cube\nNegative prompt: blue\nSteps: 3, Sampler: Euler, CFG scale: 4.5, Seed: 42, Size: 64x128"


def test_page_loads_and_has_the_hosts_element_ids(host_page):
    names = ("prompt", "neg_prompt", "generate", "width", "height", "steps", "seed", "sampling", "cfg_scale")
    names += ("batch_count", "batch_size", "gallery", "script_container")
    for tab in ("txt2img", "img2img"):
        for name in names:
            assert host_page.page.locator(f"#{tab}_{name}").count() == 1
        # gradio 3 gives an HTML component's id to its wrapper, too
        assert host_page.page.locator(f"#html_info_{tab}").count() in (1, 2)


def test_generates_a_picture(host_page):
    host_page.fill_prompt("a red cube")
    text = host_page.generate(width=64, height=64, steps=2, seed=5)
    assert text.startswith("a red cube")
    assert re.search(r"Steps: 2, .*Seed: 5, Size: 64x64", text)
    assert host_page.gallery_images()


def test_an_error_is_shown_and_the_next_job_works(host_page):
    host_page.tab("img2img")
    host_page.generate(width=64, height=64, steps=2)
    assert "There is no image to start from" in host_page.message()
    host_page.tab("txt2img")
    assert "Steps: 2" in host_page.generate(width=64, height=64, steps=2)


def test_accordion_and_its_checkbox_stand_for_one_value(host_page):
    host_page.wait_checked("txt2img_hr", False)
    host_page.open_accordion("txt2img_hr")
    host_page.wait_checked("txt2img_hr")
    host_page.one("txt2img_hr-visible-checkbox").uncheck()
    expect(host_page.one("txt2img_hr_scale")).to_be_visible()
    text = host_page.generate(width=64, height=64, steps=2, seed=5)
    assert "Hires" not in text
    host_page.one("txt2img_hr-visible-checkbox").check()
    assert "Hires upscale: 2" in host_page.generate(hr_scale=2, hires_steps=2)
    host_page.one("txt2img_hr-visible-checkbox").uncheck()


def test_paste_fills_the_tab(host_page):
    host_page.paste(INFOTEXT)
    host_page.wait_prompt("a red cube")
    values = {"steps": 3, "width": 64, "height": 128, "seed": 42, "cfg_scale": 4.5}
    host_page.wait_numbers({f"txt2img_{name}": value for name, value in values.items()})
    host_page.wait_chosen("txt2img_sampling", "Euler")


def test_text_of_a_picture_travels_by_png_info(host_page, server, tmp_path):
    host_page.fill_prompt("a green ball")
    host_page.generate(width=64, height=128, steps=2, seed=77)
    address = host_page.gallery_images()[0]
    picture = tmp_path / "picture.png"
    picture.write_bytes(host_page.page.request.get(address).body())
    host_page.fill_prompt("")
    host_page.tab("PNG Info")
    host_page.upload("pnginfo_image", picture)
    host_page.page.wait_for_selector("#pnginfo_html_info >> text=a green ball")
    host_page.one("txt2img_tab").click()
    for selector, value in (("#txt2img_prompt textarea", "a green ball"), ("#txt2img_seed input", "77")):
        host_page.page.wait_for_function(
            "([selector, value]) => document.querySelector(selector).value === value", arg=[selector, value]
        )
    expect(host_page.one("txt2img_generate")).to_be_visible()


def test_checkpoint_is_switched_above_the_tabs(host_page, host_kind, server):
    ids = {"a1111": "#setting_sd_model_checkpoint", "forge": ".model_selection"}
    box = host_page.page.locator(ids[host_kind.flavour]).first
    try:
        for name in ("tiny-sd15-b", "tiny-sd15-a"):
            box.locator("input").click()
            host_page.page.locator("ul.options li", has_text=name).first.click()
            host_page.page.wait_for_function(
                "name => (window.opts?.sd_model_checkpoint ?? opts.sd_model_checkpoint).includes(name)", arg=name
            )
            assert f"Model: {name}" in host_page.generate(width=64, height=64, steps=2)
    finally:
        server.post("/sdapi/v1/options", {"sd_model_checkpoint": "tiny-sd15-a"})


def test_extension_script_is_shown_in_both_tabs(host_page):
    for tab in ("txt2img", "img2img"):
        host_page.tab(tab)
        accordion = host_page.page.locator(f"#{tab}_script_container #{tab}_crdiff")
        expect(accordion).to_be_visible()
        host_page.wait_checked(f"{tab}_crdiff", False)
        host_page.open_accordion(f"{tab}_crdiff")
        host_page.wait_checked(f"{tab}_crdiff")
