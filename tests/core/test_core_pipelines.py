"""``crdiff.applied`` on real pipelines of diffusers with small random UNets, against two UNets and two full passes."""

from __future__ import annotations

import copy

import pytest
import torch
from small_adapters import adapted, add_adapter, fused, set_scale
from torch.utils.flop_counter import FlopCounterMode

from small_diffusers import PRUNED, pruned_copy  # isort: skip
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    DDIMScheduler,
    EulerAncestralDiscreteScheduler,
    HeunDiscreteScheduler,
    StableDiffusionControlNetPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)

import crdiff
from crdiff.errors import SettingsError, UnsupportedModelError
from crdiff.guidance.pipeline_hook import PipelineHook
from crdiff.pruning.store import Store

RATIOS, K, STEPS = {"down": 0.3, "mid": 0.4, "up": 0.5}, 1.5, 4
COMMON = {
    "sample_size": 8,
    "layers_per_block": 1,
    "block_out_channels": (16, 32),
    "norm_num_groups": 4,
    "attention_head_dim": 8,
}


def sd15_unet(channels=4):
    return UNet2DConditionModel(
        in_channels=channels, cross_attention_dim=768,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        **COMMON,
    )  # fmt: skip


def sdxl_unet():
    return UNet2DConditionModel(
        cross_attention_dim=2048, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), transformer_layers_per_block=(1, 2),
        addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=80, **COMMON,
    )  # fmt: skip


def seeded(model):
    torch.manual_seed(3)
    for parameter in model.parameters():
        parameter.data = torch.randn_like(parameter) * 0.15
    return model.eval().requires_grad_(False)


