"""What all searches of this WebUI share for as long as it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from crdiff.presets.library import PresetLibrary
from crdiff.pruning.calibrations import Calibrations
from crdiff.webui.checkpoints import CheckpointReader
from crdiff.webui.search.downloads import Downloads
from crdiff.webui.search.judge import ScorerCache
from crdiff.webui.search.monitor import SearchMonitor


@dataclass(frozen=True)
class SearchContext:
    """The surroundings of a search.

    Attributes:
        folder: CR-Diff's folder in the host's data path.
        library: the presets.
        checkpoints: tells of the selected checkpoint.
        calibrations: what criteria go by.
        monitor: of the searches that the page starts; those of the API have their own.
        downloads: of scores' files.
        scorers: the scorer that the jobs of a remote search share.
    """

    folder: Path
    library: PresetLibrary
    checkpoints: CheckpointReader
    calibrations: Calibrations
    monitor: SearchMonitor = field(default_factory=SearchMonitor)
    downloads: Downloads = field(default_factory=Downloads)
    scorers: ScorerCache = field(default_factory=ScorerCache)

    @property
    def journals(self) -> Path:
        """The folder of the searches' journals."""
        return self.folder / "searches"
