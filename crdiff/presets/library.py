"""All presets the user can pick from: the built-in ones and their own."""

from __future__ import annotations

from pathlib import Path

from crdiff.checks import shown
from crdiff.errors import PresetError, SettingsError
from crdiff.files import Remembered
from crdiff.models.family import Family
from crdiff.models.scope import Scope
from crdiff.presets.built_in import BUILT_IN_FOLDER, load_folder
from crdiff.presets.lookup import Match, look_up, uniform
from crdiff.presets.names import same
from crdiff.presets.size import Size
from crdiff.presets.store import PresetStore
from crdiff.presets.table import LoadedPresets, Preset
from crdiff.pruning.registry import DEFAULT_CRITERION
from crdiff.settings import Settings
from crdiff.specs import AUTO, CUSTOM, SPECS

OWN_FILE = "presets.json"


class PresetLibrary:
    """Built-in presets, and the user's own, read again when their file changes.

    Args:
        folder: where the user's presets are kept, under the host's data path; None if there are none.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._built_in = load_folder(BUILT_IN_FOLDER)
        reserved = [preset.name for preset in self.built_in.presets]
        self._store = None if folder is None else PresetStore(folder / OWN_FILE, reserved)
        self._own = Remembered(lambda _: self.store.load())

    @property
    def built_in(self) -> LoadedPresets:
        """The presets that come with CR-Diff, read once unless one of their files could not be."""
        if self._built_in.problems:
            self._built_in = load_folder(BUILT_IN_FOLDER)
        return self._built_in

    @property
    def store(self) -> PresetStore:
        """Where the user's presets are saved.

        Raises:
            PresetError: this library was made without a folder.
        """
        if self._store is None:
            raise PresetError("There is no folder for own presets.")
        return self._store

    def own(self) -> LoadedPresets:
        """The user's presets; those read last, and a sentence, while their file cannot be opened."""
        if self._store is None:
            return LoadedPresets()
        path = self._store.path
        try:
            return self._own.get(path)
        except PresetError as error:
            latest = self._own.latest(path) or LoadedPresets()
            return LoadedPresets(latest.presets, (str(error),))

    def presets(self) -> tuple[Preset, ...]:
        """Every preset whose criterion can be chosen, the user's own last."""
        presets = (*self.built_in.presets, *self.own().presets)
        return tuple(preset for preset in presets if preset.criterion in SPECS["criterion"].choices)

    def problems(self) -> tuple[str, ...]:
        """One sentence for each file that could not be read."""
        return (*self.built_in.problems, *self.own().problems)

    def names(self, family: Family | None = None) -> list[str]:
        """The names of all presets, those of ``family`` first, and the user's own before the built-in ones."""
        ordered = sorted(self.presets(), key=lambda preset: (preset.family != family, preset.built_in))
        return [preset.name for preset in ordered]

    def named(self, name: str) -> Preset:
        """The preset of that name, as names are compared (see names.same).

        Raises:
            SettingsError: there is none.
        """
        for preset in reversed(self.presets()):
            if same(preset.name, name):
                return preset
        raise SettingsError(f"CR-Diff: preset {shown(name)} does not exist; use auto, custom or the name of a preset.")

    def match(
        self,
        family: Family,
        sha256: str | None,
        size: Size,
        criterion: str = DEFAULT_CRITERION,
        scope: Scope = Scope(),  # noqa: B008 (frozen)
    ) -> Match:
        """What ``auto`` finds: ratios that were found for this criterion and scope, never for another.

        Raises:
            PresetError: nothing is known of the family for the default criterion and scope.
        """
        match = look_up(self.presets(), family, sha256, size, criterion, scope)
        usual = criterion == DEFAULT_CRITERION and scope.within(family) == Scope()
        if match is None and (family.transformer or not usual):
            return uniform(size, family)
        if match is None:
            raise PresetError("CR-Diff has no presets for this model's family; choose Custom and set the ratios.")
        return match

    def native_size(self, family: Family) -> Size | None:
        """The size that the family was trained at; None where nobody tells."""
        native = (preset.size for preset in self.built_in.presets if preset.native and preset.family == family)
        return next(native, None if family.native is None else Size(*family.native))

    def own_k(self, settings: Settings, family: Family, sha256: str | None, size: Size) -> float | None:
        """The amplification that the preset in force brings along; None if it has none.

        Raises:
            CRDiffError: there is no such preset.
        """
        if settings.preset == CUSTOM:
            return None
        if settings.preset == AUTO:
            return self.match(family, sha256, size, settings.criterion, settings.scope).k
        return self.named(settings.preset).k
