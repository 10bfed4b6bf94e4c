"""Latents to images for the end of a job."""

from __future__ import annotations

from typing import Any

import torch

from modules import devices
from modules.sd_samplers_common import decode_first_stage


class DecodedSamples(list):
    """A list of pixel tensors; the mark tells post_sample hooks that the latents are gone."""

    already_decoded = True


def decode_latent_batch(model: Any, batch: torch.Tensor, target_device: torch.device | None = None,
                        check_for_nans: bool = False) -> DecodedSamples:
    if check_for_nans:
        devices.test_for_nans(batch, "unet")
    samples = DecodedSamples()
    for latent in batch:
        pixels = decode_first_stage(model, latent[None])[0]
        if check_for_nans:
            devices.test_for_nans(pixels, "vae")
        samples.append(pixels if target_device is None else pixels.to(target_device))
    return samples