def pipeline(kind, unet, scheduler=DDIMScheduler, **parts):
    xl = "XL" in kind.__name__
    empty = dict.fromkeys(("vae", "text_encoder", "tokenizer"))
    if xl:
        empty |= dict.fromkeys(("text_encoder_2", "tokenizer_2"))
    else:
        empty |= {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    pipe = kind(unet=seeded(unet), scheduler=scheduler(), **{**empty, **parts})
    pipe.set_progress_bar_config(disable=True)
    return pipe


def draw(pipe, height=96, width=64, seed=5, **more):
    generator = torch.Generator().manual_seed(seed)
    width_of_text = pipe.unet.config.cross_attention_dim
    noise = torch.Generator().manual_seed(9)
    texts = [torch.randn(1, 7, width_of_text, generator=noise) for _ in range(2)]
    given = {"prompt_embeds": texts[0], "negative_prompt_embeds": texts[1], "num_inference_steps": STEPS}
    if "XL" in type(pipe).__name__:
        pooled = torch.randn(1, 32, generator=noise)
        given |= {"pooled_prompt_embeds": pooled, "negative_pooled_prompt_embeds": -pooled}
    if "Img2Img" in type(pipe).__name__:
        given |= {"image": torch.randn(1, 4, height // 8, width // 8, generator=noise), "strength": 0.6}
    else:
        given |= {"height": height, "width": width}
    return pipe(generator=generator, output_type="latent", **{**given, **more}).images


def by_two_unets(pipe, ratios=RATIOS, k=K, steps=None, **more):
    """The same image by two UNets; ``steps`` says in which of the UNet's calls they are mixed."""
    dense, pruned, calls = copy.deepcopy(pipe.unet), pruned_copy(pipe.unet, ratios), iter(range(100))

    def forward(*args, **kwargs):
        predicted = dense(*args, **kwargs)[0]
        if steps is None or next(calls) in steps:
            predicted = k * pruned(*args, **kwargs)[0] + (1.0 - k) * predicted
        return (predicted,)

    pipe.unet.forward = forward
    try:
        return draw(pipe, **more)
    finally:
        del pipe.unet.forward


def small_vae():
    return seeded(AutoencoderKL(
        block_out_channels=(4,) * 4, down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, latent_channels=4, norm_num_groups=2,
    ))  # fmt: skip


def controlnet(unet):
    return seeded(ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(4, 4, 8, 8)))


PIPELINES = {
    "sd15": lambda: pipeline(StableDiffusionPipeline, sd15_unet()),
    "ancestral": lambda: pipeline(StableDiffusionPipeline, sd15_unet(), EulerAncestralDiscreteScheduler),
    "heun": lambda: pipeline(StableDiffusionPipeline, sd15_unet(), HeunDiscreteScheduler),
    "sd15 image to image": lambda: pipeline(StableDiffusionImg2ImgPipeline, sd15_unet()),
    "sdxl": lambda: pipeline(StableDiffusionXLPipeline, sdxl_unet()),
    "sdxl image to image": lambda: pipeline(StableDiffusionXLImg2ImgPipeline, sdxl_unet(), vae=small_vae()),
}
UP_ALONE = {"down": 0.0, "mid": 0.0, "up": 0.5}


@pytest.mark.parametrize(
    ("name", "ratios"), [*((name, RATIOS) for name in PIPELINES), ("sd15", UP_ALONE), ("sdxl", UP_ALONE)], ids=str
)
def test_an_image_equals_that_of_two_unets(name, ratios):
    pipe = PIPELINES[name]()
    dense, expected = draw(pipe), by_two_unets(pipe, ratios)
    before = copy.deepcopy(pipe.unet.state_dict())
    with crdiff.applied(pipe, k=K, **ratios) as guided:
        found, again = draw(pipe), draw(pipe)
    assert torch.equal(found, expected)
    assert torch.equal(again, expected)
    assert not torch.equal(found, dense)
    assert torch.equal(draw(pipe), dense)
    assert "forward" not in vars(pipe.unet)
    assert all(torch.equal(value, before[name]) for name, value in pipe.unet.state_dict().items())
    assert len(guided.report) == 2
    assert "k 1.5" in guided.report[0]


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_what_runs_before_the_first_pruned_layer_is_computed_once(name):
    pipe = PIPELINES[name]()
    with crdiff.applied(pipe, k=K, **UP_ALONE):
        draw(pipe)  # its first call watches the weights
        with FlopCounterMode(display=False) as up_alone:
            draw(pipe, num_inference_steps=1)
    with FlopCounterMode(display=False) as dense:
        draw(pipe, num_inference_steps=1)
    pruned = "up_blocks.1" if name == "sd15" else "up_blocks.0"
    twice = sum(dense.get_flop_counts()[f"UNet2DConditionModel.{pruned}"].values())
    if name == "sdxl":
        twice += sum(dense.get_flop_counts()["UNet2DConditionModel.up_blocks.1"].values())
    least = dense.get_total_flops() + twice
    assert up_alone.get_total_flops() <= 1.05 * least


@pytest.mark.parametrize("off", [{"enabled": False}, {"k": 0.0}, {"down": 0.0, "mid": 0.0, "up": 0.0}], ids=str)
def test_off_is_the_pipelines_own_image(off):
    pipe = PIPELINES["sdxl"]()
    dense = draw(pipe)
    with crdiff.applied(pipe, **off):
        assert torch.equal(draw(pipe), dense)


@pytest.mark.parametrize("ratios", [RATIOS, dict.fromkeys(RATIOS, 0.0)], ids=str)
def test_sdxl_is_told_the_native_size_of_the_aspect(ratios):
    pipe, bucket = PIPELINES["sdxl"](), (1280, 832)
    drawn = by_two_unets if any(ratios.values()) else draw
    expected = drawn(pipe, original_size=bucket, target_size=bucket)
    assert not torch.equal(expected, drawn(pipe))
    with crdiff.applied(pipe, k=K, size_conditioning="native", **ratios) as guided:
        found = draw(pipe)
    assert torch.equal(found, expected)
    assert guided.report[-1] == "96x64: told the size 1280x832 (height x width)." and guided.refusals == ()
    assert "forward" not in vars(pipe.unet.add_embedding)


def test_half_precision_and_one_pass():
    pipe = PIPELINES["sd15"]()
    pipe.unet.to(torch.bfloat16)
    texts = {name: torch.randn(1, 7, 768, dtype=torch.bfloat16) for name in ("prompt_embeds", "negative_prompt_embeds")}
    given = {**texts, "num_inference_steps": 2, "height": 64, "width": 64, "output_type": "latent"}
    whole = pipe.unet
    pipe.unet = pruned_copy(whole, RATIOS)
    expected = pipe(generator=torch.Generator().manual_seed(1), **given).images
    pipe.unet = whole
    with crdiff.applied(pipe, k=1.0, **RATIOS):
        found = pipe(generator=torch.Generator().manual_seed(1), **given).images
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", ["sd15", "sd15 image to image"])
def test_the_window_counts_the_steps_that_are_drawn(name):
    pipe = PIPELINES[name]()
    drawn = range(STEPS) if name == "sd15" else range(int(STEPS * 0.6))
    expected = by_two_unets(pipe, steps=[step for step in drawn if step / len(drawn) < 0.5])
    with crdiff.applied(pipe, k=K, end=0.5, **RATIOS):
        assert torch.equal(draw(pipe), expected)


def test_inpainting_with_nine_channels():
    pipe = pipeline(StableDiffusionInpaintPipeline, sd15_unet(channels=9), vae=small_vae())
    mask = torch.zeros(1, 1, 96, 64)
    mask[:, :, 40:] = 1.0
    more = {"image": torch.rand(1, 3, 96, 64) * 2 - 1, "mask_image": mask}
    expected = by_two_unets(pipe, **more)
    with crdiff.applied(pipe, k=K, **RATIOS):
        assert torch.equal(draw(pipe, **more), expected)


def test_with_a_controlnet():
    unet = sd15_unet()
    pipe = pipeline(StableDiffusionControlNetPipeline, unet, controlnet=controlnet(unet))
    more = {"image": torch.rand(1, 3, 96, 64), "controlnet_conditioning_scale": 0.5}
    dense, expected = draw(pipe, **more), by_two_unets(pipe, **more)
    with crdiff.applied(pipe, k=K, **RATIOS):
        found = draw(pipe, **more)
    assert torch.equal(found, expected)
    assert not torch.equal(found, dense)


def test_weights_merged_in_between_are_pruned_as_they_are_then():
    pipe = PIPELINES["sd15"]()
    with crdiff.applied(pipe, k=K, **RATIOS):
        first = draw(pipe)
        for name, module in pipe.unet.named_modules():
            if PRUNED.match(name):
                module.weight += torch.randn(module.weight.shape, generator=torch.Generator().manual_seed(1)) * 0.05
        merged = draw(pipe)
    assert torch.equal(merged, by_two_unets(pipe))
    assert not torch.equal(merged, first)


def with_loras(name, **scales):
    pipe = PIPELINES[name]()
    for seed, (adapter, scale) in enumerate(scales.items()):
        add_adapter(pipe.unet, adapter, scale, seed)
    return pipe


def by_fused_loras(name, **scales):
    """The image of two UNets whose LoRAs are merged into their weights."""
    pipe = with_loras(name, **scales)
    fused(pipe.unet)
    return by_two_unets(pipe)


def assert_equal_up_to_rounding(found, expected):
    """LoRAs beside the layers and merged ones round differently in float32: with PEFT's own layers by up to 4e-5."""
    assert (found - expected).abs().max() < 2e-4 * expected.abs().max()


def test_loras_beside_the_layers_are_pruned_as_if_they_were_fused(tmp_path):
    pipe = with_loras("sd15", style=0.8, face=-0.4)
    dense, before = draw(pipe), copy.deepcopy(pipe.unet.state_dict())
    with crdiff.applied(pipe, k=0.0, **RATIOS):
        assert torch.equal(draw(pipe), dense)
    with crdiff.applied(pipe, k=K, store=Store(tmp_path), **RATIOS) as guided:
        found = draw(pipe)
        set_scale(pipe.unet, "face", 0.5)
        other = draw(pipe)
        set_scale(pipe.unet, "face", -0.4)
        assert torch.equal(draw(pipe), found)
    assert guided.refusals == ()
    assert not list(tmp_path.iterdir())
    assert_equal_up_to_rounding(found, by_fused_loras("sd15", style=0.8, face=-0.4))
    assert_equal_up_to_rounding(other, by_fused_loras("sd15", style=0.8, face=0.5))
    assert (found - dense).abs().max() > 1e-2 * dense.abs().max()
    assert (found - other).abs().max() > 1e-2 * dense.abs().max()
    assert torch.equal(draw(pipe), dense)
    assert all(torch.equal(value, before[name]) for name, value in pipe.unet.state_dict().items())


def test_loras_that_are_off_or_merged_do_not_count():
    pipe = with_loras("sd15", style=0.8, face=-0.4)
    with crdiff.applied(pipe, k=K, **RATIOS):
        draw(pipe)
        for layer in adapted(pipe.unet):
            layer.active_adapters = ["style"]
        assert_equal_up_to_rounding(draw(pipe), by_fused_loras("sd15", style=0.8))
        for layer in adapted(pipe.unet):
            layer.disable_adapters = True
        assert torch.equal(draw(pipe), by_two_unets(PIPELINES["sd15"]()))
        for layer in adapted(pipe.unet):
            layer.disable_adapters = False
            layer.merge()
        assert torch.equal(draw(pipe), by_fused_loras("sd15", style=0.8))


def test_a_lora_that_changes_between_two_steps_is_followed():
    """Loaded, overwritten in place and scaled: each time as if it had been merged then."""

    def drawn(change):
        pipe = PIPELINES["sd15"]()

        def changed(_, step, *__):
            change(pipe.unet, step)
            return {}

        with crdiff.applied(pipe, k=K, **RATIOS) as guided:
            found = draw(pipe, callback_on_step_end=changed)
        assert guided.refusals == ()
        return found

    def beside(unet, step):
        if step == 0:
            add_adapter(unet, "style", 0.8, seed=1)
        elif step == 1:
            for layer in adapted(unet):
                layer.lora_B["style"].weight.mul_(5.0)
        else:
            set_scale(unet, "style", -0.1)

    def merged(unet, step):
        own = PIPELINES["sd15"]().unet
        add_adapter(own, "style", (0.8, 4.0, -0.5, -0.5)[step], seed=1)
        unet.load_state_dict(fused(own).state_dict())

    assert_equal_up_to_rounding(drawn(beside), drawn(merged))


def test_the_scale_of_a_call_is_part_of_what_the_weights_are():
    """The UNet of diffusers scales its LoRAs within its forward, where they are not seen from outside."""
    pipe, own = with_loras("sdxl", style=1.0), UNet2DConditionModel.forward

    def scaling(unet, *args, cross_attention_kwargs=None, **kwargs):
        set_scale(unet, "style", (cross_attention_kwargs or {}).get("scale", 1.0))
        try:
            return own(unet, *args, **kwargs)
        finally:
            set_scale(unet, "style", 1.0)

    pipe.unet.forward = scaling.__get__(pipe.unet)
    with crdiff.applied(pipe, k=K, **RATIOS):
        draw(pipe)
        found = draw(pipe, cross_attention_kwargs={"scale": 0.3})
    assert_equal_up_to_rounding(found, by_fused_loras("sdxl", style=0.3))


def a_variant(layer):
    layer.lora_variant["style"] = object()


def a_bias(layer):
    layer.lora_bias["style"] = True


def of_another_kind(layer):
    del layer.lora_A


def merged_and_off(layer):
    layer.merge()
    layer.disable_adapters = True


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (a_variant, "style is DoRA or another variant of LoRA; call fuse_lora"),
        (a_bias, "style is DoRA or another variant of LoRA; call fuse_lora"),
        (of_another_kind, "adapters are not LoRAs"),
        (merged_and_off, "call unfuse_lora"),
    ],
)
def test_adapters_that_do_more_than_add_to_the_weight_are_refused(change, sentence):
    pipe = with_loras("sd15", style=0.8)
    change(adapted(pipe.unet.mid_block)[0])
    with pytest.raises(UnsupportedModelError, match=sentence), crdiff.applied(pipe):
        pass


