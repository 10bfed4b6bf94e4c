"""An independent second implementation of the method for comparing pictures, used by tests only.

It does everything the plain way: a deep copy of the whole UNet, kthvalue over the concatenated weights of a group,
masks multiplied into the copy, two full passes inside the UNet's own forward. It shares no code with crdiff.

API name "dual reference", args [{"down": .4, "mid": .4, "up": .4, "k": 1.5, "start": 0, "end": 1, "hires": {...}}]:
start and end are fractions of the steps, "fresh" makes the copy anew at each UNet call, what "hires" holds replaces
the rest in the hires pass, and with "weights" one pass with k * pruned + (1 - k) * dense weights stands for the two.
"detour" 1 or -1 mixes latents, moved by the predictions one way or the other, in the predictions' place: the same on
paper, rounded differently. How far this moves the image tells how much the last bits of float32 matter to it.
"""

import copy
import re

import torch

from modules import script_callbacks, scripts, shared

GROUPS = {"input_blocks": "down", "middle_block": "mid", "output_blocks": "up"}
PRUNED = re.compile(r"transformer_blocks\.\d+\.(attn1\.(to_q|to_k|to_v|to_out\.0)|ff\.net\.(0\.proj|2))$")


BETAS = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
SIGMAS = ((1 / (1 - BETAS).cumprod(0)) - 1).sqrt().float()
"""Noise levels of Stable Diffusion's training."""


def latent_scale(x, timesteps, channels):
    """The latents that a UNet was called for, without its input scaling, and their noise level."""
    sigma = SIGMAS[timesteps.long().cpu().clamp(0, 999)].to(x.device).view(-1, 1, 1, 1)
    return x[:, :channels].float() * (1 + sigma**2).sqrt(), sigma


def whole_copy(unet):
    """A deep copy. A module has a dozen dictionaries for hooks, and copying the empty ones takes half the time."""
    dicts = [value for module in unet.modules() for value in vars(module).values() if isinstance(value, dict)]
    return copy.deepcopy(unet, {id(value): type(value)() for value in dicts if not value})


def pruned_copy(unet, ratios):
    twin = whole_copy(unet)
    for stage, group in GROUPS.items():
        layers = [m for n, m in twin.named_modules() if n.startswith(stage) and PRUNED.search(n)]
        count = sum(layer.weight.numel() for layer in layers)
        rank = int(count * ratios[group])
        if rank == 0:
            continue
        # On the CPU: with --lowvram some weights are there and some are not.
        values = [layer.weight.detach().cpu().float() for layer in layers]
        threshold = torch.cat([value.abs().flatten() for value in values]).kthvalue(rank).values
        for layer, value in zip(layers, values, strict=True):
            left = 1 - ratios["k"] if ratios.get("weights") else 0
            pruned = torch.where(value.abs() > threshold, value, left * value)
            pruned = pruned.to(layer.weight.dtype).to(layer.weight.device)
            layer.weight = torch.nn.Parameter(pruned, requires_grad=False)
    return twin


class Reference:
    active = None

    def __init__(self, options):
        self.options = options
        self.unet = None
        self.key = None
        self.twin = None
        self.progress = 0.0

    def acts(self):
        # Some samplers go past the number of calls they announce; they are at the end then.
        end = self.options.get("end", 1)
        return self.options.get("start", 0) <= self.progress and (self.progress < end or end == 1)

    def hook(self, unet, key):
        if unet is self.unet and key == self.key:
            return
        self.unhook()
        self.unet, self.key, self.twin = unet, key, None
        original = unet.forward

        def forward(*args, **kwargs):
            fresh = dict(kwargs)
            if isinstance(fresh.get("transformer_options"), dict):
                fresh["transformer_options"] = dict(fresh["transformer_options"])
            start = torch.get_rng_state()
            dense = original(*args, **kwargs)
            dtype = dense.dtype
            if not self.acts():
                return dense
            end = torch.get_rng_state()
            if self.twin is None or self.options.get("fresh"):
                # After a dense pass, so that a lazily merged LoRA is in the weights.
                del unet.__dict__["forward"]
                self.twin = pruned_copy(unet, self.options)
                unet.forward = forward
            k = self.options["k"]
            # What picks at random (token merging) has to pick the same in both.
            torch.set_rng_state(start)
            pruned = self.twin.forward(*args, **fresh)
            torch.set_rng_state(end)
            weight = 1 if self.options.get("weights") else k
            pruned, dense = pruned.float(), dense.float()
            detour = self.options.get("detour")
            if detour:
                latent, scale = latent_scale(args[0], args[1], dense.shape[1])
                scale = detour * scale
                pruned, dense = latent + scale * pruned, latent + scale * dense
            mixed = weight * pruned + (1 - weight) * dense
            if detour:
                mixed = (mixed - latent) / scale
            return mixed.to(dtype)

        unet.forward = forward

    def unhook(self):
        if self.unet is not None:
            self.unet.__dict__.pop("forward", None)
        self.unet = self.twin = None


def live_unet():
    model = shared.sd_model
    objects = getattr(model, "forge_objects", None)
    return (model.model if objects is None else objects.unet.model).diffusion_model


def on_denoiser(params):
    if Reference.active is not None:
        Reference.active.progress = params.denoiser.step / params.denoiser.total_steps
        Reference.active.hook(live_unet(), shared.sd_model.sd_checkpoint_info.filename)


script_callbacks.on_cfg_denoiser(on_denoiser)


class ReferenceScript(scripts.Script):
    def title(self):
        return "Dual reference"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def ui(self, is_img2img):
        import gradio as gr

        return [gr.JSON(value=None, visible=False)]

    def process_before_every_sampling(self, p, options=None, *args, **kwargs):
        if not options:
            return
        sampler = p.sampler
        current = sampler.__dict__.get("launch_sampling")
        if current is not None and hasattr(current, "put_back"):
            # Some hosts announce a pass twice.
            current.put_back()
        previous = sampler.__dict__.get("launch_sampling")
        original = sampler.launch_sampling
        if getattr(p, "is_hr_pass", False):
            options = {**options, **options.get("hires", {})}

        def put_back():
            if previous is None:
                del sampler.launch_sampling
            else:
                sampler.launch_sampling = previous

        def launch_sampling(*args, **kwargs):
            put_back()
            reference = Reference.active = Reference(options)
            try:
                return original(*args, **kwargs)
            finally:
                Reference.active = None
                reference.unhook()

        launch_sampling.put_back = put_back
        sampler.launch_sampling = launch_sampling
