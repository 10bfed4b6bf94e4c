"""What the modules of the hosts tell of live weights, and how they run layers: on objects shaped as the hosts' are."""

from __future__ import annotations

import json
import sys
from enum import Enum
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from crdiff.models.architecture import Layer
from crdiff.pruning.store import fingerprint
from crdiff.webui.hosts.a1111 import A1111, A1111Access, _added_by
from crdiff.webui.hosts.forge import ForgeAccess, patched_in
from crdiff.webui.hosts.on_use import merged_on_use
from crdiff.webui.search.journals import _from_plain, _plain


class TestNames:
    """Of the LoRAs of hosts that keep patches of weights with the UNet's patcher: Neo, reForge, Classic."""

    @pytest.mark.parametrize(
        ("named", "patches", "modified"),
        [
            ("[]", {}, False),
            (None, {}, False),
            ("[['style.safetensors', 0.8, 1.0, True]]", {"a.weight": [1]}, True),
            ("[]", {"a.weight": [1]}, True),
        ],
        ids=["none", "never set", "named", "unnamed"],
    )
    def test_weights_with_patches_never_pass_for_the_checkpoints_own(self, named, patches, modified):
        unet = SimpleNamespace(patches=patches)
        engine = SimpleNamespace(current_lora_hash=named, forge_objects=SimpleNamespace(unet=unet))
        assert bool(patched_in(engine)) is modified

    def test_a_host_without_forges_loader_is_asked_for_its_patches(self):
        unet = SimpleNamespace(patches={})
        engine = SimpleNamespace(current_lora_hash="style", forge_objects=SimpleNamespace(unet=unet))
        assert ForgeAccess()._loras(engine, SimpleNamespace()) == ("style",)
        loader = SimpleNamespace(loaded_hash="other")
        assert ForgeAccess()._loras(engine, SimpleNamespace(lora_loader=loader)) == ("other",)


def test_automatic1111_calls_sd3_through_a_wrapper_of_its_own(monkeypatch):
    class BaseModel(nn.Module):
        def __init__(self):
            super().__init__()
            self.diffusion_model = nn.Linear(4, 4)

        def forward(self, x, sigma, c_crossattn=None, y=None):
            return self.diffusion_model(x) + sigma

    seen = []

    class Run:
        def predict(self, model, once, device, context, doubled, *_):
            seen.append((model, context, doubled()))
            return once() * 2

    monkeypatch.setitem(sys.modules, "modules.models.sd3.sd3_impls", SimpleNamespace(BaseModel=BaseModel))
    wrapper, x, prompt = BaseModel(), torch.randn(1, 4, 4, 4), torch.randn(1, 3, 5)
    plain = wrapper(x, 1.0, c_crossattn=prompt)
    with A1111().hooked(Run()):
        assert torch.equal(wrapper(x, 1.0, c_crossattn=prompt), plain * 2)
    ((model, context, twice),) = seen
    assert model is wrapper.diffusion_model
    assert torch.equal(context, prompt)
    assert twice.shape == (2, 4, 4, 4)
    assert torch.equal(wrapper(x, 1.0, c_crossattn=prompt), plain)


class LowVramPatch:
    def __init__(self, key, patches):
        self.key, self.patches = key, patches

    def __call__(self, weight):
        raise AssertionError("never called")


class Adapter:
    def __init__(self, *weights):
        self.weights = weights


def forges(strength, up):
    layer = nn.Linear(4, 4)
    layer.forge_online_loras = {"weight": [(strength, ("lora", (up, up, 1.0, None)), 1.0, None, None)]}
    return layer


def neos(strength, up):
    layer = nn.Linear(4, 4)
    patches = {"a.weight": [(strength, Adapter(up, up, 1.0, None), 1.0, None, None)], "b.weight": []}
    layer.weight_function = [LowVramPatch("a.weight", patches)]
    return layer


