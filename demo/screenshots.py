"""``python -m demo.screenshots FOLDER``: the documentation's images of the page, from a demo of their own."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from demo.browse import PANEL, READY, NoBrowserError, opened_page
from demo.running import StartError, running

PATIENCE_S = 300
VIEWPORT = {"width": 1400, "height": 1000}
EVALUATIONS = 12
SEEDS = "1, 2, 3, 4"
"""Of the search's images: with one noise the best image may be as wrong as the dense one."""
ACCORDION, SEARCH = "txt2img_crdiff", "txt2img_crdiff_search_"
FRAME = 12
"""Pixels around what is shown."""

EMOJI = ":lang=und-zsye"
"""What fontconfig calls a font with icons in colour."""


def take(page: Any, folder: Path) -> None:
    """Compare as a visitor's first click does, then the accordion, then a search of a few evaluations."""
    page.locator("#demo_compare").click()
    page.wait_for_selector(f"{PANEL} figure")
    page.wait_for_function("() => !document.querySelector('.progressDiv')")
    _settle(page)
    page.mouse.move(0, 0)
    end = page.locator(PANEL).first.evaluate("panel => panel.getBoundingClientRect().bottom + scrollY")
    clip = {"x": 0, "y": 0, "width": VIEWPORT["width"], "height": end + FRAME}
    page.screenshot(path=folder / "demo.png", full_page=True, clip=clip)

    page.locator("#demo_size_96x128").click()
    _open(page, ACCORDION)
    _settle(page)
    _shoot(page, f"#{ACCORDION}", folder / "accordion.png")

    page.locator("#demo_size_80x128").click()
    _open(page, f"{SEARCH}accordion")
    evaluations = page.locator(f"#{SEARCH}evaluations input[type=number]").first
    evaluations.fill(str(EVALUATIONS))
    evaluations.blur()
    _open(page, f"{SEARCH}advanced")
    seeds = page.locator(f"#{SEARCH}seeds textarea, #{SEARCH}seeds input").first
    seeds.fill(SEEDS)
    seeds.blur()
    page.locator(f"#{SEARCH}advanced .label-wrap").first.locator("span").first.click()
    page.locator(f"#{SEARCH}start").click()
    page.wait_for_function("id => /Done: /.test(document.getElementById(id)?.innerText ?? '')", arg=f"{SEARCH}panel")
    _settle(page)
    _shoot(page, f"#{SEARCH}accordion", folder / "search.png")


def _open(page: Any, accordion: str) -> None:
    page.locator(f"#{accordion} .label-wrap").first.locator("span").first.click()
    page.wait_for_function(
        "id => document.getElementById(id).querySelector('.label-wrap').classList.contains('open')", arg=accordion
    )


def _settle(page: Any) -> None:
    """Until answers of the server and animations are over."""
    page.wait_for_timeout(3000)


def _shoot(page: Any, selector: str, path: Path) -> None:
    page.mouse.move(0, 0)
    page.locator(selector).first.screenshot(path=path)


def missing_font() -> str:
    """A sentence if the page's icons would be empty boxes; empty where nobody can tell."""
    lister = shutil.which("fc-list")
    if lister is None or subprocess.run([lister, EMOJI], capture_output=True, check=False).stdout:
        return ""
    return "No font on this machine has the page's icons: install one, such as fonts-noto-color-emoji."


def main() -> int:
    """Takes them all; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    if sentence := missing_font():
        print(f"FAILED: {sentence}")
        return 1
    options.folder.mkdir(parents=True, exist_ok=True)
    faults: list[str] = []
    with tempfile.TemporaryDirectory(prefix="crdiff-demo-") as folder:
        try:
            print("Starting the demo in temporary folders.", flush=True)
            with running(Path(sys.executable), Path(folder), []) as url:
                print("Taking the images.", flush=True)
                with opened_page(url, PATIENCE_S, lambda error: faults.append(str(error)), viewport=VIEWPORT) as page:
                    page.wait_for_selector(READY)
                    take(page, options.folder)
        except (NoBrowserError, StartError) as error:
            faults.append(str(error))
    for fault in faults:
        print(f"FAILED: {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
