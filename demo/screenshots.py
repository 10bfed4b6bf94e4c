"""``python -m demo.screenshots FOLDER``: the documentation's images of the page, from a demo of their own."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from demo.browse import READY, NoBrowserError, opened_page
from demo.running import StartError, running

PATIENCE_S = 300
VIEWPORT = {"width": 1400, "height": 1000}
EVALUATIONS = 12
ACCORDION, SEARCH = "txt2img_crdiff", "txt2img_crdiff_search_"
FRAME = 12
"""Pixels around what is shown."""


def take(page: Any, folder: Path) -> None:
    """Compare as a visitor's first click does, then the accordion, then a search of a few evaluations."""
    page.locator("#demo_compare").click()
    page.wait_for_selector("#demo_panel figure")
    page.wait_for_function("() => !document.querySelector('.progressDiv')")
    _settle(page)
    below = page.locator("#demo_panel").bounding_box()
    page.mouse.move(0, 0)
    clip = {"x": 0, "y": 0, "width": VIEWPORT["width"], "height": below["y"] + below["height"] + FRAME}
    page.screenshot(path=folder / "demo.png", full_page=True, clip=clip)

    _open(page, ACCORDION)
    _settle(page)
    _shoot(page, f"#{ACCORDION}", folder / "accordion.png")

    _open(page, f"{SEARCH}accordion")
    evaluations = page.locator(f"#{SEARCH}evaluations input[type=number]").first
    evaluations.fill(str(EVALUATIONS))
    evaluations.blur()
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


def main() -> int:
    """Takes them all; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
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
