"""The jobs: one request in, images with infotexts out, with every hook in its place."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from PIL import Image

import standin_processing as seam
from common.host.decoding import DecodedSamples, decode_latent_batch  # noqa: F401
from common.host.processed import Processed, create_infotext, program_version  # noqa: F401
from common.host.processing_base import (  # noqa: F401
    StableDiffusionProcessing, fix_seed, get_fixed_seed, opt_C, opt_f,
)
from common.host.processing_img2img import (  # noqa: F401
    StableDiffusionProcessingImg2Img, apply_overlay, create_binary_mask,
)
from common.host.processing_txt2img import StableDiffusionProcessingTxt2Img  # noqa: F401
from modules import devices, extra_networks, images, rng, scripts, sd_models, sd_samplers, shared
from modules.paths import data_path
from modules.sd_samplers_common import decode_first_stage  # noqa: F401
from modules.shared import cmd_opts, opts, state


def process_images(p: StableDiffusionProcessing) -> Processed:
    """Settings for this job only, the model they ask for, and the job itself."""
    if p.scripts is not None:
        p.scripts.before_process(p)

    # Only settings that were ever set are restored: the host forgets those that stand at their default.
    stored_opts = {k: opts.data[k] for k in p.override_settings if k in opts.data}
    try:
        seam.apply_override_settings(p)
        sd_samplers.fix_p_invalid_sampler_and_scheduler(p)
        return process_images_inner(p)
    finally:
        seam.restore_settings(p, stored_opts)


def _resolve(p: StableDiffusionProcessing) -> None:
    """Seeds, refiner, model name: what is fixed before the first batch."""
    seed, subseed = get_fixed_seed(p.seed), get_fixed_seed(p.subseed)
    if p.restore_faces is None:
        p.restore_faces = opts.face_restoration
    if p.tiling is None:
        p.tiling = opts.tiling
    if p.refiner_checkpoint not in (None, "", "None", "none"):
        p.refiner_checkpoint_info = sd_models.get_closet_checkpoint_match(p.refiner_checkpoint)
        if p.refiner_checkpoint_info is None:
            raise Exception(f"Could not find checkpoint with name {p.refiner_checkpoint}")
    p.sd_model_name = shared.sd_model.sd_checkpoint_info.name_for_extra
    p.sd_model_hash = shared.sd_model.sd_model_hash
    seam.clear_comments(p)
    p.fill_fields_from_opts()
    p.setup_prompts()
    count = range(len(p.all_prompts))
    step = 1 if p.subseed_strength == 0 else 0
    p.all_seeds = seed if isinstance(seed, list) else [int(seed) + i * step for i in count]
    p.all_subseeds = subseed if isinstance(subseed, list) else [int(subseed) + i for i in count]


def _take_batch(p: StableDiffusionProcessing, n: int) -> None:
    part = slice(n * p.batch_size, (n + 1) * p.batch_size)
    for name in ("prompts", "negative_prompts", "seeds", "subseeds"):
        setattr(p, name, getattr(p, f"all_{name}")[part])


def _write_params(p: StableDiffusionProcessing) -> None:
    if not cmd_opts.no_prompt_history:
        with open(os.path.join(data_path, "params.txt"), "w", encoding="utf8") as file:
            file.write(Processed(p, []).infotext(p, 0))


def process_images_inner(p: StableDiffusionProcessing) -> Processed:
    """Batch by batch: networks, conditionings, sampling, decoding, postprocessing."""
    assert p.prompt is not None and (not isinstance(p.prompt, list) or len(p.prompt) > 0)
    devices.torch_gc()
    _resolve(p)
    if p.scripts is not None:
        p.scripts.process(p)

    infotexts: list[str] = []
    output_images: list[Image.Image] = []
    with seam.inference(p):
        with devices.autocast():
            p.init(p.all_prompts, p.all_seeds, p.all_subseeds)
        if state.job_count == -1:
            state.job_count = p.n_iter

        for n in range(p.n_iter):
            p.iteration = n
            if state.skipped:
                state.skipped = False
            if state.interrupted or state.stopping_generation:
                break
            seam.ensure_model(p)
            _take_batch(p, n)
            shape = (opt_C, p.height // opt_f, p.width // opt_f)
            p.rng = rng.ImageRNG(shape, p.seeds)
            batch = {"batch_number": n, "prompts": p.prompts, "seeds": p.seeds, "subseeds": p.subseeds}
            if p.scripts is not None:
                p.scripts.before_process_batch(p, **batch)
            if len(p.prompts) == 0:
                break
            p.parse_extra_network_prompts()
            if not p.disable_extra_networks:
                with devices.autocast():
                    extra_networks.activate(p, p.extra_network_data)
            seam.networks_activated(p)
            if p.scripts is not None:
                p.scripts.process_batch(p, **{**batch, "prompts": p.prompts})
            p.setup_conds()
            if n == 0:
                _write_params(p)
            seam.collect_comments(p)
            if p.n_iter > 1:
                shared.state.job = f"Batch {n + 1} out of {p.n_iter}"

            with devices.autocast():
                samples = p.sample(conditioning=p.c, unconditional_conditioning=p.uc, seeds=p.seeds,
                                   subseeds=p.subseeds, subseed_strength=p.subseed_strength, prompts=p.prompts)
            seam.sampled(p, samples)
            pixels = _decode(p, samples)
            del samples
            seam.batch_decoded(p)
            devices.torch_gc()
            state.nextjob()
            _finish_batch(p, n, pixels, output_images, infotexts)
            del pixels
            devices.torch_gc()

        if not infotexts:
            infotexts.append(Processed(p, []).infotext(p, 0))
        first = _add_grid(p, output_images, infotexts)

    if not p.disable_extra_networks and p.extra_network_data:
        extra_networks.deactivate(p, p.extra_network_data)
    devices.torch_gc()
    result = Processed(p, images_list=output_images, seed=p.all_seeds[0], info=infotexts[0],
                       subseed=p.all_subseeds[0], index_of_first_image=first, infotexts=infotexts,
                       extra_images_list=getattr(p, "extra_result_images", None))
    if p.scripts is not None:
        p.scripts.postprocess(p, result)
    return result


def _decode(p: StableDiffusionProcessing, samples: Any) -> torch.Tensor:
    if p.scripts is not None:
        args = scripts.PostSampleArgs(samples)
        p.scripts.post_sample(p, args)
        samples = args.samples
    if not getattr(samples, "already_decoded", False):
        devices.test_for_nans(samples, "unet")
        samples = decode_latent_batch(p.sd_model, samples, target_device=devices.cpu, check_for_nans=True)
    return torch.clamp((torch.stack(samples).float() + 1.0) / 2.0, min=0.0, max=1.0)


def _finish_batch(p: StableDiffusionProcessing, n: int, pixels: Any, output_images: list, infotexts: list) -> None:
    if p.scripts is not None:
        p.scripts.postprocess_batch(p, images=pixels, batch_number=n)
        part = slice(n * p.batch_size, (n + 1) * p.batch_size)
        p.prompts, p.negative_prompts = p.all_prompts[part], p.all_negative_prompts[part]
        listed = scripts.PostprocessBatchListArgs(list(pixels))
        p.scripts.postprocess_batch_list(p, listed, batch_number=n)
        pixels = listed.images

    for i, sample in enumerate(pixels):
        image = Image.fromarray(np.moveaxis(255.0 * sample.cpu().numpy(), 0, 2).astype(np.uint8))
        number = seam.image_number(p, i)
        if p.scripts is not None:
            args = scripts.PostprocessImageArgs(image, number)
            p.scripts.postprocess_image(p, args)
            image = args.image
        mask = getattr(p, "mask_for_overlay", None)
        overlays = p.overlay_images
        overlay = overlays[i] if overlays is not None and i < len(overlays) else None
        if p.scripts is not None:
            args = scripts.PostProcessMaskOverlayArgs(i, mask, overlay)
            p.scripts.postprocess_maskoverlay(p, args)
            mask, overlay = args.mask_for_overlay, args.overlay_image
        image, _original = apply_overlay(image, p.paste_to, overlay)
        if p.scripts is not None:
            args = scripts.PostprocessImageArgs(image, number)
            p.scripts.postprocess_image_after_composite(p, args)
            image = args.image
        text = create_infotext(p, p.prompts, p.seeds, p.subseeds, index=i, all_negative_prompts=p.negative_prompts)
        if p.save_samples():
            images.save_image(image, p.outpath_samples, "", p.seeds[i], p.prompts[i], opts.samples_format,
                              info=text, p=p)
        infotexts.append(text)
        if opts.enable_pnginfo:
            image.info["parameters"] = text
        output_images.append(image)


def _add_grid(p: StableDiffusionProcessing, output_images: list, infotexts: list) -> int:
    """Puts a grid in front when one is wanted; returns the index of the first single image."""
    too_few = len(output_images) < 2 and opts.grid_only_if_multiple
    if not opts.return_grid or p.do_not_save_grid or too_few or not output_images:
        return 0
    grid = images.image_grid(output_images, p.batch_size)
    text = create_infotext(p, p.prompts, p.seeds, p.subseeds, use_main_prompt=True,
                           all_negative_prompts=p.negative_prompts)
    if opts.enable_pnginfo:
        grid.info["parameters"] = text
    infotexts.insert(0, text)
    output_images.insert(0, grid)
    return 1
