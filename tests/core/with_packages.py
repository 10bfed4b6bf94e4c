"""LoRAs by PEFT, against ones that are merged by hand, and offloading by accelerate.

Where either is, diffusers and transformers go other ways, so both are kept away from all other tests:
``test_core_pipeline_packages`` runs these in a process of their own.
"""

from __future__ import annotations

import copy

import pytest
import torch
from pipeline_images import RATIOS, K, assert_each_image_is_pruned_once, drawn, mixed
from safetensors.torch import save_file
from small_diffusers import PRUNED
from small_pipeline import small_pipeline

import crdiff
from crdiff.errors import UnsupportedModelError

SCALE, RANK, ALPHA = 0.8, 4, 2.0


@pytest.fixture
def pipe(tmp_path, one_thread):
    pipe = small_pipeline(tmp_path)
    pipe.set_progress_bar_config(disable=True)
    return pipe


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


def assert_close(found, expected):
    assert (found - expected).abs().max() < 2e-4 * expected.abs().max()


def test_a_lora_is_drawn_and_pruned_as_if_it_were_merged(pipe, tmp_path):
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


def test_each_image_of_an_offloaded_model_is_pruned(pipe):
    assert_each_image_is_pruned_once(pipe, lambda pipe: pipe.enable_model_cpu_offload(device="cpu"))


def test_offloading_layer_by_layer_is_refused(pipe):
    pipe.enable_sequential_cpu_offload(device="cpu")
    with pytest.raises(UnsupportedModelError, match="enable_model_cpu_offload"), crdiff.applied(pipe):
        pass
