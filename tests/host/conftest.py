"""Fixtures of the acceptance suite: one WebUI at a time, and a report of what it could not check."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hostkit.client import Client
from hostkit.studio import Studio
from hostkit.targets import STANDINS, Target, running, wanted_targets


@pytest.fixture(scope="session", params=wanted_targets())
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The WebUI under test: a stand-in host that other tests use too, or the one that the environment names."""
    name: str = request.param
    if name in STANDINS:
        server = request.getfixturevalue("standin")(STANDINS[name])
        yield Target(name, Client(server.url), standin=True)
    else:
        with running(name, tmp_path_factory.mktemp(name)) as found:
            yield found


@pytest.fixture(scope="session")
def plain_studio(target: Target) -> Studio:
    return Studio(target)


@pytest.fixture(scope="module")
def studio(plain_studio: Studio) -> Iterator[Studio]:
    """Draws with the SD1.5 layout; every module must leave the WebUI as it found it."""
    with plain_studio.on(plain_studio.checkpoint(layout="sd15", inpainting=False)), plain_studio.untouched():
        yield plain_studio


@pytest.fixture
def untouched(studio: Studio) -> Iterator[None]:
    """A test must leave the WebUI's modules as it found them."""
    with studio.untouched():
        yield


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What the target has no means for is a gap in the check, so it is listed even in a quiet run."""
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped:
        terminalreporter.section("not checked on this WebUI")
        for report in skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            terminalreporter.line(f"{report.nodeid}: {reason.removeprefix('Skipped: ')}")
