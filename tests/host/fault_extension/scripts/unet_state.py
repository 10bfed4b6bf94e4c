"""A test route: everything about the UNet that a generation must leave as it was."""

import hashlib
import inspect
import sys

import torch

from modules import script_callbacks, scripts, shared

HOOKED = ("forward", "apply_model", "launch_sampling")
CLASSES = (
    ("ldm.models.diffusion.ddpm", "DiffusionWrapper"),
    ("sgm.modules.diffusionmodules.wrappers", "OpenAIWrapper"),
    ("backend.modules.k_model", "KModel"),
)
sampler_attributes = []


def wrapper_and_unet():
    """The object that calls the UNet, and the UNet."""
    model = shared.sd_model
    objects = getattr(model, "forge_objects", None)
    wrapper = model.model if objects is None else objects.unet.model
    return wrapper, wrapper.diffusion_model


def own_attributes(name, thing):
    own = {key: thing.__dict__[key] for key in HOOKED if callable(thing.__dict__.get(key))}
    return [f"{name}.{key}: {getattr(value, '__module__', '')}" for key, value in own.items()]


def reachable(thing, seen):
    """How many functions and callable objects of CR-Diff a call of this one may come to."""
    thing = getattr(thing, "__func__", thing)
    ours = (thing if inspect.isfunction(thing) else type(thing)).__module__.startswith("crdiff.")
    if id(thing) in seen or not (ours or inspect.isfunction(thing)):
        return 0
    seen.add(id(thing))
    inner = inspect.getclosurevars(thing).nonlocals if inspect.isfunction(thing) else vars(thing)
    return ours + sum(reachable(part, seen) for part in inner.values() if callable(part))


def weights_digest(unet):
    digest = hashlib.sha1(usedforsecurity=False)
    for name, tensor in unet.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def state():
    wrapper, unet = wrapper_and_unet()
    owners = (shared.sd_model, wrapper, *unet.modules())
    functions = [owner.__dict__[key] for owner in owners for key in HOOKED if key in owner.__dict__]
    attributes = [*own_attributes("model", shared.sd_model), *own_attributes("wrapper", wrapper)]
    hooks = 0
    for name, module in unet.named_modules():
        attributes += own_attributes(name or "unet", module)
        hooks += len(module._forward_hooks) + len(module._forward_pre_hooks)
        hooks += len(module._load_state_dict_post_hooks)
    classes = {}
    for module_name, class_name in CLASSES:
        cls = getattr(sys.modules.get(module_name), class_name, None)
        for key in HOOKED:
            if hasattr(cls, key):
                function = getattr(cls, key)
                functions.append(function)
                classes[f"{class_name}.{key}"] = f"{function.__module__} {id(function)}"
    return {
        "weights": weights_digest(unet),
        "instance_attributes": attributes,
        "crdiff_functions": sum(reachable(function, set()) for function in functions),
        "hooks": hooks,
        "classes": classes,
        "sampler_attributes": list(sampler_attributes),
    }


class SamplerWatch(scripts.Script):
    """Looks at the sampler when a job has ended, for a wrapper left on it."""

    def title(self):
        return "Sampler watch"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def postprocess(self, p, processed, *args):
        if getattr(p, "sampler", None) is not None:
            sampler_attributes[:] = own_attributes("sampler", p.sampler)


def host():
    """What the host's API does not tell of it."""
    return {"forge_objects": hasattr(shared.sd_model, "forge_objects")}


def add_routes(_, app):
    app.add_api_route("/crdiff-test/v1/state", state, methods=["GET"])
    app.add_api_route("/crdiff-test/v1/host", host, methods=["GET"])


script_callbacks.on_app_started(add_routes)
