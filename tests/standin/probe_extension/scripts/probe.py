"""A script that notes every hook and callback, and does on request what an extension might do there."""

import sys

import gradio as gr
import probe_package as probe

from modules import script_callbacks, scripts

BASEDIR = scripts.basedir()
PATH_HERE = list(sys.path)
probe.note("script loaded")
HOOKS = (
    "setup", "before_process", "process", "before_process_init_images", "before_process_batch",
    "after_extra_networks_activate", "process_batch", "process_before_every_sampling", "before_hr", "post_sample",
    "on_mask_blend", "postprocess_batch", "postprocess_batch_list", "postprocess_image", "postprocess_maskoverlay",
    "postprocess_image_after_composite", "postprocess",
)


class ProbeScript(scripts.Script):
    def title(self):
        return "Probe"

    def show(self, is_img2img):
        self.on_after_component(lambda x: probe.note("component", x.component.elem_id), elem_id="txt2img_width")
        return scripts.AlwaysVisible

    def ui(self, is_img2img):
        probe.note("ui", "img2img" if is_img2img else "txt2img")
        mode = gr.Textbox(label="Mode", value="off", elem_id=self.elem_id("mode"))
        number = gr.Slider(label="Number", minimum=0, maximum=10, value=3, step=1, elem_id=self.elem_id("number"))
        self.infotext_fields = [(number, "Probe number")]
        self.paste_field_names = ["Probe number"]
        return [mode, number]


def hook(name):
    def method(self, p, *args, **kwargs):
        probe.note(name, *(x for x in args if isinstance(x, (str, int))))
        if name in probe.actions:
            probe.actions[name](p, kwargs)

    method.__name__ = name
    return method


for hook_name in HOOKS:
    setattr(ProbeScript, hook_name, hook(hook_name))


def callback(name):
    def function(params=None, *rest):
        probe.note(name)
        if name in probe.actions:
            probe.actions[name](params, rest)

    return function


for callback_name in ("cfg_denoiser", "cfg_denoised", "cfg_after_cfg", "model_loaded", "before_ui",
                      "ui_settings", "image_saved"):
    getattr(script_callbacks, f"on_{callback_name}")(callback(callback_name))
script_callbacks.on_app_started(lambda demo, app: probe.note("app_started"))
