"""Fixtures for tests in a browser.

Each test that takes ``page`` runs once per host kind: AUTOMATIC1111's flavour of the stand-in host under gradio 3 and
Forge's under gradio 4, as the hosts are. ``CRDIFF_BROWSER_HOSTS=all`` adds the other two pairings, and a list such as
``forge-gradio4,forge-gradio3`` chooses. A server is started once per kind and kept for the session; a page is new for
every test.

- ``host_kind``: the kind as a ``HostKind`` (``.flavour``, ``.gradio``), so that a test can branch or skip.
- ``server``: the running stand-in as a ``Server``: ``.url``, ``.data`` (its data folder), ``.log()`` (what it
  printed), ``.get(path)`` and ``.post(path, body)`` for its API.
- ``page``: a playwright page that shows the loaded host. Whatever leaves this machine is refused. At the end of the
  test every JavaScript error and every console error fails it; ``page.errors`` is that list, to be cleared by a test
  that provokes one.
- ``host_page``: the same page in a ``HostPage``, with what tests do most: ``fill_prompt``, ``set_number``,
  ``set_slider``, ``choose``, ``open_accordion``, ``checked``, ``generate`` (waits, returns the infotext shown),
  ``paste`` (puts an infotext into the prompt and presses the paste button), ``tab``, ``gallery_images``.

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

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .host_page import HostPage

ROOT = Path(__file__).resolve().parents[2]
START_S = 240
PAGE_MS = 60_000


@dataclass(frozen=True)
class HostKind:
    """A flavour of the stand-in and the gradio it runs on."""

    flavour: str
    gradio: int

    def __str__(self) -> str:
        return f"{self.flavour}-gradio{self.gradio}"

    @property
    def python(self) -> Path:
        given = os.environ.get(f"CRDIFF_PYTHON_GRADIO{self.gradio}")
        folder = ".venv" if self.gradio == 4 else ".venv-gradio3"
        return Path(given) if given else ROOT / folder / "bin" / "python"


HOSTS = [HostKind("a1111", 3), HostKind("forge", 4)]
OTHERS = [HostKind("forge", 3), HostKind("a1111", 4)]


@dataclass
class Server:
    """A stand-in host in a process of its own."""

    kind: HostKind
    url: str
    data: Path
    log_file: Path
    process: subprocess.Popen[bytes]

    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return json.loads(answer.read())

    def post(self, path: str, body: Any) -> Any:
        data = json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.loads(answer.read())

    def wait_until_up(self) -> None:
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            try:
                urllib.request.urlopen(self.url, timeout=5).close()
                return
            except OSError:
                time.sleep(0.2)
        raise RuntimeError(f"the stand-in {self.kind} did not start:\n{self.log()[-5000:]}")

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "host_kind" in metafunc.fixturenames:
        wanted = os.environ.get("CRDIFF_BROWSER_HOSTS", "")
        names = [str(kind) for kind in HOSTS] if not wanted else wanted.split(",")
        kinds = [kind for kind in [*HOSTS, *OTHERS] if wanted == "all" or str(kind) in names]
        metafunc.parametrize("host_kind", kinds, ids=str, scope="session", indirect=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(item.fspath).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def host_kind(request: pytest.FixtureRequest) -> HostKind:
    return request.param


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with three small random checkpoints, ``sd1-a``, ``sd1-b`` and ``xl-a``; written once."""
    folder = tmp_path_factory.mktemp("models")
    code = (
        "import sys; from pathlib import Path; from common import checkpoints;"
        "[checkpoints.write_random(Path(sys.argv[1]), f'sd1-{n}', 'sd1', seed) for seed, n in enumerate('ab')];"
        "checkpoints.write_random(Path(sys.argv[1]), 'xl-a', 'sdxl', 3)"
    )
    environment = dict(os.environ, PYTHONPATH=str(ROOT / "demo" / "webui"))
    subprocess.run([sys.executable, "-c", code, str(folder)], env=environment, check=True)
    return folder


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def server(host_kind: HostKind, checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp(f"data-{host_kind}")
    log_file = data / "server.log"
    port = _free_port()
    command = [str(host_kind.python), "-W", "ignore", str(ROOT / "demo" / "webui" / "launch.py")]
    command += ["--host-flavour", host_kind.flavour, "--port", str(port), "--models", str(checkpoints)]
    command += ["--data", str(data), "--extension", str(ROOT), "--ui"]
    environment = dict(os.environ, PYTHONUNBUFFERED="1", GRADIO_TEMP_DIR=str(data / "gradio"), PYTHONPATH="")
    environment["HF_ENDPOINT"] = "http://127.0.0.1:9"  # where nobody listens: no test downloads a model
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=data)
    made = Server(host_kind, f"http://127.0.0.1:{port}", data, log_file, process)
    try:
        made.wait_until_up()
        yield made
    finally:
        made.stop()


def _only_this_machine(route: Any) -> None:
    url = route.request.url
    if url.startswith(("http://127.0.0.1", "http://localhost", "data:", "blob:")):
        route.continue_()
    else:  # fonts and the like, which gradio's page asks for: an empty answer is no error in the console
        route.fulfill(status=200, body="")


@pytest.fixture
def page(server: Server, browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.set_default_timeout(PAGE_MS)
    opened = context.new_page()
    opened.errors = []
    opened.on("pageerror", lambda error: opened.errors.append(f"uncaught: {error}"))
    opened.on("console", lambda m: opened.errors.append(f"console: {m.text}") if m.type == "error" else None)
    opened.route("**/*", _only_this_machine)
    opened.goto(server.url, wait_until="domcontentloaded")
    opened.wait_for_selector("#txt2img_generate")
    # The host's script has run its callbacks once accordions have their visible checkbox.
    opened.wait_for_selector("#txt2img_hr-visible-checkbox")
    yield opened
    errors = list(opened.errors)
    context.close()
    assert not errors, errors


@pytest.fixture
def host_page(page: Any) -> HostPage:
    return HostPage(page)
