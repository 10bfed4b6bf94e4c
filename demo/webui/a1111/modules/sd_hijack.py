"""The comments that model code leaves for a job. Nothing is hijacked: this host's model is made to measure."""

from __future__ import annotations

from typing import Any


class StableDiffusionModelHijack:
    def __init__(self) -> None:
        self.comments: list[str] = []
        self.extra_generation_params: dict[str, Any] = {}

    def clear_comments(self) -> None:
        self.comments = []
        self.extra_generation_params = {}


model_hijack = StableDiffusionModelHijack()
