"""A test script: another extension that hooks the same UNet, before or after CR-Diff, and scales its prediction.

API name "second hook", args [{"kind": ..., "when": "before" | "after", "scale": -1}]. Kinds:
- "module hook" and "layer hook": torch's own forward hooks, which stand for what "unet" and "layer" should come to.
- "unet": an instance override of the UNet's forward.
- "wrapper": the same on the object that calls the UNet (the class in AUTOMATIC1111, the instance in Forge).
- "function wrapper": Forge's own slot for such things.
- "layer": an instance override of the forward of every self-attention value.
- "opaque layer": the same without torch.nn.functional.linear.
- "sampler": an instance override of the sampler's launch_sampling that nobody takes away, and no scaling.
"before" is before the sampler starts, "after" at its second UNet evaluation. The hook goes when the sampler is done.
"""

import re

from modules import script_callbacks, scripts, shared

VALUE = re.compile(r"transformer_blocks\.\d+\.attn1\.to_v$")


def live():
    """(the patcher or None, the object that calls the UNet, the UNet)"""
    objects = getattr(shared.sd_model, "forge_objects", None)
    if objects is None:
        return None, shared.sd_model.model, shared.sd_model.model.diffusion_model
    return objects.unet, objects.unet.model, objects.unet.model.diffusion_model


class SecondHook:
    active = None

    def __init__(self, options):
        self.options = options
        self.undo = []
        self.evaluations = 0

    def scaled(self, function):
        return lambda *args, **kwargs: function(*args, **kwargs) * self.options.get("scale", 1.0)

    def override(self, owner, name):
        """Replace an attribute, and put back what was there in the end."""
        missing = object()
        before = owner.__dict__.get(name, missing)
        setattr(owner, name, self.scaled(getattr(owner, name)))
        self.undo.append(lambda: delattr(owner, name) if before is missing else setattr(owner, name, before))

    def install(self):
        patcher, wrapper, unet = live()
        kind = self.options["kind"]
        if kind == "module hook":
            scale = self.options.get("scale", 1.0)
            self.undo.append(unet.register_forward_hook(lambda module, args, output: output * scale).remove)
        elif kind == "unet":
            self.override(unet, "forward")
        elif kind == "wrapper" and patcher is None:
            self.override(type(wrapper), "forward")
        elif kind == "wrapper":
            self.override(wrapper, "apply_model")
        elif kind == "function wrapper":
            scale = self.options.get("scale", 1.0)
            patcher.set_model_unet_function_wrapper(
                lambda apply, given: apply(given["input"], given["timestep"], **given["c"]) * scale
            )
            self.undo.append(lambda: patcher.model_options.pop("model_function_wrapper"))
        else:
            for name, module in unet.named_modules():
                if VALUE.search(name):
                    self.install_in_layer(kind, module)

    def install_in_layer(self, kind, module):
        if kind == "layer hook":
            scale = self.options.get("scale", 1.0)
            self.undo.append(module.register_forward_hook(lambda module, args, output: output * scale).remove)
            return
        self.override(module, "forward")
        if kind == "opaque layer":
            module.forward = lambda x: x @ module.weight.t()

    def remove(self):
        while self.undo:
            self.undo.pop()()

    def on_denoiser(self):
        self.evaluations += 1
        if self.options["when"] == "after" and self.evaluations == 2:
            self.install()


def on_denoiser(params):
    if SecondHook.active is not None:
        SecondHook.active.on_denoiser()


script_callbacks.on_cfg_denoiser(on_denoiser)


class SecondHookScript(scripts.Script):
    def title(self):
        return "Second hook"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def ui(self, is_img2img):
        import gradio as gr

        return [gr.JSON(value=None, visible=False)]

    def process_before_every_sampling(self, p, options=None, *args, **kwargs):
        if options is None:
            return
        sampler = p.sampler
        previous = sampler.__dict__.get("launch_sampling")
        original = sampler.launch_sampling
        if options["kind"] == "sampler":
            sampler.launch_sampling = lambda *args, **kwargs: original(*args, **kwargs)
            return

        def launch_sampling(*args, **kwargs):
            if previous is None:
                del sampler.launch_sampling
            else:
                sampler.launch_sampling = previous
            hook = SecondHook.active = SecondHook(options)
            try:
                if options["when"] == "before":
                    hook.install()
                return original(*args, **kwargs)
            finally:
                SecondHook.active = None
                hook.remove()

        sampler.launch_sampling = launch_sampling
