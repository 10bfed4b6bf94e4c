"""What tests do with the search's fold in the accordion."""

from __future__ import annotations

GROUPS = ("down", "mid", "up")
PATIENCE_MS = 90_000
FIELDS = {"steps": 2, "width": 64, "height": 96, "seed": 7}


class Search:
    """The search's fold in one tab, opened and filled."""

    def __init__(self, host_page, tab="txt2img"):
        self.host_page, self.page, self.tab = host_page, host_page.page, tab
        self.id = f"{tab}_crdiff_search_"
        self.version, self.log = "-1", ""

    def unfold(self):
        self.host_page.open_accordion("{tab}_crdiff")
        self.host_page.open_accordion(f"{self.id}accordion")
        return self

    def open(self, prompt, **fields):
        host_page = self.unfold().host_page
        self.one("start").wait_for(state="visible")
        host_page.open_accordion(f"{self.id}advanced")
        for name, value in {**FIELDS, **fields}.items():
            host_page.set_number("{tab}_" + name, value)
        host_page.fill_prompt(prompt)
        return self

    def one(self, name):
        return self.page.locator(f"#{self.id}{name}").first

    def press(self, name):
        if name in ("start", "resume"):
            # What the page says of the search before must not be taken for this one's.
            self.version = self.panel().first.get_attribute("data-crdiff-version") if self.panel().count() else "-1"
            self.log = self.page.locator(f"#html_log_{self.tab}").first.inner_text()
        self.one(name).click()

    def number(self, name, value):
        self.host_page.set_number(f"{self.id}{name}", value)

    def message(self, pattern):
        """Wait for a message; its text."""
        self._wait("message", pattern)
        return self.one("message").inner_text()

    def _wait(self, name, pattern):
        self.page.wait_for_function(
            "([id, pattern]) => new RegExp(pattern).test(document.getElementById(id)?.innerText ?? '')",
            arg=[f"{self.id}{name}", pattern],
        )

    def shows(self, pattern):
        self._wait("panel", pattern)

    def ended(self, state):
        """Wait for a search to end and its result to be shown; what the panel says."""
        self.page.wait_for_function(
            "([tab, said, before]) => { const log = document.getElementById(`html_log_${tab}`).innerText;"
            " return log !== before && log.includes(said) && log.includes('Time taken'); }",
            arg=[self.tab, f"{state.capitalize()}:", self.log],
            timeout=PATIENCE_MS,
        )
        self.page.wait_for_selector(
            f'#{self.id}panel [data-crdiff-search="{state}"]:not([data-crdiff-version="{self.version}"])'
        )
        return self.panel().locator("p").first.inner_text()

    def reload(self, state):
        """Load the page again and wait until it shows the search; a page loads slowly beside a running search."""
        self.page.reload(wait_until="domcontentloaded", timeout=PATIENCE_MS)
        self.page.wait_for_selector("#txt2img_hr-visible-checkbox", timeout=PATIENCE_MS)
        shown = f'#{self.id}panel [data-crdiff-search="{state}"]'
        self.page.wait_for_selector(shown, state="attached", timeout=PATIENCE_MS)

    def panel(self):
        return self.page.locator(f"#{self.id}panel [data-crdiff-search]")

    def ratios_become(self, values):
        """Wait for these, which may be rounded as the table shows them."""
        self.page.wait_for_function(
            "([tab, values]) => Object.entries(values).every(([name, value]) =>"
            " Math.abs(document.querySelector(`#${tab}_crdiff_${name} input[type=number]`).value - value) < 6e-4)",
            arg=[self.tab, dict(zip(GROUPS, values))],
        )
