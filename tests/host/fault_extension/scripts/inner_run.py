"""A test script: redraws each picture in an inner img2img run, the way ADetailer does.

API name "inner run", args [true]. The inner job carries ADetailer's mark, ``_ad_inner``, and the outer job's scripts
reduced to those the user has listed, here cr-diff alone.
"""

import copy

import torch

from modules import processing, scripts, shared


class InnerRunScript(scripts.Script):
    def title(self):
        return "Inner run"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def ui(self, is_img2img):
        import gradio as gr

        return [gr.JSON(value=None, visible=False)]

    def postprocess_image(self, p, pp, wanted=None, *args):
        if not wanted:
            return
        inner = processing.StableDiffusionProcessingImg2Img(
            init_images=[pp.image],
            denoising_strength=0.5,
            sd_model=shared.sd_model,
            prompt=p.prompt,
            negative_prompt=p.negative_prompt,
            seed=p.seed,
            steps=p.steps,
            cfg_scale=p.cfg_scale,
            width=p.width,
            height=p.height,
            sampler_name=p.sampler_name,
            do_not_save_samples=True,
            do_not_save_grid=True,
        )
        if hasattr(p, "scheduler"):  # Classic has none
            inner.scheduler = p.scheduler
        inner.cached_c = [None, None]
        inner.cached_uc = [None, None]
        inner._ad_inner = True
        runner = copy.copy(p.scripts)
        runner.alwayson_scripts = [script for script in runner.alwayson_scripts if script.title() == "CR-Diff"]
        inner.scripts = runner
        inner.script_args = p.script_args
        torch.manual_seed(0)
        pp.image = processing.process_images(inner).images[0]
        inner.close()
