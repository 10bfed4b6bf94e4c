"""Replacement UNets exist in name only in this host."""

from __future__ import annotations

from typing import Any

import torch

from modules import script_callbacks

unet_options: list[Any] = []
current_unet_option: Any = None
current_unet: Any = None


class SdUnetOption:
    model_name: str | None = None
    label: str | None = None

    def create_unet(self) -> Any:
        raise NotImplementedError


class SdUnet(torch.nn.Module):
    def activate(self) -> None:
        pass

    def deactivate(self) -> None:
        pass


def list_unets() -> None:
    unet_options[:] = script_callbacks.list_unets_callback()


def get_unet_option(option: str | None = None) -> None:
    return None


def apply_unet(option: str | None = None) -> None:
    pass
