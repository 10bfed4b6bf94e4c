"""The extensions: the built-in ones of the flavour, those in the data folder, and those given on the command line."""

from __future__ import annotations

import os
from dataclasses import dataclass

from common import config as _config
from modules import errors
from modules.paths_internal import extensions_builtin_dir, extensions_dir

extensions: list[Extension] = []


@dataclass
class Extension:
    name: str
    path: str
    enabled: bool = True
    is_builtin: bool = False

    def list_files(self, subdir: str, extension: str) -> list:
        from modules import scripts

        folder = os.path.join(self.path, subdir)
        names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        files = [scripts.ScriptFile(self.path, name, os.path.join(folder, name)) for name in names]
        return [x for x in files if os.path.splitext(x.path)[1].lower() == extension and os.path.isfile(x.path)]


def active() -> list[Extension]:
    return [x for x in extensions if x.enabled]


def list_extensions() -> None:
    extensions.clear()
    folders: list[tuple[str, bool]] = []
    for parent in (extensions_builtin_dir, extensions_dir):
        if os.path.isdir(parent):
            folders += [(os.path.join(parent, x), parent == extensions_builtin_dir) for x in sorted(os.listdir(parent))]
    given = [(str(path), False) for path in _config.current().extensions]
    # Installed ones go by folder name; those from the command line keep the order they were given in.
    for path, is_builtin in folders + given:
        if not os.path.isdir(path):
            continue
        name = os.path.basename(path)
        if any(x.name.lower() == name.lower() for x in extensions):
            errors.report(f'Duplicate canonical name "{name.lower()}": {path} is left out.')
            continue
        extensions.append(Extension(name, path, is_builtin=is_builtin))
