"""Using the demo's page in a headless browser, for its check of itself and for screenshots."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FINDER = Path(__file__).resolve().parents[1] / "tests" / "browser" / "chromium.py"
READY = "#txt2img_hr-visible-checkbox"
"""What the host's script makes."""
PANEL = "#txt2img_results .crdiff-compare"
"""The comparison above the gallery."""
VARIANTS = 2
"""The fewest that Compare shows: dense, CR-Diff, and the pruned model alone where that is another one."""


class NoBrowserError(Exception):
    """Why there is no browser, in one sentence."""


@dataclass
class Shown:
    """What the page showed, and what was wrong with it."""

    lines: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def compare_in_browser(url: str, height: int, width: int, images: int, limit_s: float) -> Shown:
    """Open the page, press the button of a size and Compare, and read what is shown of so many images a variant.

    Raises:
        NoBrowserError: there is no browser, or nothing to drive it with.
    """
    shown = Shown()

    def failed(error: Any) -> None:
        shown.faults.append(f"error in the page: {error}")

    with opened_page(url, limit_s, failed) as page:
        _compare(page, height, width, images, shown)
    return shown


def _compare(page: Any, height: int, width: int, images: int, shown: Shown) -> None:
    from playwright.sync_api import Error  # where a page is open, playwright is installed

    try:
        page.wait_for_selector(READY)
        batch = page.locator("#txt2img_batch_size input[type=number]").first
        batch.fill(str(images))
        batch.blur()
        page.locator(f"#demo_size_{height}x{width}").click()
        page.wait_for_function(
            "([height, width]) => document.querySelector('#txt2img_height input').value == height"
            " && document.querySelector('#txt2img_width input').value == width",
            arg=[height, width],
        )
        page.locator("#demo_compare").click()
        page.wait_for_selector(f"{PANEL} figure, #html_log_txt2img .error")
        _read(page, height, width, shown)
    except Error as error:
        shown.faults.append(str(error).splitlines()[0])


@contextmanager
def opened_page(url: str, limit_s: float, on_error: Callable[[Any], None], **context: Any) -> Iterator[Any]:
    """The demo's page; the host's script has run as soon as there is a ``READY``.

    Args:
        url: of the demo.
        limit_s: how long anything on the page may take.
        on_error: told of every error of the page's scripts.
        context: playwright's, such as ``viewport``.

    Raises:
        NoBrowserError: there is no browser, or nothing to drive it with.
    """
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        raise NoBrowserError("playwright is not installed, so the page was not opened.") from None
    options = _launch_options()
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(**options)
        except Error as error:
            raise NoBrowserError(f"Chromium does not start ({str(error).splitlines()[0]}).") from None
        try:
            page = browser.new_page(**context)
            page.set_default_timeout(limit_s * 1000)
            page.on("pageerror", on_error)
            page.route("**/*", _only_this_machine)
            page.goto(url, wait_until="domcontentloaded")
            yield page
        finally:
            browser.close()


def _launch_options() -> dict[str, Any]:
    if not FINDER.is_file():
        raise NoBrowserError(f"{FINDER} is missing, so no browser was looked for.")
    spec = importlib.util.spec_from_file_location("demo_chromium", FINDER)
    finder = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(finder)
    try:
        return finder.launch_options()
    except FileNotFoundError as error:
        raise NoBrowserError(f"{error}.") from None


def _only_this_machine(route: Any) -> None:
    if route.request.url.startswith(("http://127.0.0.1", "data:", "blob:")):
        route.continue_()
    else:  # fonts and the like, which gradio's page asks for
        route.fulfill(status=200, body="")


def _read(page: Any, height: int, width: int, shown: Shown) -> None:
    shown.faults += page.locator("#html_log_txt2img .error").all_inner_texts()
    sections = page.locator(f"{PANEL} section").all()
    if len(sections) < VARIANTS:
        shown.faults.append(f"Compare shows {len(sections)} variants, not {VARIANTS}")
    for section in sections:
        sizes = section.locator("img").evaluate_all("all => all.map(one => `${one.naturalHeight}x${one.naturalWidth}`)")
        header = ", ".join(section.locator("header").inner_text().split("\n"))
        shown.lines.append(f"{header}: {len(sizes)} of {', '.join(sorted(set(sizes)))}")
        if set(sizes) != {f"{height}x{width}"}:
            shown.faults.append(f"the images are not of {height}x{width}")
    shown.lines += page.locator(f"{PANEL} .crdiff-compare-sentences p").all_inner_texts()
    shown.lines.append(page.locator("#html_info_txt2img").first.inner_text().strip().split("\n")[0])
