"""What PEFT and accelerate do to a pipeline: LoRAs from files, against ones that are merged by hand, and offloading.

Neither is among the packages of the tests: what needs one runs where it is. What CR-Diff does with PEFT's layers is
tested without it in ``test_core_pipelines``, and offloading here by what accelerate does to a forward.
"""

from __future__ import annotations

import copy

import pytest
import torch
from safetensors.torch import save_file
from small_diffusers import PRUNED, pruned_copy
from small_pipeline import small_pipeline

import crdiff
from crdiff.errors import UnsupportedModelError

RATIOS, K, SCALE = {"down": 0.3, "mid": 0.4, "up": 0.5}, 1.5, 0.8
RANK, ALPHA = 4, 2.0


@pytest.fixture
def pipe(tmp_path, one_thread):
    pipe = small_pipeline(tmp_path)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def drawn(pipe):
    generator = torch.Generator().manual_seed(5)
    given = {"height": 64, "width": 48, "num_inference_steps": 3, "generator": generator, "output_type": "latent"}
    return pipe("a cat", **given).images


def lora_of(unet):
    """(down, up) by layer, of the layers that are pruned and of one that is not."""
    torch.manual_seed(7)
    names = [name for name, _ in unet.named_modules() if PRUNED.match(name) or name.endswith("attn2.to_k")]
    shapes = {name: unet.get_submodule(name).weight.shape for name in names}
    return {name: (torch.randn(RANK, ins) * 0.3, torch.randn(outs, RANK) * 0.3) for name, (outs, ins) in shapes.items()}


def save(path, lora):
    """As kohya's trainer writes LoRAs."""
    tensors = {}
    for name, (down, up) in lora.items():
        layer = "lora_unet_" + name.replace(".", "_")
        tensors |= {f"{layer}.lora_down.weight": down, f"{layer}.lora_up.weight": up.contiguous()}
        tensors[f"{layer}.alpha"] = torch.tensor(ALPHA)
    save_file(tensors, path)


def merged(unet, lora):
    unet = copy.deepcopy(unet)
    for name, (down, up) in lora.items():
        unet.get_submodule(name).weight.data += SCALE * ALPHA / RANK * up @ down
    return unet


def mixed(pipe, unet):
    """The image of two UNets, the second pruned."""
    two, pruned = copy.copy(pipe), pruned_copy(unet, RATIOS)
    two.unet = copy.deepcopy(unet)

    def forward(*args, **kwargs):
        return (K * pruned(*args, **kwargs)[0] + (1.0 - K) * unet(*args, **kwargs)[0],)

    two.unet.forward = forward
    return drawn(two)


def assert_close(found, expected):
    assert (found - expected).abs().max() < 2e-4 * expected.abs().max()


def test_it_is_drawn_and_pruned_as_if_it_were_merged(pipe, tmp_path):
    pytest.importorskip("peft", reason="PEFT is not installed")
    own, lora = copy.deepcopy(pipe.unet), lora_of(pipe.unet)
    before = drawn(pipe)
    with_lora, without = mixed(pipe, merged(own, lora)), mixed(pipe, own)
    save(tmp_path / "style.safetensors", lora)
    pipe.load_lora_weights(str(tmp_path), weight_name="style.safetensors", adapter_name="style")
    pipe.set_adapters("style", SCALE)
    dense = drawn(pipe)
    with crdiff.applied(pipe, k=0.0, **RATIOS):
        assert torch.equal(drawn(pipe), dense)
    with crdiff.applied(pipe, k=K, **RATIOS) as guided:
        found = drawn(pipe)
        pipe.disable_lora()
        assert torch.equal(drawn(pipe), without)
        pipe.enable_lora()
        assert torch.equal(drawn(pipe), found)
    assert guided.refusals == ()
    assert_close(found, with_lora)
    assert (found - without).abs().max() > 1e-2 * found.abs().max()
    assert torch.equal(drawn(pipe), dense)
    pipe.fuse_lora(adapter_names=["style"])
    with crdiff.applied(pipe, k=K, **RATIOS):
        assert_close(drawn(pipe), with_lora)
    pipe.unfuse_lora()
    pipe.unload_lora_weights()
    assert (drawn(pipe) - before).abs().max() < 1e-4 * before.abs().max()
    with crdiff.applied(pipe, k=K, **RATIOS):
        assert_close(drawn(pipe), without)


def wrapped(unet):
    """As accelerate's ``add_hook_to_module`` leaves a model, after ``remove_hook_from_module`` where it has a hook."""
    if hasattr(unet, "_old_forward"):
        unet.forward = unet._old_forward
        del unet._old_forward
    unet._old_forward = unet.forward
    unet.forward = lambda *args, **kwargs: unet._old_forward(*args, **kwargs)


def as_accelerate(pipe):
    wrapped(pipe.unet)
    pipe.maybe_free_model_hooks = lambda: wrapped(pipe.unet)  # the pipeline calls it after each image


def by_accelerate(pipe):
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    pipe.enable_model_cpu_offload(device="cpu")


@pytest.mark.parametrize("offload", [as_accelerate, by_accelerate])
def test_each_image_of_an_offloaded_model_is_pruned(pipe, offload):
    dense, expected = drawn(pipe), mixed(pipe, pipe.unet)
    offload(pipe)
    with crdiff.applied(pipe, k=K, **RATIOS) as guided:
        assert all(torch.equal(drawn(pipe), expected) for _ in range(3))
    assert len(guided.report) == 3 and guided.refusals == ()
    assert torch.equal(drawn(pipe), dense)


def test_a_model_may_be_offloaded_within_the_block(pipe):
    dense, expected = drawn(pipe), mixed(pipe, pipe.unet)
    with crdiff.applied(pipe, k=K, **RATIOS):
        as_accelerate(pipe)
        assert all(torch.equal(drawn(pipe), expected) for _ in range(2))
    assert torch.equal(drawn(pipe), dense)
    with crdiff.applied(pipe, k=K, **RATIOS):
        assert torch.equal(drawn(pipe), expected)


def test_offloading_layer_by_layer_is_refused(pipe):
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    pipe.enable_sequential_cpu_offload(device="cpu")
    with pytest.raises(UnsupportedModelError, match="enable_model_cpu_offload"), crdiff.applied(pipe):
        pass
