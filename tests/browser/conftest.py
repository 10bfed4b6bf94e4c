"""Fixtures for tests in a browser.

Each test that takes ``page`` runs once per host kind: AUTOMATIC1111's flavour of the stand-in host under gradio 3 and
Forge's under gradio 4, as the hosts are. ``CRDIFF_BROWSER_HOSTS=all`` adds the other two pairings, and a list such as
``forge-gradio4,forge-gradio3`` chooses. What is marked ``one_page`` runs on the last kind alone without ``--full``. A
server is started once per kind and kept for the session. A page is loaded once for the tests of a file: loading costs
more than most tests do. Each finds the txt2img tab in front of it and the values that the one before has left, and may
have the page loaded again.

- ``host_kind``: the kind as a ``HostKind`` (``.flavour``, ``.gradio``), so that a test can branch or skip.
- ``server``: the running stand-in as a ``Server``: ``.url``, ``.data`` (its data folder), ``.log()`` (what it
  printed), ``.get(path)`` and ``.post(path, body)`` for its API.
- ``page``: a playwright page that shows the loaded host. Whatever leaves this machine is refused. At the end of the
  test every JavaScript error and every console error fails it; ``page.errors`` is that list, to be cleared by a test
  that provokes one. ``page.used`` is whether an earlier test has had it.
- ``host_page``: the same page in a ``HostPage``, with what tests do most: ``fill_prompt``, ``set_number``,
  ``set_slider``, ``choose``, ``open_accordion``, ``wait_checked``, ``generate`` (waits, returns the infotext shown),
  ``paste`` (puts an infotext into the prompt and presses the paste button), ``tab``, ``gallery_images``, ``reload``.

``CRDIFF_CHROMIUM`` names a browser, else see ``chromium.py``. ``CRDIFF_PYTHON_GRADIO3`` and ``CRDIFF_PYTHON_GRADIO4``
name other interpreters than those of ``make setup``. Without a browser the tests are skipped, unless
``CRDIFF_REQUIRE_BROWSER`` is set, as by ``make test``.

Element ids: ``{tab}_prompt``, ``{tab}_neg_prompt``, ``{tab}_generate``, ``{tab}_width``, ``{tab}_height``,
``{tab}_steps``, ``{tab}_seed``, ``{tab}_sampling``, ``{tab}_cfg_scale``, ``{tab}_batch_count``, ``{tab}_batch_size``,
``{tab}_gallery``, ``html_info_{tab}``, ``html_log_{tab}``, ``{tab}_script_container``, ``script_list``, ``paste`` (one
in each tab), ``setting_sd_model_checkpoint`` (A1111) or ``.model_selection`` (Forge), ``setting_<option>`` and
``settings_submit`` in the settings tab, ``pnginfo_image``, ``txt2img_tab`` and ``img2img_tab`` in the PNG info tab.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from standins import HOSTS, OTHERS, HostKind, Server

from .host_page import HostPage

PAGE_MS = 60_000


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "host_kind" in metafunc.fixturenames:
        wanted = os.environ.get("CRDIFF_BROWSER_HOSTS", "")
        names = [str(kind) for kind in HOSTS] if not wanted else wanted.split(",")
        kinds = [kind for kind in [*HOSTS, *OTHERS] if wanted == "all" or str(kind) in names]
        one = metafunc.definition.get_closest_marker("one_page") is not None
        cases = [
            pytest.param(kind, id=str(kind), marks=[pytest.mark.full] if one and kind != kinds[-1] else [])
            for kind in kinds
        ]
        metafunc.parametrize("host_kind", cases, scope="session", indirect=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(item.fspath).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def host_kind(request: pytest.FixtureRequest) -> HostKind:
    return request.param


@pytest.fixture(scope="session")
def server(host_kind: HostKind, standin: Callable[[HostKind], Server]) -> Server:
    server = standin(host_kind)
    server.post("/sdapi/v1/options", {"sd_model_checkpoint": "tiny-sd15-a"})
    return server


def _only_this_machine(route: Any) -> None:
    url = route.request.url
    if url.startswith(("http://127.0.0.1", "http://localhost", "data:", "blob:")):
        route.continue_()
    else:  # fonts and the like, which gradio's page asks for: an empty answer is no error in the console
        route.fulfill(status=200, body="")


@pytest.fixture(scope="module")
def opened(server: Server, browser: Any) -> Iterator[Any]:
    """The page of a file's tests."""
    unserved = [line for line in server.log().splitlines() if line.startswith("Hidden folder")]
    if unserved:  # every test would wait for a page without scripts
        pytest.fail(unserved[0])
    expect.set_options(timeout=PAGE_MS)
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.set_default_timeout(PAGE_MS)
    opened = context.new_page()
    opened.errors, opened.used = [], False
    opened.on("pageerror", lambda error: opened.errors.append(f"uncaught: {error}"))
    opened.on("console", lambda m: opened.errors.append(f"console: {m.text}") if m.type == "error" else None)
    opened.route("**/*", _only_this_machine)
    opened.goto(server.url, wait_until="domcontentloaded")
    HostPage(opened).wait_until_loaded()
    yield opened
    context.close()


@pytest.fixture
def page(opened: Any) -> Iterator[Any]:
    opened.errors.clear()
    yield opened
    opened.used = True
    assert not opened.errors, opened.errors


@pytest.fixture
def host_page(page: Any) -> HostPage:
    host_page = HostPage(page)
    host_page.tab("txt2img")
    return host_page
