"""The checkpoint the user has selected, which hosts may load only when an image is drawn."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from crdiff.errors import CRDiffError, UnreadableModelError, UnsupportedModelError
from crdiff.files import Remembered
from crdiff.models.architecture import find_layers
from crdiff.models.checkpoint import Checkpoint
from crdiff.models.checkpoint_file import FileLayers, read_family, read_layers
from crdiff.models.family import Family


class CheckpointReader:
    """Tells a checkpoint's family from its file's header, which is read again when the file has changed."""

    def __init__(self) -> None:
        self._families = Remembered(_family_or_problem)

    def selected(self, override: str | None = None) -> Checkpoint | None:
        """The host's selected checkpoint, or the one that a job overrides it with; None if there is none."""
        info = _selected_info(override)
        return None if info is None else self._describe(info)

    def hashed(self, override: str | None = None) -> Checkpoint | None:
        """The same, its hash computed by the host if it was not yet, which reads the whole file once."""
        info = _selected_info(override)
        if info is not None and not getattr(info, "sha256", None):
            with suppress(OSError):
                info.calculate_shorthash()
        return None if info is None else self._describe(info)

    def layers(self, override: str | None = None) -> FileLayers | None:
        """The layers of the same checkpoint; None where its file does not tell."""
        info = _selected_info(override)
        try:
            return None if info is None else read_layers(Path(str(info.filename)))
        except CRDiffError:
            return None

    def _describe(self, info: Any) -> Checkpoint:
        path = Path(str(info.filename))
        name = str(getattr(info, "name_for_extra", path.stem))
        sha256 = getattr(info, "sha256", None) or None
        known = self._family(path)
        if isinstance(known, Family):
            return Checkpoint(name, known, sha256)
        return Checkpoint(name, None, sha256, known)

    def _family(self, path: Path) -> Family | str | None:
        if path.suffix.lower() != ".safetensors":
            return _loaded_family(path)
        if not path.is_file():
            return None
        try:
            return self._families.get(path)
        except UnreadableModelError as problem:
            return str(problem)


def _family_or_problem(path: Path) -> Family | str:
    """What the header says, a sentence where that is no model CR-Diff prunes.

    Raises:
        UnreadableModelError: the file cannot be read.
    """
    try:
        return read_family(path)
    except UnreadableModelError:
        raise
    except UnsupportedModelError as problem:
        return str(problem)


def _selected_info(override: str | None) -> Any:
    from modules import sd_models, shared

    wanted = override or getattr(shared.opts, "sd_model_checkpoint", None)
    info = sd_models.get_closet_checkpoint_match(wanted) if wanted else None
    return getattr(shared.sd_model, "sd_checkpoint_info", None) if info is None else info


def _loaded_family(path: Path) -> Family | str | None:
    """The family of a file without a readable header, if it is the one that is loaded."""
    from modules import shared

    model = shared.sd_model
    info = getattr(model, "sd_checkpoint_info", None)
    if info is None or Path(str(info.filename)) != path:
        return None
    objects = getattr(model, "forge_objects", None)
    holder = model.model if objects is None else objects.unet.model
    try:
        return find_layers(holder.diffusion_model).family
    except CRDiffError as problem:
        return str(problem)
