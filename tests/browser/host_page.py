"""What tests do with the page, for either gradio.

gradio shows the values of one answer one after the other: what a test expects of a page is waited for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import TimeoutError as PlaywrightTimeout
from playwright.sync_api import expect

# gradio 4 shows the values of one answer over several frames, and what they set off follows.
SETTLE_MS = 500
OPEN_MS = 3000
OPENED_AT_MOST = 5


class HostPage:
    """A loaded page, and the tab that is worked in."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.current = "txt2img"

    def wait_until_loaded(self) -> None:
        self.page.wait_for_selector("#txt2img_generate", state="attached")
        # The host's script has run its callbacks once accordions have their visible checkbox.
        self.page.wait_for_selector("#txt2img_hr-visible-checkbox", state="attached")

    def reload(self) -> None:
        """Every value is the host's default again."""
        self.page.reload(wait_until="domcontentloaded")
        self.wait_until_loaded()
        self.current = "txt2img"

    def tab(self, label: str) -> None:
        """Go to a tab by what its button says."""
        self.page.locator("#tabs > .tab-nav > button", has_text=label).first.click()
        self.current = label if label in ("txt2img", "img2img") else self.current

    def one(self, elem_id: str) -> Any:
        """The element of that id in the current tab or anywhere; ``{tab}`` in it stands for the tab."""
        return self.page.locator(f"#{elem_id.format(tab=self.current)}").first

    def fill_prompt(self, text: str) -> None:
        self.one("{tab}_prompt").locator("textarea").fill(text)

    def prompt(self) -> str:
        return self.one("{tab}_prompt").locator("textarea").input_value()

    def wait_prompt(self, text: str) -> None:
        expect(self.one("{tab}_prompt").locator("textarea")).to_have_value(text)

    def set_number(self, elem_id: str, value: float) -> None:
        """Type into a number field, a slider's included, and leave it, upon which gradio takes the value."""
        field = self.one(elem_id).locator("input[type=number]")
        field.fill(str(value))
        field.blur()

    set_slider = set_number

    def number(self, elem_id: str) -> float:
        return float(self.one(elem_id).locator("input[type=number]").input_value())

    def wait_numbers(self, values: dict[str, float]) -> None:
        """Wait until the number fields of these ids show these values."""
        self.page.wait_for_function(
            "values => Object.entries(values).every(([id, value]) =>"
            " Number(document.querySelector(`#${id} input[type=number]`).value) === value)",
            arg={elem_id.format(tab=self.current): value for elem_id, value in values.items()},
        )

    def choose(self, elem_id: str, choice: str) -> None:
        """Pick an entry of a dropdown. An answer that sets it meanwhile closes its list, which is opened again then."""
        box = self.one(elem_id)
        option = self.page.locator("ul.options li", has_text=choice)
        for _ in range(OPENED_AT_MOST):
            box.locator("input").first.click()
            try:
                option.first.click(timeout=OPEN_MS)
            except PlaywrightTimeout:
                box.locator("input").first.blur()
            else:
                return
        raise AssertionError(f"{elem_id} does not offer {choice!r}")

    def wait_chosen(self, elem_id: str, choice: str) -> None:
        expect(self.one(elem_id).locator("input").first).to_have_value(choice)

    def wait_checked(self, accordion_id: str, checked: bool = True) -> None:
        """Wait until an InputAccordion is on, or off."""
        expect(self.one(f"{accordion_id}-visible-checkbox")).to_be_checked(checked=checked)

    def open_accordion(self, accordion_id: str) -> None:
        """Open it unless it is; a page that was just loaded may not heed a press yet."""
        header = self.one(accordion_id).locator(".label-wrap").first
        for _ in range(OPENED_AT_MOST):
            if "open" in (header.get_attribute("class") or "").split():
                return
            header.locator("span").first.click()
            try:
                self.page.wait_for_function(
                    "id => document.getElementById(id).querySelector('.label-wrap').classList.contains('open')",
                    arg=accordion_id.format(tab=self.current),
                    timeout=OPEN_MS,
                )
                return
            except PlaywrightTimeout:
                continue
        raise AssertionError(f"{accordion_id} does not open")

    def info(self) -> str:
        """The infotext shown below the gallery."""
        return self.one("html_info_{tab}").inner_text().strip()

    def message(self) -> str:
        """The comments or the error shown below the infotext."""
        return self.one("html_log_{tab}").inner_text().strip()

    def generate(self, **numbers: float) -> str:
        """Set numbers by the id's last part (``steps=2``), press Generate, wait for the end; the infotext shown."""
        for name, value in numbers.items():
            self.set_number("{tab}_" + name, value)
        log = f"html_log_{self.current}"
        before = self.page.evaluate("id => document.getElementById(id).innerHTML", log)
        self.one("{tab}_generate").click()
        self.page.wait_for_function(
            "([id, before]) => { const log = document.getElementById(id); return log.innerText.includes('Time taken')"
            "  && log.innerHTML !== before && !document.querySelector('.progressDiv'); }",
            arg=[log, before],
        )
        self.page.wait_for_timeout(SETTLE_MS)
        return self.info()

    def paste(self, infotext: str) -> None:
        """Put a text into the prompt, press the paste button beside it, and wait until the tab is filled."""
        self.fill_prompt(infotext)
        self.page.locator(f"#{self.current}_tools #paste").click()
        self.page.wait_for_function(
            "([tab, text]) => document.querySelector(`#${tab}_prompt textarea`).value.trim() !== text.trim()",
            arg=[self.current, infotext],
        )
        self.page.wait_for_timeout(SETTLE_MS)

    def gallery_images(self) -> list[str]:
        """Addresses of the pictures in the gallery."""
        images = self.one("{tab}_gallery").locator("img").all()
        return list(dict.fromkeys(image.get_attribute("src") or "" for image in images))

    def upload(self, elem_id: str, file: Path) -> None:
        self.one(elem_id).locator("input[type=file]").first.set_input_files(str(file))
