"""Patches on a UNet's layers: pruned passes, and that nothing stays behind."""

from __future__ import annotations

import copy
import gc
import sys
import weakref

import pytest
import torch
from small_unet import OwnLinear, make_inputs, make_unet, masked_copy, prunable_modules
from torch import nn

from crdiff.errors import UnsupportedModelError
from crdiff.method.groups import Ratios
from crdiff.models.architecture import find_layers
from crdiff.pruning.criterion import Pruning
from crdiff.pruning.linear import LayerPatches
from crdiff.pruning.magnitude import MagnitudeCriterion
from crdiff.pruning.store import Store, WeightsState

RATIOS = (0.4, 0.5, 0.3)


def look(patches: LayerPatches, unet: nn.Module, inputs) -> MagnitudeCriterion:
    criterion = MagnitudeCriterion(WeightsState("", "", (), ""), Store())
    while (observer := criterion.observer(Ratios(*RATIOS))) is not None:
        with patches.observing(observer):
            unet(*inputs)
        observer.finish(len(patches.layers))
    return criterion


def patches_for(unet: nn.Module) -> LayerPatches:
    patches = LayerPatches(unet, find_layers(unet).layers)
    patches.install()
    return patches


def pruned_pass(patches: LayerPatches, unet: nn.Module, inputs) -> torch.Tensor:
    pruning = look(patches, unet, inputs).pruning(Ratios(*RATIOS))
    with patches.applying(pruning):
        return unet(*inputs)


def state_of(unet: nn.Module) -> list[tuple[str, dict[str, object], dict[str, bytes]]]:
    """Everything that hangs on each module: attributes, hooks and the bytes of its weights."""
    found = []
    for name, module in unet.named_modules():
        values = {
            key: dict(value) if key.startswith("_") and isinstance(value, dict) else value
            for key, value in module.__dict__.items()
            if key != "passes"
        }
        weights = {key: bytes(tensor.view(torch.uint8).numpy()) for key, tensor in module._parameters.items()
                   if tensor is not None}  # fmt: skip
        found.append((name, values, weights))
    return found


def identities(unet: nn.Module) -> list[dict[str, int]]:
    return [{key: id(value) for key, value in module.__dict__.items() if key != "passes"} for module in unet.modules()]


@pytest.mark.parametrize("linear", [nn.Linear, OwnLinear])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_passes_equal_those_of_a_masked_copy(dtype, linear):
    unet, inputs = make_unet(dtype=dtype, linear=linear), make_inputs(dtype=dtype)
    dense, expected = unet(*inputs), masked_copy(unet, RATIOS)(*inputs)
    assert not torch.equal(dense, expected)
    state = identities(unet)
    patches = patches_for(unet)
    assert torch.equal(unet(*inputs), dense)
    assert torch.equal(pruned_pass(patches, unet, inputs), expected)
    assert torch.equal(unet(*inputs), dense)
    assert torch.equal(pruned_pass(patches, unet, inputs), expected)
    patches.remove()
    assert torch.equal(unet(*inputs), dense)
    assert identities(unet) == state


def test_every_prunable_layer_matters():
    """Otherwise the comparisons in this file could not tell a layer that is left out."""
    unet, inputs = make_unet(), make_inputs()
    dense = unet(*inputs)
    for _, module in prunable_modules(unet):
        weight = module.weight
        module.weight = nn.Parameter(weight * (weight.abs() > 0.1), requires_grad=False)
        assert not torch.equal(unet(*inputs), dense)
        module.weight = weight


def test_weights_in_a_smaller_dtype_than_the_inputs():
    """fp8 or fp16 storage, cast by the host's own Linear at each call."""
    unet, inputs = make_unet(linear=OwnLinear), make_inputs()
    for _, module in prunable_modules(unet):
        module.weight = nn.Parameter(module.weight.to(torch.float8_e4m3fn), requires_grad=False)
    plain = copy.deepcopy(unet)
    for _, module in prunable_modules(plain):
        module.weight = nn.Parameter(module.weight.float(), requires_grad=False)
    expected = masked_copy(plain, RATIOS)(*inputs)
    patches = patches_for(unet)
    assert torch.equal(pruned_pass(patches, unet, inputs), expected)


