"""The errors a user is meant to read: each carries one sentence."""

from __future__ import annotations


class CRDiffError(Exception):
    """Base of every error whose text is shown to the user as it stands."""


class SettingsError(CRDiffError, ValueError):
    """A setting that cannot be used; the sentence names the setting.

    ``status_code`` and ``detail`` are what the WebUIs' API turns into an HTTP answer.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.status_code = 422
        self.detail = message


class PresetError(CRDiffError, ValueError):
    """A preset file or preset name that cannot be used."""


class UnsupportedModelError(CRDiffError):
    """The model has no layers that the method prunes, or their weights cannot be reached."""


class UnreadableModelError(UnsupportedModelError):
    """A checkpoint file could not be read just now: it may be in use, half copied or on a drive that is away."""


class MissingPackageError(CRDiffError):
    """An optional package that was asked for is not installed."""
