"""What CR-Diff has to know of a kind of model, and the layers it prunes in one.

An architecture is one file behind the registry ``ARCHITECTURES``: it tells a layer's role by its name, the family by
the layers' shapes, and what both passes of a step have in common.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from crdiff.errors import UnsupportedModelError
from crdiff.models.family import OTHER, Family
from crdiff.models.unet import UNet

if TYPE_CHECKING:
    import torch

    from crdiff.models.role import Role

Shapes = Mapping[str, tuple[int, ...]]
"""(out, in) of Linears, by module name."""


class Architecture(Protocol):
    """A kind of model."""

    families: tuple[Family, ...]
    """The families with presets of their own."""

    def role(self, name: str) -> Role | None:
        """The role of a Linear by its module name, in a live model or a checkpoint file; None if it has none."""

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


ARCHITECTURES: dict[str, Architecture] = {"unet": UNet()}


@dataclass(frozen=True)
class Layer:
    """One Linear whose weight CR-Diff prunes.

    Attributes:
        name: the module's name inside the model.
        group: ``down``, ``mid`` or ``up``.
        block: name of the transformer block it belongs to.
        module: the module; any class that multiplies by ``weight`` through ``torch.nn.functional.linear``.
        ends_branch: see Role.
        heads: of the attention that the layer ends; 0 if it ends none, or if the module does not tell.
    """

    name: str
    group: str
    block: str
    module: torch.nn.Module
    ends_branch: bool = False
    heads: int = 0

    @cached_property
    def features(self) -> tuple[int, int]:
        """(out, in) features. Quantised storage hides them in ``weight.shape``, so the attributes come first."""
        weight = getattr(self.module, "weight", None)
        shape = tuple(getattr(weight, "shape", (0, 0)))
        return (getattr(self.module, "out_features", shape[0]), getattr(self.module, "in_features", shape[-1]))


@dataclass(frozen=True)
class ModelLayers:
    """The layers of a live model that may be pruned.

    Attributes:
        layers: in module order.
        family: of the model.
        architecture: that knows it.
    """

    layers: tuple[Layer, ...]
    family: Family
    architecture: Architecture

    def group(self, name: str) -> tuple[Layer, ...]:
        """The layers of one group; empty where the model has none, as SSD-1B's mid group."""
        return tuple(layer for layer in self.layers if layer.group == name)


def known_families() -> tuple[Family, ...]:
    """The families of all architectures."""
    return tuple(family for architecture in ARCHITECTURES.values() for family in architecture.families)


def family_named(value: str) -> Family | None:
    """The family whose key in files and in the API is ``value``, ``other`` included; None if there is none."""
    return next((family for family in (*known_families(), OTHER) if family.value == value), None)


def architecture_of(names: Iterable[str]) -> Architecture | None:
    """The architecture that prunes some of the Linears of these module names; None if none does."""
    names = list(names)
    for architecture in ARCHITECTURES.values():
        if any((role := architecture.role(name)) is not None and role.pruned for name in names):
            return architecture
    return None


def find_layers(model: torch.nn.Module) -> ModelLayers:
    """The layers of ``model`` that may be pruned.

    Raises:
        UnsupportedModelError: the model has none, as unknown architectures and replaced UNets.
    """
    modules = dict(model.named_modules())
    for architecture in ARCHITECTURES.values():
        # By name first: most modules of a UNet have no role, and asking them for a weight they lack takes long.
        roles = {name: role for name in modules if (role := architecture.role(name)) is not None}
        found = {
            name: Layer(name, role.group, role.block, modules[name], role.ends_branch, _heads(name, role, modules))
            for name, role in roles.items()
            if _is_linear(modules[name])
        }
        layers = tuple(layer for name, layer in found.items() if roles[name].pruned)
        if layers:
            family = architecture.family({name: layer.features for name, layer in found.items()})
            return ModelLayers(layers, family, architecture)
    raise UnsupportedModelError(
        f"CR-Diff does not support this model ({type(model).__name__}): it has no UNet transformer blocks to prune."
    )


def _heads(name: str, role: Role, modules: Mapping[str, torch.nn.Module]) -> int:
    """See Layer; by the attribute that attention has in every implementation of it."""
    while role.ends_branch and name != role.block and name:
        heads = getattr(modules.get(name), "heads", None)
        if isinstance(heads, int):
            return heads
        name = name.rpartition(".")[0]
    return 0


def _is_linear(module: torch.nn.Module) -> bool:
    """By weight, not by class: hosts bring their own Linear, which need not derive from nn.Linear."""
    weight = getattr(module, "weight", None)
    # Some quantised weights have a shape of their own storage, but two dimensions all the same.
    return getattr(weight, "ndim", None) == 2 and hasattr(weight, "data_ptr")