def test_weights_buffers_and_hooks_are_left_as_they_were():
    unet, inputs = make_unet(), make_inputs()
    module = next(module for _, module in prunable_modules(unet))
    calls = []
    module.register_forward_pre_hook(lambda *_: calls.append("before"))
    module.register_forward_hook(lambda *_: calls.append("after"))
    before = state_of(unet)
    patches = patches_for(unet)
    pruned_pass(patches, unet, inputs)
    assert calls == ["before", "after"] * 3
    patches.remove()
    assert state_of(unet) == before


def test_inference_tensors():
    with torch.inference_mode():
        unet, inputs = make_unet(), make_inputs()
        expected = masked_copy(unet, RATIOS)(*inputs)
        patches = patches_for(unet)
        assert torch.equal(pruned_pass(patches, unet, inputs), expected)
        patches.remove()


def test_autocast():
    unet, inputs = make_unet(), make_inputs()
    masked = masked_copy(unet, RATIOS)
    with torch.autocast("cpu", torch.bfloat16):
        dense, expected = unet(*inputs), masked(*inputs)
        assert not torch.equal(dense, expected)
        patches = patches_for(unet)
        assert torch.equal(pruned_pass(patches, unet, inputs), expected)
        patches.remove()
        assert torch.equal(unet(*inputs), dense)


class Failure(BaseException):
    pass


class FailingAt(Pruning):
    """A pruning that fails at the n-th layer."""

    def __init__(self, pruning: Pruning, index: int, error: type[BaseException]) -> None:
        self.pruning, self.left, self.error = pruning, index, error

    def wants(self, layer):
        return True

    def weight(self, call):
        if self.left == 0:
            raise self.error("CUDA out of memory.")
        self.left -= 1
        return self.pruning.weight(call)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, Failure, torch.cuda.OutOfMemoryError])
def test_a_failure_at_any_layer_leaves_the_next_pass_dense(error):
    unet, inputs = make_unet(), make_inputs()
    dense = unet(*inputs)
    before = identities(unet)
    patches = patches_for(unet)
    pruning = look(patches, unet, inputs).pruning(Ratios(*RATIOS))
    for index in range(36):
        with pytest.raises(error), patches.applying(FailingAt(pruning, index, error)):
            unet(*inputs)
        assert torch.equal(unet(*inputs), dense)
    patches.remove()
    assert identities(unet) == before


def test_a_failed_installation_leaves_nothing():
    class Stubborn(nn.Linear):
        def __setattr__(self, name, value):
            if name == "forward":
                raise RuntimeError("no")
            super().__setattr__(name, value)

    unet = make_unet()
    unet.output_blocks[2][1].transformer_blocks[0].ff.net[2] = Stubborn(64, 16)
    before = identities(unet)
    with pytest.raises(RuntimeError):
        patches_for(unet)
    assert identities(unet) == before


class Doubling:
    """Another extension's override of one layer: it doubles the output."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.had = module, module.__dict__.get("forward")
        self.inner = module.forward
        module.forward = self.forward

    def forward(self, x):
        return 2 * self.inner(x)

    def remove(self) -> None:
        """As most extensions do it: put back what was there."""
        if self.had is None:
            del self.module.forward
        else:
            self.module.forward = self.had


@pytest.mark.parametrize("theirs_first", [True, False])
@pytest.mark.parametrize("ours_goes_first", [True, False])
def test_another_extensions_override_of_a_layer(theirs_first, ours_goes_first):
    unet, inputs = make_unet(), make_inputs()
    plain = unet(*inputs)
    layer = unet.middle_block[1].transformer_blocks[0].attn1.to_v

    def doubled(base):
        base = copy.deepcopy(base)
        Doubling(base.middle_block[1].transformer_blocks[0].attn1.to_v)
        return base(*inputs)

    dense, expected = doubled(unet), doubled(masked_copy(unet, RATIOS))
    if theirs_first:
        theirs = Doubling(layer)
        patches = patches_for(unet)
    else:
        patches = patches_for(unet)
        theirs = Doubling(layer)
    assert torch.equal(unet(*inputs), dense)
    assert torch.equal(pruned_pass(patches, unet, inputs), expected)
    if ours_goes_first:
        patches.remove()
        assert torch.equal(unet(*inputs), dense)
        theirs.remove()
    else:
        theirs.remove()
        assert torch.equal(unet(*inputs), plain)
        patches.remove()
    assert torch.equal(unet(*inputs), plain)
    others = [module for _, module in prunable_modules(unet) if module is not layer]
    assert not any("forward" in module.__dict__ for module in others)


def test_overrides_removed_out_of_order_do_not_pile_up():
    """Removed while wrapped, then put back by the wrapper, in every generation."""
    unet, inputs = make_unet(), make_inputs()
    plain, expected = unet(*inputs), masked_copy(unet, RATIOS)(*inputs)
    layer = unet.middle_block[1].transformer_blocks[0].attn1.to_v
    depths = []
    for _ in range(4):
        patches = patches_for(unet)
        theirs = Doubling(layer)
        patches.remove()
        theirs.remove()
        assert torch.equal(unet(*inputs), plain)
        depths.append(_depth(layer))
    assert depths == depths[:1] * 4
    patches = patches_for(unet)
    assert torch.equal(pruned_pass(patches, unet, inputs), expected)
    patches.remove()
    assert torch.equal(unet(*inputs), plain)


def _depth(layer: nn.Module) -> int:
    """How many Python calls a forward takes."""
    calls = 0

    def count(frame, event, _):
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        layer(torch.zeros(1, 16))
    finally:
        sys.setprofile(None)
    return calls


class Adapted(nn.Linear):
    """A Linear with a LoRA beside it, computed before or after the layer's own product."""

    rank, first = 4, False

    def forward(self, x):
        generator = torch.Generator().manual_seed(self.rank)
        down = torch.randn(self.rank, self.in_features, generator=generator) * 0.1
        up = torch.randn(self.out_features, self.rank, generator=generator) * 0.1

        def added():
            return nn.functional.linear(nn.functional.linear(x, down), up)

        return added() + super().forward(x) if self.first else super().forward(x) + added()