class TestMergedOnUse:
    @pytest.mark.parametrize("host", [forges, neos])
    def test_told_by_factors_and_strengths(self, host):
        up = torch.ones(4, 2)
        seen = [fingerprint(merged_on_use(host(*made))) for made in ((0.8, up), (0.8, up), (0.7, up), (0.8, 2 * up))]
        assert seen[0] == seen[1]
        assert len(set(seen)) == 3

    def test_nothing_where_the_weight_is_used_as_stored(self):
        layer = nn.Linear(4, 4)
        layer.weight_function = []
        assert list(merged_on_use(layer)) == list(merged_on_use(nn.Linear(4, 4))) == []

    def test_a_function_that_tells_nothing_is_like_no_other(self):
        layer = nn.Linear(4, 4)
        layer.weight_function = [lambda weight: weight * 2]
        assert fingerprint(merged_on_use(layer)) != fingerprint(merged_on_use(layer))

    def test_automatic1111s_are_told_by_their_factors(self, monkeypatch):
        layer = nn.Linear(4, 4)
        layer.network_layer_name = "unet_layer"
        module = SimpleNamespace(sd_module=layer, up_model=nn.Linear(2, 4, bias=False), dora_scale=None, alpha=1.0)
        networks = SimpleNamespace(loaded_networks=[SimpleNamespace(modules={"unet_layer": module})])
        monkeypatch.setitem(sys.modules, "networks", networks)
        before = fingerprint(A1111Access().added_on_use(layer))
        with torch.no_grad():
            module.up_model.weight.mul_(0.5)  # as extensions do that weigh the blocks of a LoRA
        assert fingerprint(A1111Access().added_on_use(layer)) != before
        networks.loaded_networks.clear()
        assert list(A1111Access().added_on_use(layer)) == []


class Module:
    """A LoRA's share of a layer, as in AUTOMATIC1111's Lora extension."""

    dora_scale = torch.tensor(3.0)

    def calc_updown(self, weight):
        return torch.ones_like(weight) * (1.0 if self.dora_scale is None else self.dora_scale), None


class PlainModule(Module):
    def forward(self, x, y):
        return y + functional.linear(x, torch.ones(4, 4))


def test_a_functional_lora_adds_to_the_weight_what_its_layer_adds_to_the_product():
    weight = torch.zeros(4, 4)
    module = PlainModule()
    found, _ = _added_by(module, weight)
    assert torch.equal(functional.linear(torch.eye(4), found), module.forward(torch.eye(4), 0))
    assert module.dora_scale == 3.0
    assert torch.equal(_added_by(Module(), weight)[0], torch.full((4, 4), 3.0))


class Rounded(torch.Tensor):
    """A quantised weight whose product rounds its input, as Neo's int8 weights' does."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        with torch._C.DisableTorchFunctionSubclass():
            if func is functional.linear and isinstance(args[1], Rounded):
                return functional.linear(args[0].round(), args[1].as_subclass(torch.Tensor), *args[2:])
            plain = [one.as_subclass(torch.Tensor) if isinstance(one, Rounded) else one for one in args]
            return func(*plain, **(kwargs or {}))

    def requantize_from_float(self, weight, scale):
        assert scale == "recalculate"
        return weight.clone().as_subclass(Rounded)


def test_layers_that_round_their_input_do_so_in_the_pruned_pass_too():
    x, stored = torch.randn(3, 4), torch.randn(4, 4).as_subclass(Rounded)
    run, layer = ForgeAccess().run_layer, Layer("a", "down", "block", nn.Linear(4, 4))

    def forward(x):
        return functional.linear(x, stored, None)

    def pruned(call):
        return functional.hardshrink(call.weight, 0.5)

    expected = functional.linear(x.round(), functional.hardshrink(stored.as_subclass(torch.Tensor), 0.5))
    assert torch.equal(run(layer, forward, pruned, (x,), {}), expected)
    assert torch.equal(run(layer, forward, lambda call: call.weight, (x,), {}), forward(x))


class Kind(str, Enum):
    ONE = "one"


@pytest.mark.parametrize(
    ("value", "back"),
    [
        (float("inf"), float("inf")),
        (-float("inf"), -float("inf")),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.array([1.0, np.inf]), [1.0, "inf"]),
        (torch.tensor(2.5), 2.5),
        (Kind.ONE, "one"),
        ({"a": (1, None, {"b": float("inf")})}, {"a": [1, None, {"b": "inf"}]}),
        ("DPM++ 2M", "DPM++ 2M"),
    ],
    ids=repr,
)
def test_a_journal_holds_any_value_of_a_hosts_job(value, back):
    written = json.loads(json.dumps(_plain(value), allow_nan=False))
    assert _from_plain(written) == back
