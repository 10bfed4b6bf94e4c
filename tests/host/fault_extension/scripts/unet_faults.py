"""A test script: counts the UNet's calls, and makes one of them fail in the way asked for.

API name "unet faults", args [{"call": 3, "where": "unet" | "layer", "error": "exception" | ...}], calls counted from 1.
"times" makes as many calls in a row fail; an empty object only counts. The count of the last sampler call is at
GET /crdiff-test/v1/calls.
"""

import re

import torch

from modules import script_callbacks, scripts, shared
from modules.sd_samplers_common import InterruptedException

PRUNED = re.compile(r"middle_block.*transformer_blocks\.\d+\.attn1\.to_q$")


class Abort(BaseException):
    """Something that no ``except Exception`` sees."""


ERRORS = {
    "exception": lambda: ValueError("a fault made by the test"),
    "memory": lambda: torch.cuda.OutOfMemoryError("CUDA out of memory, made by the test"),
    "interrupted": InterruptedException,
    "abort": lambda: Abort("a fault made by the test"),
}
calls = 0


def live_unet():
    model = shared.sd_model
    objects = getattr(model, "forge_objects", None)
    return (model.model if objects is None else objects.unet.model).diffusion_model


class Faults:
    """In place during one sampler call."""

    def __init__(self, fault):
        self.fault = fault
        self.undo = []

    def fail_at(self, where):
        if self.fault.get("where") != where:
            return
        first = self.fault["call"]
        if first <= calls < first + self.fault.get("times", 1):
            raise ERRORS[self.fault["error"]]()

    def install(self):
        global calls
        calls = 0
        unet = live_unet()

        def count(module, args):
            global calls
            calls += 1
            self.fail_at("unet")

        self.undo.append(unet.register_forward_pre_hook(count).remove)
        if self.fault.get("where") == "layer":
            layer = next(module for name, module in unet.named_modules() if PRUNED.search(name))

            def forward(*args, **kwargs):
                self.fail_at("layer")
                return type(layer).forward(layer, *args, **kwargs)

            layer.forward = forward
            self.undo.append(lambda: layer.__dict__.pop("forward"))

    def remove(self):
        while self.undo:
            self.undo.pop()()


class FaultScript(scripts.Script):
    def title(self):
        return "UNet faults"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def ui(self, is_img2img):
        import gradio as gr

        return [gr.JSON(value=None, visible=False)]

    def process_before_every_sampling(self, p, fault=None, *args, **kwargs):
        if fault is None:
            return
        sampler = p.sampler
        previous = sampler.__dict__.get("launch_sampling")
        original = sampler.launch_sampling

        def launch_sampling(*args, **kwargs):
            if previous is None:
                del sampler.launch_sampling
            else:
                sampler.launch_sampling = previous
            faults = Faults(fault)
            try:
                faults.install()
                return original(*args, **kwargs)
            finally:
                faults.remove()

        sampler.launch_sampling = launch_sampling


script_callbacks.on_app_started(
    lambda _, app: app.add_api_route("/crdiff-test/v1/calls", lambda: {"calls": calls}, methods=["GET"])
)
