"""Search ratios for this prompt, in a browser: from the button to a preset."""

from __future__ import annotations

import pytest

SCORE = """
import numpy

def score(pictures, prompt):
    return [1.0 - float(numpy.asarray(picture).mean()) / 255 for picture in pictures]
"""
ID = "txt2img_crdiff_search_"


def wait_message(page, pattern):
    page.wait_for_function(
        "([id, pattern]) => new RegExp(pattern).test(document.getElementById(id)?.innerText ?? '')",
        arg=[f"{ID}message", pattern],
    )


@pytest.fixture(autouse=True)
def no_presets_left(server):
    """The server is shared with tests that count the user's own presets."""
    yield
    (server.data / "crdiff" / "presets.json").unlink(missing_ok=True)


def test_a_search_is_started_watched_applied_and_saved(host_page, server):
    page = host_page.page
    server.post("/sdapi/v1/options", {"sd_model_checkpoint": "sd1-a"})
    (server.data / "crdiff").mkdir(exist_ok=True)
    (server.data / "crdiff" / "score.py").write_text(SCORE, encoding="utf-8")
    host_page.open_accordion("{tab}_crdiff")
    host_page.one(f"{ID}accordion").locator(".label-wrap").first.click()
    host_page.one(f"{ID}start").wait_for(state="visible")
    for name, value in (("steps", 2), ("width", 64), ("height", 96), ("seed", 7)):
        host_page.set_number("{tab}_" + name, value)
    host_page.fill_prompt("a small red house")
    host_page.set_number(f"{ID}low", 0.9)
    host_page.one(f"{ID}start").click()
    wait_message(page, "lower bound")
    host_page.set_number(f"{ID}low", 0.1)
    host_page.set_number(f"{ID}evaluations", 4)
    host_page.one(f"{ID}start").click()
    panel = page.locator(f"#{ID}panel [data-crdiff-search]")
    page.wait_for_selector(f'#{ID}panel [data-crdiff-search="done"]', timeout=120_000)
    assert "Done: 4 of 4 evaluations" in panel.inner_text()
    assert panel.locator("figure img").count() == 2
    assert panel.locator("svg").count() == 2
    assert len(host_page.gallery_images()) >= 2
    # The next job is the host's own.
    assert host_page.chosen("script_list") == "None"
    row = panel.locator("tbody tr").first
    shown = [float(text) for text in row.locator("td").all_inner_texts()[2:5]]
    row.locator("[data-crdiff-apply]").click()
    page.wait_for_function("() => document.querySelector('#txt2img_crdiff_preset input').value === 'Custom'")
    page.wait_for_function(
        "value => Number(document.querySelector('#txt2img_crdiff_up input[type=number]').value) === value", arg=shown[2]
    )
    assert [host_page.number(f"txt2img_crdiff_{group}") for group in ("down", "mid", "up")] == shown
    host_page.one(f"{ID}name").locator("textarea, input").first.fill("found")
    host_page.one(f"{ID}save").click()
    wait_message(page, "Saved found for SD1.x, 96x64")
    found = next(x for x in server.get("/crdiff/v1/presets")["presets"] if x["name"] == "found")
    assert [round(found[group], 3) for group in ("down", "mid", "up")] == shown
    # A reloaded page shows the last search; Resume goes on with it, and with no other.
    page.reload()
    page.wait_for_selector(f'#{ID}panel [data-crdiff-search="done"]', state="attached")
    page.wait_for_selector("#txt2img_hr-visible-checkbox")
    host_page.open_accordion("{tab}_crdiff")
    host_page.one(f"{ID}accordion").locator(".label-wrap").first.click()
    host_page.one(f"{ID}resume").wait_for(state="visible")
    host_page.set_number(f"{ID}evaluations", 6)
    host_page.one(f"{ID}resume").click()
    page.wait_for_selector(f'#{ID}panel [data-crdiff-search="failed"]')
    assert "this journal was written with size" in panel.inner_text()
    for name, value in (("steps", 2), ("width", 64), ("height", 96), ("seed", 7)):
        host_page.set_number("{tab}_" + name, value)
    host_page.one(f"{ID}resume").click()
    page.wait_for_selector(f'#{ID}panel [data-crdiff-search="done"]')
    assert "Done: 6 of 6 evaluations" in panel.inner_text()