class AdaptedSquare(Adapted):
    """A LoRA of full rank: its matrices have the layer's own shape."""

    rank = 16


class AdaptedFirst(Adapted):
    first = True


@pytest.mark.parametrize("adapted", [Adapted, AdaptedSquare, AdaptedFirst])
def test_only_the_layers_own_weight_is_pruned(adapted):
    unet, inputs = make_unet(linear=adapted), make_inputs()
    expected = masked_copy(unet, RATIOS)(*inputs)
    patches = patches_for(unet)
    assert torch.equal(pruned_pass(patches, unet, inputs), expected)


class KeywordLinear(nn.Linear):
    def forward(self, x):
        return torch.nn.functional.linear(x, bias=self.bias, weight=self.weight)


def test_a_weight_handed_over_by_name():
    unet, inputs = make_unet(linear=KeywordLinear), make_inputs()
    expected = masked_copy(unet, RATIOS)(*inputs)
    assert torch.equal(pruned_pass(patches_for(unet), unet, inputs), expected)


class Matmul(nn.Linear):
    def forward(self, x):
        return x @ self.weight.t() + (0 if self.bias is None else self.bias)


def test_a_layer_that_multiplies_otherwise_is_refused_in_one_sentence():
    unet, inputs = make_unet(linear=Matmul), make_inputs()
    dense, before = unet(*inputs), identities(unet)
    patches = patches_for(unet)
    with pytest.raises(UnsupportedModelError, match=r"Matmul.*\.$") as refusal:
        look(patches, unet, inputs)
    assert "\n" not in str(refusal.value)
    assert torch.equal(unet(*inputs), dense)
    patches.remove()
    assert identities(unet) == before


def test_a_class_patched_while_installed_is_followed(monkeypatch):
    """Hosts patch a class's forward when the first LoRA is loaded."""
    unet, inputs = make_unet(linear=OwnLinear), make_inputs()
    masked = masked_copy(unet, RATIOS)
    patches = patches_for(unet)
    inner = OwnLinear.forward
    monkeypatch.setattr(OwnLinear, "forward", lambda self, x: -inner(self, x))
    expected = masked(*inputs)
    assert torch.equal(pruned_pass(patches, unet, inputs), expected)


class Unchanged(Pruning):
    """A pruning that leaves the weights as they are."""

    def wants(self, layer):
        return True


def test_how_many_layers_a_pass_reached():
    unet, inputs = make_unet(), make_inputs()
    patches = patches_for(unet)
    with patches.applying(Unchanged()):
        pass
    assert patches.used == 0
    with patches.applying(Unchanged()):
        unet(*inputs)
    assert patches.used == 36


def test_removed_overrides_keep_nothing_alive():
    unet, inputs = make_unet(), make_inputs()
    patches = patches_for(unet)
    pruned_pass(patches, unet, inputs)
    patches.remove()
    dead = weakref.ref(patches)
    del patches
    gc.collect()
    assert dead() is None
