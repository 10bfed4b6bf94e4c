"""The checkpoint files the host knows, and the many names each goes by."""

from __future__ import annotations

import hashlib
import os
import re
from typing import Any

from modules import hashes, paths, shared, util

model_path = os.path.abspath(os.path.join(paths.models_path, "Stable-diffusion"))
checkpoints_list: dict[str, CheckpointInfo] = {}
checkpoint_aliases: dict[str, CheckpointInfo] = {}


def model_hash(filename: str) -> str:
    """The old short hash of a small part of the file; files this small all share it."""
    try:
        with open(filename, "rb") as file:
            file.seek(0x100000)
            return hashlib.sha256(file.read(0x10000)).hexdigest()[:8]
    except FileNotFoundError:
        return "NOFILE"


class CheckpointInfo:
    def __init__(self, filename: str) -> None:
        self.filename = filename
        absolute = os.path.abspath(filename)
        inside = absolute.startswith(model_path)
        self.name = absolute[len(model_path):].lstrip("/\\") if inside else os.path.basename(filename)
        self.name_for_extra = os.path.splitext(os.path.basename(filename))[0]
        self.model_name = os.path.splitext(self.name.replace("/", "_").replace("\\", "_"))[0]
        self.metadata: dict[str, Any] = {}
        self.hash = model_hash(filename)
        self.sha256 = hashes.sha256_from_cache(filename, f"checkpoint/{self.name}")
        self.ids = [self.hash, self.model_name, self.name, self.name_for_extra, f"{self.name} [{self.hash}]"]
        self._name_by_hash()

    def _name_by_hash(self) -> None:
        self.shorthash = self.sha256[:10] if self.sha256 else None
        tail = f" [{self.shorthash}]" if self.shorthash else ""
        self.title = self.name + tail
        self.short_title = self.name_for_extra + tail
        ids = [self.title, self.short_title, *([self.shorthash, self.sha256] if self.shorthash else [])]
        self.ids += [x for x in ids if x not in self.ids]

    def register(self) -> None:
        checkpoints_list[self.title] = self
        for name in self.ids:
            checkpoint_aliases[name] = self

    def calculate_shorthash(self) -> str | None:
        """Hashes the whole file. The title gains the hash, so it changes the first time a checkpoint is loaded."""
        self.sha256 = hashes.sha256(self.filename, f"checkpoint/{self.name}")
        if self.shorthash == self.sha256[:10]:
            return self.shorthash
        old_title = self.title
        self._name_by_hash()
        renamed = {self.title if k == old_title else k: v for k, v in checkpoints_list.items()}
        checkpoints_list.clear()
        checkpoints_list.update(renamed)
        self.register()
        return self.shorthash


def list_models() -> None:
    checkpoints_list.clear()
    checkpoint_aliases.clear()
    os.makedirs(model_path, exist_ok=True)
    for filename in util.walk_files(model_path, [".safetensors"]):
        CheckpointInfo(filename).register()


def checkpoint_tiles(use_short: bool = False) -> list[str]:
    return [x.short_title if use_short else x.title for x in checkpoints_list.values()]


def get_closet_checkpoint_match(search_string: str | None) -> CheckpointInfo | None:
    """By one of its names, else by a part of its title, with or without a hash behind it."""
    if not search_string:
        return None
    if search_string in checkpoint_aliases:
        return checkpoint_aliases[search_string]
    for text in (search_string, re.sub(r"\s*\[[^]]+]\s*$", "", search_string)):
        found = [info for info in checkpoints_list.values() if text in info.title]
        if found:
            return min(found, key=lambda x: len(x.title))
    return None


def select_checkpoint() -> CheckpointInfo:
    wanted = shared.opts.sd_model_checkpoint
    if wanted in checkpoint_aliases:
        return checkpoint_aliases[wanted]
    if not checkpoints_list:
        raise FileNotFoundError(f"No checkpoints found in {model_path}. Can't run without a checkpoint.")
    info = next(iter(checkpoints_list.values()))
    if wanted is not None:
        print(f"Checkpoint {wanted} not found; loading fallback {info.title}")
    return info


class SkipWritingToConfig:
    """While it is entered, loading a checkpoint does not make it the chosen one."""

    skip = False
    previous = False

    def __enter__(self) -> None:
        self.previous = SkipWritingToConfig.skip
        SkipWritingToConfig.skip = True

    def __exit__(self, *_: Any) -> None:
        SkipWritingToConfig.skip = self.previous
