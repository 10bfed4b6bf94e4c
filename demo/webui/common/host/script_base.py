"""What a script file derives from, and the objects its hooks are given."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

AlwaysVisible = object()


class MaskBlendArgs:
    def __init__(self, current_latent: Any, nmask: Any, init_latent: Any, mask: Any, blended_latent: Any,
                 denoiser: Any = None, sigma: Any = None) -> None:
        self.current_latent = current_latent
        self.nmask = nmask
        self.init_latent = init_latent
        self.mask = mask
        self.blended_latent = blended_latent
        self.denoiser = denoiser
        self.is_final_blend = denoiser is None
        self.sigma = sigma


class PostSampleArgs:
    def __init__(self, samples: Any) -> None:
        self.samples = samples


class PostprocessImageArgs:
    def __init__(self, image: Any, index: int | None = None) -> None:
        self.image = image
        if index is not None:
            self.index = index


class PostProcessMaskOverlayArgs:
    def __init__(self, index: int, mask_for_overlay: Any, overlay_image: Any) -> None:
        self.index = index
        self.mask_for_overlay = mask_for_overlay
        self.overlay_image = overlay_image


class PostprocessBatchListArgs:
    def __init__(self, images: list) -> None:
        self.images = images


@dataclass
class OnComponent:
    component: Any


class Script:
    """One instance per tab. ``args_from``/``args_to`` say which of the tab's script arguments are its own."""

    name: str | None = None
    section: str | None = None
    filename: str | None = None
    args_from: int | None = None
    args_to: int | None = None
    alwayson = False
    is_txt2img = False
    is_img2img = False
    tabname: str | None = None
    group: Any = None
    create_group = True
    infotext_fields: list | None = None
    paste_field_names: list[str] | None = None
    api_info: Any = None
    on_before_component_elem_id: list | None = None
    on_after_component_elem_id: list | None = None
    setup_for_ui_only = False
    controls: list | None = None
    sorting_priority = 0

    def title(self) -> str:
        raise NotImplementedError

    def ui(self, is_img2img: bool) -> Any:
        """Makes the controls and returns those whose values the hooks are to get."""

    def show(self, is_img2img: bool) -> Any:
        """False: not on this tab; True: in the Script dropdown; ``AlwaysVisible``: always on."""
        return True

    def run(self, p: Any, *args: Any) -> Any:
        """A script of the dropdown generates here, in place of the host."""

    def setup(self, p: Any, *args: Any) -> None:
        """Once, when the processing object has both its scripts and their arguments."""

    def before_process(self, p: Any, *args: Any) -> None:
        """Before override settings and model changes."""

    def process(self, p: Any, *args: Any) -> None:
        """Before the pictures."""

    def before_process_init_images(self, p: Any, pp: Any, *args: Any, **kwargs: Any) -> None:
        """Forge only: before the starting pictures are prepared."""

    def before_process_batch(self, p: Any, *args: Any, **kwargs: Any) -> None:
        """Before extra networks are taken out of the prompts."""

    def after_extra_networks_activate(self, p: Any, *args: Any, **kwargs: Any) -> None:
        """After extra networks were switched, before prompts are encoded."""

    def process_batch(self, p: Any, *args: Any, **kwargs: Any) -> None:
        """Before a batch."""

    def process_before_every_sampling(self, p: Any, *args: Any, **kwargs: Any) -> None:
        """Before each sampler run, so again for the second pass of hires fix."""

    def before_hr(self, p: Any, *args: Any) -> None:
        """Before the second pass."""

    def post_sample(self, p: Any, ps: PostSampleArgs, *args: Any) -> None:
        """After sampling, before decoding."""

    def on_mask_blend(self, p: Any, mba: MaskBlendArgs, *args: Any) -> None:
        """When inpainting mixes the kept part back in."""

    def postprocess_batch(self, p: Any, *args: Any, **kwargs: Any) -> None:
        """After a batch, with its pictures as one tensor."""

    def postprocess_batch_list(self, p: Any, pp: PostprocessBatchListArgs, *args: Any, **kwargs: Any) -> None:
        """After a batch, with its pictures as a list that may be changed."""

    def postprocess_image(self, p: Any, pp: PostprocessImageArgs, *args: Any) -> None:
        """After each picture."""

    def postprocess_maskoverlay(self, p: Any, ppmo: PostProcessMaskOverlayArgs, *args: Any) -> None:
        """Before the untouched part is laid over an inpainted picture."""

    def postprocess_image_after_composite(self, p: Any, pp: PostprocessImageArgs, *args: Any) -> None:
        """After each picture, once it has its full size back."""

    def postprocess(self, p: Any, processed: Any, *args: Any) -> None:
        """At the end."""

    def before_component(self, component: Any, **kwargs: Any) -> None:
        """Before any component of the tab is made."""

    def after_component(self, component: Any, **kwargs: Any) -> None:
        """After any component of the tab was made."""

    def on_before_component(self, callback: Callable, *, elem_id: str) -> None:
        if self.on_before_component_elem_id is None:
            self.on_before_component_elem_id = []
        self.on_before_component_elem_id.append((elem_id, callback))

    def on_after_component(self, callback: Callable, *, elem_id: str) -> None:
        if self.on_after_component_elem_id is None:
            self.on_after_component_elem_id = []
        self.on_after_component_elem_id.append((elem_id, callback))

    def describe(self) -> str:
        return ""

    def _tab_prefix(self) -> str:
        """The tab belongs into the id only when the script is shown alike on both."""
        if self.show(True) != self.show(False):
            return ""
        return "img2img_" if self.is_img2img else "txt2img_"

    def elem_id(self, item_id: str) -> str:
        title = re.sub(r"[^a-z_0-9]", "", re.sub(r"\s", "_", self.title().lower()))
        return f"script_{self._tab_prefix()}{title}_{item_id}"


class ScriptBuiltinUI(Script):
    setup_for_ui_only = True

    def elem_id(self, item_id: str) -> str:
        return f"{self._tab_prefix()}{item_id}"

    def show(self, is_img2img: bool) -> Any:
        return AlwaysVisible
