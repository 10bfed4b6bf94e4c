"""What a small pipeline draws, and what it should draw by a copy of its UNet that is pruned by hand."""

from __future__ import annotations

import copy

import torch
from small_diffusers import pruned_copy

import crdiff

RATIOS, K = {"down": 0.3, "mid": 0.4, "up": 0.5}, 1.5


def drawn(pipe):
    generator = torch.Generator().manual_seed(5)
    given = {"height": 64, "width": 48, "num_inference_steps": 3, "generator": generator, "output_type": "latent"}
    return pipe("a cat", **given).images


def mixed(pipe, unet):
    """The image of two UNets, the second pruned."""
    two, pruned = copy.copy(pipe), pruned_copy(unet, RATIOS)
    two.unet = copy.deepcopy(unet)

    def forward(*args, **kwargs):
        return (K * pruned(*args, **kwargs)[0] + (1.0 - K) * unet(*args, **kwargs)[0],)

    two.unet.forward = forward
    return drawn(two)


def assert_each_image_is_pruned_once(pipe, offload):
    """``offload`` does to a pipeline what leaves another forward in its UNet after each image."""
    dense, expected = drawn(pipe), mixed(pipe, pipe.unet)
    offload(pipe)
    with crdiff.applied(pipe, k=K, **RATIOS) as guided:
        assert all(torch.equal(drawn(pipe), expected) for _ in range(3))
    assert len(guided.report) == 3 and guided.refusals == ()
    assert torch.equal(drawn(pipe), dense)