def test_auto_takes_the_size_in_pixels_and_the_family():
    pipe = PIPELINES["sdxl"]()
    with crdiff.applied(pipe) as guided:
        draw(pipe, 512, 512, num_inference_steps=1)
        draw(pipe, 400, 560, num_inference_steps=1)
    published = ("512x512: SDXL", "0.397/0.434/0.387"), ("400x560: SDXL", "0.482/0.396/0.469")
    for (beginning, ratios), line in zip(published, guided.report, strict=True):
        assert line.startswith(beginning)
        assert ratios in line


def test_an_error_inside_leaves_the_pipeline_as_it_was():
    pipe = PIPELINES["sd15"]()
    dense = draw(pipe)

    def fail(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), crdiff.applied(pipe, k=K, **RATIOS):
        draw(pipe, callback_on_step_end=fail)
    assert torch.equal(draw(pipe), dense)


def test_an_image_that_cannot_begin_does_not_go_to_the_run_of_the_one_before():
    class Drawing:
        def predict(self, unet, forward, *args, **kwargs):
            return forward()

    runs = [Drawing()]

    def begin(size, access):
        if not runs:
            raise SettingsError("no preset")
        return runs.pop()

    pipe = pipeline(StableDiffusionPipeline, sd15_unet())

    def call():
        pipe.unet(torch.zeros(1, 4, 8, 8), pipe.scheduler.timesteps[0], encoder_hidden_states=torch.zeros(1, 7, 768))

    with PipelineHook(pipe, begin).installed():
        pipe.scheduler.set_timesteps(STEPS)
        call()
        pipe.scheduler.set_timesteps(STEPS)
        for _ in range(2):  # a caller may go on after the first
            with pytest.raises(SettingsError, match="no preset"):
                call()


