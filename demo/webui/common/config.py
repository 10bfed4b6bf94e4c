"""The settings a stand-in host is started with. They must be set before its ``modules`` package is imported."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

WEBUI_DIR = Path(__file__).resolve().parent.parent
FLAVOURS = ("a1111", "forge")


@dataclass
class HostConfig:
    """One process runs one host, because both claim the package name ``modules``."""

    flavour: str = "a1111"
    models: Path | None = None
    data: Path | None = None
    extensions: list[Path] = field(default_factory=list)
    port: int = 7860
    ui: bool = False
    medvram: bool = False
    lowvram: bool = False
    fp8: bool = False
    half: bool = False
    device: str = "cpu"
    arguments: list[str] = field(default_factory=list)
    """Further arguments for the host's own parser."""
    background: bool = True
    """Whether a thread is started for the work that the launcher would do in the main thread."""

    def __post_init__(self) -> None:
        if self.flavour not in FLAVOURS:
            raise ValueError(f"no such host flavour: {self.flavour!r} (known: {', '.join(FLAVOURS)})")
        if self.data is None:
            self.data = Path(tempfile.mkdtemp(prefix="standin-data-"))
        self.data = Path(self.data).resolve()
        self.models = Path(self.models).resolve() if self.models is not None else self.data / "models"
        self.extensions = [Path(x).resolve() for x in self.extensions]

    @property
    def root(self) -> Path:
        """The import root of the flavour: the folder that holds its ``modules`` package."""
        return WEBUI_DIR / self.flavour


_current: HostConfig | None = None


def configure(config: HostConfig) -> None:
    global _current
    _current = config


def current(default_flavour: str = "a1111") -> HostConfig:
    """The running host's settings; defaults in a temporary folder when nothing was configured."""
    global _current
    if _current is None:
        _current = HostConfig(flavour=default_flavour)
    return _current
