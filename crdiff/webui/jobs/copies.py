"""A copy of the host's job with other settings of CR-Diff, for jobs that draw the tab's image in several ways."""

from __future__ import annotations

from copy import copy
from typing import Any

from crdiff.errors import CRDiffError
from crdiff.settings import Settings

_TITLE = "CR-Diff"


def accordion_args(p: Any) -> tuple[Any, ...]:
    """The arguments of the accordion in a job.

    Raises:
        CRDiffError: the job was made without it.
    """
    place = _place_of_crdiff(p.scripts)
    return tuple(p.script_args[place])


def accordion_settings(p: Any) -> Settings:
    """The accordion's settings in a job."""
    return Settings.from_args(accordion_args(p))


def copied(p: Any, settings: Settings) -> Any:
    """A copy of the job that draws with other settings; what a job writes into is not shared.

    Args:
        p: the host's processing object.
        settings: in place of the accordion's.
    """
    place = _place_of_crdiff(p.scripts)
    job = copy(p)
    job.extra_generation_params = dict(p.extra_generation_params)
    job.override_settings = dict(p.override_settings)
    job.styles = list(p.styles or [])
    job.comments = {}
    if getattr(p, "extra_result_images", None) is not None:
        job.extra_result_images = []
    args = list(p.script_args)
    args[place] = [settings.to_dict(), *[None] * (place.stop - place.start - 1)]
    job.script_args = tuple(args)
    return job


def _place_of_crdiff(runner: Any) -> slice:
    for script in getattr(runner, "alwayson_scripts", ()):
        if script.title() == _TITLE:
            return slice(script.args_from, script.args_to)
    raise CRDiffError("This needs the accordion CR-Diff, which the job was made without.")