def test_what_cannot_be_used_is_said_at_once():
    pipe = PIPELINES["sd15"]()
    with pytest.raises(SettingsError, match="down"), crdiff.applied(pipe, down=1.5):
        pass
    with pytest.raises(UnsupportedModelError, match="needs a pipeline with a UNet"), crdiff.applied(object()):
        pass
    pipe.unet.compile()
    with pytest.raises(UnsupportedModelError, match="leave out torch"), crdiff.applied(pipe):
        pass
    pipe = PIPELINES["sd15"]()
    pipe.unet.mid_block.to("meta")  # as sequential offloading leaves a UNet between two calls
    with pytest.raises(UnsupportedModelError, match="enable_model_cpu_offload"), crdiff.applied(pipe):
        pass


def test_fused_projections_are_told_also_within_the_block():
    pipe = PIPELINES["sd15"]()
    with crdiff.applied(pipe, k=K, **RATIOS):
        draw(pipe)
        pipe.fuse_qkv_projections(vae=False)
        with pytest.raises(UnsupportedModelError, match="unfuse_qkv_projections"):
            draw(pipe)


def test_a_size_without_a_preset_is_drawn_dense_and_said():
    """A UNet of no known family has no presets."""
    pipe = pipeline(StableDiffusionPipeline, UNet2DConditionModel(
        cross_attention_dim=24, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), **COMMON,
    ))  # fmt: skip
    dense = draw(pipe)
    with crdiff.applied(pipe) as guided:
        assert torch.equal(draw(pipe), dense)
    assert "Drawn without CR-Diff." in guided.report[0]
