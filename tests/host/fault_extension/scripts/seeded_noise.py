"""A test script: img2img is repeatable.

WebUIs draw the VAE's posterior from torch's global generator and do not seed it, so two runs of one request differ.
"""

import torch

from modules import scripts


class SeededNoiseScript(scripts.Script):
    def title(self):
        return "Seeded noise"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def process(self, p, *args):
        torch.manual_seed(0)
