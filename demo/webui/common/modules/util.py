"""Small helpers the host shares with extensions."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from modules.paths_internal import script_path


def natural_sort_key(s: str, regex: re.Pattern[str] = re.compile("([0-9]+)")) -> list:
    return [int(part) if part.isdigit() else part.lower() for part in regex.split(s)]


def listfiles(dirname: str) -> list[str]:
    names = sorted(os.listdir(dirname), key=natural_sort_key)
    paths = [os.path.join(dirname, name) for name in names if not name.startswith(".")]
    return [path for path in paths if os.path.isfile(path)]


def walk_files(path: str, allowed_extensions: list[str] | None = None) -> Iterator[str]:
    if not os.path.exists(path):
        return
    for root, _dirs, files in os.walk(path, followlinks=True):
        for name in sorted(files, key=natural_sort_key):
            if allowed_extensions is None or os.path.splitext(name)[1].lower() in allowed_extensions:
                yield os.path.join(root, name)


def html_path(filename: str) -> str:
    return os.path.join(script_path, "html", filename)


def truncate_path(target_path: str, base_path: str = script_path) -> str:
    absolute = os.path.abspath(target_path)
    try:
        if os.path.commonpath([absolute, base_path]) == base_path:
            return os.path.relpath(absolute, base_path)
    except ValueError:
        pass
    return absolute


def topological_sort(dependencies: dict[str, list[str]]) -> list[str]:
    """Names in an order where each comes after those it depends on; a cycle is cut where it is met."""
    done: list[str] = []
    seen: set[str] = set()

    def visit(name: str) -> None:
        if name in seen or name not in dependencies:
            return
        seen.add(name)
        for other in dependencies[name]:
            visit(other)
        done.append(name)

    for name in dependencies:
        visit(name)
    return done
