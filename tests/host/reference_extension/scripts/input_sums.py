"""What the layers see, by hooks of torch and in float64, to hold a calibration against; used by tests only.

It shares no code with crdiff. API name "input sums", args ["add"] adds what the image's layers see to what is known,
["begin"] forgets that first, ["compare"] adds and then writes how far the newest calibration is from it into the
infotext: "Input sums layers", "Input sums tokens" (both "equal" if they are), "Input sums squares" and "Input sums
inverse", the largest relative differences, the latter of the narrowest layer that has one.
"""

import json
import re
from pathlib import Path

import torch
from safetensors import safe_open

from modules import paths, scripts, shared

PRUNED = re.compile(r"transformer_blocks\.\d+\.(attn1\.(to_q|to_k|to_v|to_out\.0)|ff\.net\.(0\.proj|2))$")
DAMPING = 0.01


class Sums:
    """Of each layer: tokens, squares, and of narrow ones the products."""

    def __init__(self):
        self.tokens, self.squares, self.products = {}, {}, {}
        self.handles = []

    def watch(self, unet):
        self.unwatch()
        for name, layer in unet.named_modules():
            if PRUNED.search(name):
                self.handles.append(layer.register_forward_pre_hook(self.hook(name)))

    def hook(self, name):
        def see(_, args):
            rows = args[0].detach().flatten(0, -2).double().cpu()
            self.tokens[name] = self.tokens.get(name, 0) + len(rows)
            self.squares[name] = self.squares.get(name, 0) + rows.square().sum(0)
            if rows.shape[1] <= 320:
                self.products[name] = self.products.get(name, 0) + rows.T @ rows

        return see

    def unwatch(self):
        for handle in self.handles:
            handle.remove()
        self.handles.clear()

    def inverse(self, name):
        hessian = 2 * self.products[name] / self.tokens[name]
        return (hessian + DAMPING * hessian.diagonal().mean() * torch.eye(len(hessian))).inverse().diagonal()

    def compared(self):
        folder = Path(paths.data_path) / "crdiff" / "calibrations"
        newest = max(folder.glob("*.safetensors"), key=lambda path: path.stat().st_mtime_ns)
        with safe_open(str(newest), framework="pt") as file:
            counts = json.loads(file.metadata()["layers"])
            held = {key: file.get_tensor(key).double() for key in file.keys()}  # noqa: SIM118
        # Of products that are kept for every layer, one is enough to invert.
        inverted = [name for name in self.products if f"{name}.inverse" in held]
        least = min(inverted, key=lambda name: len(self.squares[name]), default=None)
        return {
            "layers": "equal" if counts.keys() == self.tokens.keys() else f"{len(counts)} for {len(self.tokens)}",
            "tokens": "equal" if {n: count[0] for n, count in counts.items()} == self.tokens else "different",
            "squares": max(far(held[f"{name}.squares"], squares) for name, squares in self.squares.items()),
            "inverse": "none" if least is None else far(held[f"{least}.inverse"], self.inverse(least)),
        }


def far(one, other):
    return float(((one - other).abs().max() / other.abs().max()).item())


def live_unet():
    model = shared.sd_model
    objects = getattr(model, "forge_objects", None)
    return (model.model if objects is None else objects.unet.model).diffusion_model


class InputSumsScript(scripts.Script):
    sums = Sums()

    def title(self):
        return "Input sums"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def ui(self, is_img2img):
        import gradio as gr

        return [gr.Textbox("", visible=False)]

    def process_before_every_sampling(self, p, wanted="", *args, **kwargs):
        self.sums.unwatch()
        if wanted == "begin":
            type(self).sums = Sums()
        if wanted:
            self.sums.watch(live_unet())

    def post_sample(self, p, ps, wanted="", *args):
        self.sums.unwatch()
        if wanted == "compare":
            for name, value in self.sums.compared().items():
                p.extra_generation_params[f"Input sums {name}"] = value
