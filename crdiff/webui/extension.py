"""The extension as a whole: what its parts share for as long as the WebUI runs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from crdiff.presets.library import PresetLibrary
from crdiff.pruning.calibrations import Calibrations
from crdiff.pruning.store import Store, drop_ambiguous
from crdiff.webui import options
from crdiff.webui.api import add_routes
from crdiff.webui.checkpoints import CheckpointReader
from crdiff.webui.generation import ActiveSlot
from crdiff.webui.xyz import add_axes

_log = logging.getLogger("crdiff")


class Extension:
    """Everything CR-Diff keeps between jobs: presets, profiles, and the slot of the sampler call under way.

    Args:
        data: the host's data path; CR-Diff keeps its files in the folder ``crdiff`` there.
    """

    def __init__(self, data: Path) -> None:
        self.folder = folder = data / "crdiff"
        self.library = PresetLibrary(folder)
        on_disk = options.option(options.DISK_CACHE, True)
        drop_ambiguous(folder / "profiles")
        self.calibrations = Calibrations(folder / "calibrations")
        self.store = Store(folder / "statistics" if on_disk else None, calibrations=self.calibrations)
        self.checkpoints = CheckpointReader()
        self.slot = ActiveSlot()

    def on_cfg_denoiser(self, params: Any) -> None:
        """Host callback before each UNet evaluation."""
        active = self.slot.current
        if active is None or params.denoiser is None:
            return
        try:
            active.on_denoiser(params.denoiser, params.total_sampling_steps)
        except Exception as error:
            # The host would only log it and go on; the user has to learn that the image is not what they asked for.
            active.run.refusals.append(f"CR-Diff could not follow the host's model ({type(error).__name__}: {error}).")
            raise

    def register(self) -> None:
        """Register every callback with the host."""
        from modules import script_callbacks

        script_callbacks.on_cfg_denoiser(self.on_cfg_denoiser)
        script_callbacks.on_ui_settings(options.add_options)
        script_callbacks.on_before_ui(lambda: add_axes(self.library))
        script_callbacks.on_app_started(lambda _, app: add_routes(app, self.library))
        script_callbacks.on_app_started(lambda *_: options.apply_log_level())
