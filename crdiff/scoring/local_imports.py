"""Imports of what lies beside a user's file, as Python has them for a script, and for that file's code only."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType


class LocalImports:
    """Modules in the folder of a user's file, which its own code can import and nobody else.

    A WebUI may have a ``utils`` or ``models`` of its own, so neither ``sys.path`` nor ``sys.modules`` shows them once
    the file's code has returned.

    Args:
        folder: of the file.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._modules: dict[str, ModuleType] = {}

    @contextmanager
    def importable(self) -> Iterator[None]:
        """Around every call into the file's code."""
        names = _importable_names(self._folder)
        others = _taken_out(names)
        sys.modules.update(self._modules)
        sys.path.insert(0, str(self._folder))
        importlib.invalidate_caches()  # a file may be newer than what Python knows of the folder
        try:
            yield
        finally:
            with suppress(ValueError):  # the file's code may have changed it
                sys.path.remove(str(self._folder))
            self._modules = _taken_out(names)
            sys.modules.update(others)


def versions(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Name, time of change and size of every Python file in a folder; differ where one was changed."""
    found = []
    for path in sorted(folder.glob("*.py")):
        try:
            stat = path.stat()
        except OSError:  # removed meanwhile
            continue
        found.append((path.name, stat.st_mtime_ns, stat.st_size))
    return tuple(found)


def _importable_names(folder: Path) -> frozenset[str]:
    """The modules and packages in a folder, but for those that would hide one of Python's own from everybody."""
    found = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    return frozenset(found - sys.stdlib_module_names)


def _taken_out(names: frozenset[str]) -> dict[str, ModuleType]:
    """Remove modules of these top-level names, and what is in them, from those that Python knows."""
    found = [name for name in list(sys.modules) if name.partition(".")[0] in names]
    return {name: sys.modules.pop(name) for name in found}
