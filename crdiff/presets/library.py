"""All presets the user can pick from: the built-in ones and their own."""

from __future__ import annotations

from pathlib import Path

from crdiff.errors import PresetError, SettingsError
from crdiff.models.family import Family
from crdiff.plan import ConstantRatios, Plan, Planner
from crdiff.presets.lookup import Match, look_up
from crdiff.presets.size import Size
from crdiff.presets.store import PresetStore
from crdiff.presets.table import BUILT_IN_FOLDER, LoadedPresets, Preset, load_folder
from crdiff.settings import AUTO, CUSTOM, DEFAULT_K, Settings

OWN_FILE = "presets.json"


class PresetLibrary:
    """Built-in presets, read once, and the user's own, read again when their file changes.

    Args:
        folder: where the user's presets are kept, under the host's data path.
    """

    def __init__(self, folder: Path) -> None:
        self.built_in = load_folder(BUILT_IN_FOLDER)
        self._file = folder / OWN_FILE
        self.store = PresetStore(self._file, reserved=[preset.name for preset in self.built_in.presets])
        self._stamp: tuple[int, int] | None = None
        self._own = LoadedPresets()

    def own(self) -> LoadedPresets:
        """The user's presets."""
        stamp = self._file_stamp()
        if stamp != self._stamp:
            self._own = self.store.load()
            self._stamp = self._file_stamp()
        return self._own

    def _file_stamp(self) -> tuple[int, int] | None:
        try:
            stat = self._file.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size

    def presets(self) -> tuple[Preset, ...]:
        """Every preset, the user's own last."""
        return (*self.built_in.presets, *self.own().presets)

    def problems(self) -> tuple[str, ...]:
        """One sentence for each file that could not be read."""
        return (*self.built_in.problems, *self.own().problems)

    def names(self) -> list[str]:
        """The names of all presets, the user's own first."""
        return [preset.name for preset in (*self.own().presets, *self.built_in.presets)]

    def named(self, name: str) -> Preset:
        """The preset of that name, whatever its case.

        Raises:
            SettingsError: there is none.
        """
        for preset in reversed(self.presets()):
            if preset.name.casefold() == name.strip().casefold():
                return preset
        raise SettingsError(f"CR-Diff: preset {name!r} does not exist; use auto, custom or the name of a preset.")

    def match(self, family: Family, sha256: str | None, size: Size) -> Match:
        """What ``auto`` finds.

        Raises:
            PresetError: nothing is known of the family.
        """
        match = look_up(self.presets(), family, sha256, size)
        if match is None:
            raise PresetError("CR-Diff has no presets for this model's family; choose Custom and set the ratios.")
        return match

    def own_k(self, settings: Settings, family: Family, sha256: str | None, size: Size) -> float | None:
        """The amplification that the preset in force brings along; None if it has none.

        Raises:
            CRDiffError: there is no such preset.
        """
        if settings.preset == CUSTOM:
            return None
        found = self.match(family, sha256, size) if settings.preset == AUTO else self.named(settings.preset)
        return found.k

    def planner(self, settings: Settings, size: Size) -> Planner:
        """What makes the plan of a pass of this size, once its model is known."""

        def plan(family: Family, sha256: str | None) -> Plan:
            if settings.preset == CUSTOM:
                ratios, k, origin = settings.ratios, None, "custom ratios"
            elif settings.preset == AUTO:
                match = self.match(family, sha256, size)
                ratios, k, origin = match.ratios, match.k, match.describe()
            else:
                preset = self.named(settings.preset)
                ratios, k, origin = preset.ratios, preset.k, f"preset {preset.name}"
                if preset.family is not family:
                    origin += f", which was made for {preset.family.label}"
            chosen = settings.k if settings.k is not None else k if k is not None else DEFAULT_K
            return Plan(ConstantRatios(ratios), chosen, origin)

        return plan
