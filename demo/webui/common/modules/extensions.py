"""The extensions: the built-in ones of the flavour, those in the data folder, and those given on the command line."""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from common import config as _config
from modules import errors, shared
from modules.paths_internal import extensions_builtin_dir, extensions_dir

extensions: list[Extension] = []
extension_paths: dict[str, Extension] = {}
loaded_extensions: dict[str, Extension] = {}


@dataclass
class CallbackOrderInfo:
    name: str
    before: list[str]
    after: list[str]


class ExtensionMetadata:
    """``metadata.ini``. The canonical name is the folder's, lower-cased, whatever the file says."""

    filename = "metadata.ini"

    def __init__(self, path: str, canonical_name: str) -> None:
        self.config = configparser.ConfigParser()
        try:
            self.config.read(os.path.join(path, self.filename))
        except Exception:
            errors.report(f"Error reading {self.filename} for extension {canonical_name}.", exc_info=True)
        self.canonical_name = canonical_name.lower().strip()
        self.requires: list[str] | None = None

    def parse_list(self, text: str) -> list[str]:
        return [x for x in re.split(r"[,\s]+", text.strip()) if x]

    def get_script_requirements(self, field: str, section: str, extra_section: str | None = None) -> list[str]:
        text = self.config.get(section, field, fallback="")
        if extra_section:
            text += ", " + self.config.get(extra_section, field, fallback="")
        names = self.parse_list(text.lower())
        return [next((x for x in name.split("|") if x in loaded_extensions), name) for name in names]

    def list_callback_order_instructions(self) -> Iterator[CallbackOrderInfo]:
        for section in self.config.sections():
            if not section.startswith("callbacks/"):
                continue
            name = section[len("callbacks/"):]
            if not name.startswith(self.canonical_name):
                errors.report(f"Callback order section for extension {self.canonical_name} names another: {section}")
                continue
            before, after = (self.parse_list(self.config.get(section, k, fallback="")) for k in ("Before", "After"))
            yield CallbackOrderInfo(name, before, after)


class Extension:
    def __init__(self, name: str, path: str, enabled: bool = True, is_builtin: bool = False,
                 metadata: ExtensionMetadata | None = None) -> None:
        self.name = name
        self.path = path
        self.enabled = enabled
        self.is_builtin = is_builtin
        self.status = ""
        self.version = ""
        self.branch = self.remote = self.commit_date = None
        self.commit_hash = ""
        self.metadata = metadata or ExtensionMetadata(path, name)
        self.canonical_name = self.metadata.canonical_name

    def read_info_from_repo(self) -> None:
        """The stand-in does not look into git."""

    def list_files(self, subdir: str, extension: str) -> list:
        from modules import scripts

        folder = os.path.join(self.path, subdir)
        names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        files = [scripts.ScriptFile(self.path, name, os.path.join(folder, name)) for name in names]
        return [x for x in files if os.path.splitext(x.path)[1].lower() == extension and os.path.isfile(x.path)]


def active() -> list[Extension]:
    if shared.cmd_opts.disable_all_extensions or shared.opts.disable_all_extensions == "all":
        return []
    if shared.cmd_opts.disable_extra_extensions or shared.opts.disable_all_extensions == "extra":
        return [x for x in extensions if x.enabled and x.is_builtin]
    return [x for x in extensions if x.enabled]


def list_extensions() -> None:
    extensions.clear()
    extension_paths.clear()
    loaded_extensions.clear()
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
        extension = Extension(name, path, is_builtin=is_builtin)
        if extension.canonical_name in loaded_extensions:
            errors.report(f'Duplicate canonical name "{extension.canonical_name}": {path} is left out.')
            continue
        extensions.append(extension)
        extension_paths[extension.path] = extension
        loaded_extensions[extension.canonical_name] = extension


def find_extension(filename: str) -> Extension | None:
    """The extension a file belongs to, by the nearest folder above it."""
    folder = os.path.dirname(os.path.realpath(filename))
    while True:
        for path, extension in extension_paths.items():
            if os.path.realpath(path) == folder:
                return extension
        parent = os.path.dirname(folder)
        if parent == folder:
            return None
        folder = parent
