"""``<name:arg:arg>`` in prompts: taking it out of the text, and switching the named networks on and off."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from typing import Any

from modules import errors

extra_network_registry: dict[str, ExtraNetwork] = {}


class ExtraNetworkParams:
    def __init__(self, items: list | None = None) -> None:
        self.items = items or []
        self.positional: list[Any] = []
        self.named: dict[str, str] = {}
        for item in self.items:
            name, equals, value = item.partition("=") if isinstance(item, str) else (item, "", "")
            if equals:
                self.named[name] = value
            else:
                self.positional.append(item)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ExtraNetworkParams) and self.items == other.items


class ExtraNetwork:
    def __init__(self, name: str) -> None:
        self.name = name

    def activate(self, p: Any, params_list: list[ExtraNetworkParams]) -> None:
        """Called for every batch, also with an empty list, which means: no effect from now on."""
        raise NotImplementedError

    def deactivate(self, p: Any) -> None:
        raise NotImplementedError


def initialize() -> None:
    extra_network_registry.clear()


def register_extra_network(extra_network: ExtraNetwork) -> None:
    extra_network_registry[extra_network.name] = extra_network


def lookup_extra_networks(extra_network_data: dict) -> dict[ExtraNetwork, list[ExtraNetworkParams]]:
    found: dict[ExtraNetwork, list[ExtraNetworkParams]] = {}
    for name, args in list((extra_network_data or {}).items()):
        network = extra_network_registry.get(name)
        if network is None:
            logging.info("Skipping unknown extra network: %s", name)
            continue
        found.setdefault(network, []).extend(args)
    return found


def activate(p: Any, extra_network_data: dict) -> None:
    """The networks named in the prompt first, then every other registered one with nothing."""
    named = lookup_extra_networks(extra_network_data)
    others = {x: [] for x in extra_network_registry.values() if x not in named}
    for network, args in {**named, **others}.items():
        try:
            network.activate(p, args)
        except Exception as e:
            errors.display(e, f"activating extra network {network.name} with arguments {args}")
    if p.scripts is not None:
        p.scripts.after_extra_networks_activate(p, batch_number=p.iteration, prompts=p.prompts, seeds=p.seeds,
                                                subseeds=p.subseeds, extra_network_data=extra_network_data)


def deactivate(p: Any, extra_network_data: dict) -> None:
    named = lookup_extra_networks(extra_network_data)
    for network in [*named, *(x for x in extra_network_registry.values() if x not in named)]:
        try:
            network.deactivate(p)
        except Exception as e:
            errors.display(e, f"deactivating extra network {network.name}")


re_extra_net = re.compile(r"<(\w+):([^>]+)>")


def parse_prompt(prompt: str) -> tuple[str, dict[str, list[ExtraNetworkParams]]]:
    found: dict[str, list[ExtraNetworkParams]] = defaultdict(list)

    def take(match: re.Match[str]) -> str:
        found[match.group(1)].append(ExtraNetworkParams(items=match.group(2).split(":")))
        return ""

    return re_extra_net.sub(take, prompt), found


def parse_prompts(prompts: list[str]) -> tuple[list[str], dict | None]:
    """The networks of the first prompt hold for the whole batch."""
    parsed = [parse_prompt(prompt) for prompt in prompts]
    return [text for text, _ in parsed], parsed[0][1] if parsed else None
