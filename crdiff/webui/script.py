"""The always-on script: the host's side of the accordion and of each job."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from crdiff.errors import SettingsError
from crdiff.settings import overruled
from crdiff.webui import infotext, options, xyz
from crdiff.webui.accordion import Accordion, Section
from crdiff.webui.extension import Extension
from crdiff.webui.generation import Generation, read_settings, refuse
from modules import scripts

_JOB = "crdiff_job"
"""Attribute of a processing object that holds its Generation."""


def make_script(
    extension: Extension,
    sections: Sequence[Callable[[str], Section]] = (),
    details: Sequence[Callable[[str], Section]] = (),
) -> type[scripts.Script]:
    """The script class of this extension, one instance of which the host makes for each tab.

    Args:
        extension: what the parts of CR-Diff share.
        sections: make further sections of the accordion for a tab.
        details: see Accordion.
    """

    class CRDiffScript(scripts.Script):
        def __init__(self) -> None:
            super().__init__()
            self._accordion = Accordion(extension, sections, details)
            for tab in ("txt2img", "img2img"):
                for side in ("width", "height"):
                    self.on_after_component(self._accordion.keep_size_component(side), elem_id=f"{tab}_{side}")

        def title(self) -> str:
            return "CR-Diff"

        def show(self, is_img2img: bool) -> Any:
            return scripts.AlwaysVisible

        def ui(self, is_img2img: bool) -> list[Any]:
            controls = self._accordion.build("img2img" if is_img2img else "txt2img")
            self.infotext_fields = [
                (component, infotext.reader(name, extension.library)) for name, component in controls.items()
            ]
            self.paste_field_names = [infotext.VERSION_KEY, *infotext.KEYS]
            return list(controls.values())

        def process(self, p: Any, *args: Any) -> None:
            """Read and check the settings; the sampler's calls are wrapped later, one by one."""
            setattr(p, _JOB, None)
            infotext.clear(p.extra_generation_params)
            if getattr(p, "_ad_inner", False) and not options.option(options.ADETAILER, False):
                return
            try:
                settings = read_settings(args, xyz.overrides(p), extension.library)
            except SettingsError as error:
                refuse(p, error)
                return
            if settings.enabled:
                remark = overruled(args) or ""
                job = Generation(settings, extension.library, extension.store, extension.slot, remark)
                job.note_settings(p)
                setattr(p, _JOB, job)

        def process_before_every_sampling(self, p: Any, *args: Any, **kwargs: Any) -> None:
            job = getattr(p, _JOB, None)
            if job is not None:
                job.before_sampling(p, kwargs["x"] if kwargs.get("x") is not None else kwargs["noise"])

        def postprocess_batch(self, p: Any, *args: Any, **kwargs: Any) -> None:
            job = getattr(p, _JOB, None)
            if job is not None:
                job.after_batch(p)

    return CRDiffScript
