"""What CR-Diff has to know of a kind of model, and the layers it prunes in one.

An architecture is one file behind the registry ``ARCHITECTURES``: it tells the roles of layers by the names of all, the
family by the layers' shapes, and what both passes of a step have in common.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from crdiff.errors import UnsupportedModelError
from crdiff.models import chroma, flux, lumina, qwen_image, sd3
from crdiff.models.family import OTHER, Family
from crdiff.models.scope import ATTENTION, AUTO_THRESHOLD, BY_GROUP, BY_LAYER, Scope
from crdiff.models.unet import UNet

if TYPE_CHECKING:
    import torch

    from crdiff.models.role import Region, Role

Shapes = Mapping[str, tuple[int, ...]]
"""(out, in) of Linears, by module name."""


class Architecture(Protocol):
    """A kind of model."""

    @property
    def families(self) -> tuple[Family, ...]:
        """The families that it tells."""

    def roles(self, names: Iterable[str]) -> Mapping[str, Role]:
        """The roles of Linears by module name, from the names of all modules of a live model, or of a checkpoint
        file's modules with a weight; those without a role are left out.
        """

    def family(self, shapes: Shapes) -> Family:
        """The family of a model from the shapes of its Linears that have a role."""

    def shared_prefix(self, model: torch.nn.Module, pruned: Collection[str]) -> tuple[torch.nn.Module, ...]:
        """The largest modules that run before the first of the modules ``pruned``, in the order they run in.

        Modules that other extensions have patched or hooked are left out, with whatever they are part of, since a call
        of theirs may do more than compute.
        """

    def shared_projections(
        self, model: torch.nn.Module, prefix: Collection[torch.nn.Module]
    ) -> tuple[torch.nn.Module, ...]:
        """Modules beyond ``prefix`` that see only the prompt: the same in both passes of a step."""


ARCHITECTURES: dict[str, Architecture] = {
    "unet": UNet(),
    "flux": flux.LDM,
    "flux, diffusers": flux.DIFFUSERS,
    "chroma": chroma.LDM,
    "sd3": sd3.LDM,
    "sd3, diffusers": sd3.DIFFUSERS,
    "lumina": lumina.LDM,
    "qwen-image": qwen_image.QWEN,
}


@dataclass(frozen=True)
class Layer:
    """One Linear whose weight CR-Diff prunes.

    Attributes:
        name: the module's name inside the model.
        group: ``down``, ``mid`` or ``up``.
        block: name of the transformer block it belongs to; empty if that is none that can be skipped.
        module: the module; any class that multiplies by ``weight`` through ``torch.nn.functional.linear``.
        ends_branch: see Role.
        heads: of the attention that the layer ends; 0 if it ends none, or if the module does not tell.
        region: what of the weight may be pruned; None for all of it.
        alone: whether it has a threshold of its own, which else is its group's.
    """

    name: str
    group: str
    block: str
    module: torch.nn.Module
    ends_branch: bool = False
    heads: int = 0
    region: Region | None = None
    alone: bool = False

    @classmethod
    def of(cls, name: str, role: Role, module: torch.nn.Module, layers: str, *, alone: bool, heads: int = 0) -> Layer:
        """The layer of a role, as a set of layers holds it."""
        block = role.block if role.one_stream else ""
        return cls(name, role.group, block, module, role.ends_branch, heads, role.region_in(layers), alone)

    @property
    def unit(self) -> str:
        """The name of what shares its threshold."""
        return self.name if self.alone else self.group

    @cached_property
    def features(self) -> tuple[int, int]:
        """(out, in) features."""
        return _features(self.module)

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in) of what of it may be pruned."""
        return self.features if self.region is None else self.region.shape(self.features)


@dataclass(frozen=True)
class ModelLayers:
    """The layers of a live model that may be pruned.

    Attributes:
        layers: those that the scope holds, in module order.
        family: of the model.
        architecture: that knows it.
        prunable: the layers that any scope holds, whole.
        scope: what was chosen of the layers and thresholds, in words; empty where it is what a UNet always has.
    """

    layers: tuple[Layer, ...]
    family: Family
    architecture: Architecture
    prunable: tuple[Layer, ...]
    scope: str = ""

    def group(self, name: str) -> tuple[Layer, ...]:
        """The layers of one group; empty where the model has none, as SSD-1B's mid group."""
        return tuple(layer for layer in self.layers if layer.group == name)


