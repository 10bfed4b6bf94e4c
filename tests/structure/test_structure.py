"""What imports what: no cycles, the hosts' modules in one package alone, and no torch where none is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HOSTS_OWN = ("gradio", "modules", "modules_forge", "backend", "ldm_patched", "networks")

Graph = Mapping[str, set[str]]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path for path in sorted((ROOT / "crdiff").rglob("*.py"))}


def imported(module: str) -> Iterator[str]:
    """Full names of what a module imports, in functions too, but not for type checkers alone."""
    path = SOURCES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) + 1 - node.level]) if node.level else ""
            origin = ".".join(part for part in (base, node.module) if part)
            for alias in node.names:
                name = f"{origin}.{alias.name}"
                yield name if name in SOURCES else origin
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting.extend(node.orelse)
        else:
            waiting.extend(ast.iter_child_nodes(node))


IMPORTS = {module: set(imported(module)) for module in SOURCES}


def of_modules() -> Graph:
    """Between modules. A package imports nothing by holding modules."""
    return {module: {name for name in names if name in SOURCES} - {module} for module, names in IMPORTS.items()}


def of_packages(package: Callable[[str], str]) -> Graph:
    """Between what ``package`` says that modules belong to."""
    graph: dict[str, set[str]] = {}
    for module, names in of_modules().items():
        here = package(module)
        graph.setdefault(here, set()).update({package(name) for name in names} - {here})
    return graph


def top_level(module: str) -> str:
    """The package in crdiff, or the module where it is in none."""
    return ".".join(module.split(".")[:2])


def folder(module: str) -> str:
    """The innermost package, or the module where that is crdiff itself."""
    inside = module if SOURCES[module].name == "__init__.py" else module.rpartition(".")[0]
    return module if inside == "crdiff" else inside


def cycles(graph: Graph) -> list[list[str]]:
    """Groups of nodes that reach one another (Tarjan, 1972)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        order[node] = low[node] = len(order)
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if other not in order:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], order[other])
        if low[node] == order[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(graph):
        visit(node)
    return found


def test_cycles_are_found():
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert cycles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_no_module_imports_itself_by_way_of_others():
    assert cycles(of_modules()) == []


@pytest.mark.parametrize("package", [top_level, folder])
def test_no_package_imports_itself_by_way_of_others(package):
    assert cycles(of_packages(package)) == []


def test_only_webui_knows_the_hosts():
    knowing = {
        module
        for module, names in IMPORTS.items()
        for name in names
        if name.split(".")[0] in HOSTS_OWN and not module.startswith("crdiff.webui")
    }
    assert knowing == set()


def test_nothing_but_webui_imports_webui():
    importing = {
        module
        for module, names in IMPORTS.items()
        if not module.startswith("crdiff.webui") and any(name.startswith("crdiff.webui") for name in names)
    }
    assert importing == set()


@pytest.mark.parametrize("module", ["crdiff", "crdiff.settings", "crdiff.search.command", "crdiff.presets.library"])
def test_no_torch_is_loaded_by(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