def known_families() -> tuple[Family, ...]:
    """The families of all architectures."""
    families = (family for architecture in ARCHITECTURES.values() for family in architecture.families)
    return tuple(dict.fromkeys(families))


def family_named(value: str) -> Family | None:
    """The family whose key in files and in the API is ``value``, ``other`` included; None if there is none."""
    return next((family for family in (*known_families(), OTHER) if family.value == value), None)


def roles_of(names: Iterable[str]) -> tuple[Architecture, Mapping[str, Role]] | None:
    """The architecture that prunes some of the Linears of these module names, and their roles; None if none does."""
    names = list(names)
    for architecture in ARCHITECTURES.values():
        roles = architecture.roles(names)
        if any(role.pruned for role in roles.values()):
            return architecture, roles
    return None


def has_own_thresholds(family: Family, scope: Scope) -> bool:
    """Whether each layer of a model of this family has a threshold of its own."""
    if scope.threshold == AUTO_THRESHOLD:
        return family.transformer
    return scope.threshold == BY_LAYER


def find_layers(model: torch.nn.Module, scope: Scope = Scope()) -> ModelLayers:  # noqa: B008 (frozen)
    """The layers of ``model`` that may be pruned.

    Args:
        model: the model.
        scope: which of its layers.

    Raises:
        UnsupportedModelError: the model has none, as unknown architectures and replaced UNets.
    """
    modules = dict(model.named_modules())
    for architecture in ARCHITECTURES.values():
        # By name first: most modules of a model have no role, and asking them for a weight they lack takes long.
        roles = {name: role for name, role in architecture.roles(modules).items() if _is_linear(modules[name])}
        if any(role.pruned for role in roles.values()):
            return _layers_of(architecture, modules, roles, scope)
    raise UnsupportedModelError(
        f"CR-Diff does not support this model ({type(model).__name__}): it has no transformer blocks that it could "
        "prune, as UNets and the transformers of Flux, SD3, Chroma, Lumina 2, Z-Image and Qwen-Image have."
    )


def _heads(name: str, role: Role, modules: Mapping[str, torch.nn.Module]) -> int:
    """See Layer; by the attribute that attention has in every implementation of it."""
    while role.ends_branch and name != role.block and name:
        heads = getattr(modules.get(name), "heads", None)
        if isinstance(heads, int):
            return heads
        name = name.rpartition(".")[0]
    return 0


def _layers_of(
    architecture: Architecture, modules: Mapping[str, torch.nn.Module], roles: Mapping[str, Role], scope: Scope
) -> ModelLayers:
    family = architecture.family({name: _features(modules[name]) for name in roles})
    alone = has_own_thresholds(family, scope)

    def held_by(layers: str) -> tuple[Layer, ...]:
        held = {name: role for name, role in roles.items() if role.pruned_in(layers)}
        return tuple(
            Layer.of(name, role, modules[name], layers, alone=alone, heads=_heads(name, role, modules))
            for name, role in held.items()
        )

    key = _scope_key(family, scope.layers, alone)
    return ModelLayers(held_by(scope.layers), family, architecture, held_by(ATTENTION), key)


def _scope_key(family: Family, layers: str, alone: bool) -> str:
    if family.transformer:
        return f"{layers}, by {BY_LAYER if alone else BY_GROUP}"
    return f"by {BY_LAYER}" if alone else ""


def _features(module: torch.nn.Module) -> tuple[int, int]:
    """(out, in). Quantised storage hides them in ``weight.shape``, so the attributes come first."""
    shape = tuple(getattr(getattr(module, "weight", None), "shape", (0, 0)))
    return (getattr(module, "out_features", shape[0]), getattr(module, "in_features", shape[-1]))


def _is_linear(module: torch.nn.Module) -> bool:
    """By weight, not by class: hosts bring their own Linear, which need not derive from nn.Linear."""
    weight = getattr(module, "weight", None)
    # Some quantised weights have a shape of their own storage, but two dimensions all the same.
    return getattr(weight, "ndim", None) == 2 and hasattr(weight, "data_ptr")
