"""The floors of the house: imports go down, never up, never in a circle (docs/ARCHITECTURE.md)."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.shared_data import REPOSITORY

# Bottom to top. What stands on one floor may import from its own and from those before it.
FLOORS = ("fourreal", "gen", "tracking", "recon", "viewer", "pipeline", "run_pipeline", "scripts")


def modules() -> dict[str, Path]:
    """Every module of the floors by its dotted name; a package is its ``__init__``."""
    found = {}
    for floor in FLOORS:
        for path in sorted(REPOSITORY.glob(f"{floor}.py")) + sorted(
            (REPOSITORY / floor).rglob("*.py")
        ):
            parts = path.relative_to(REPOSITORY).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """Modules of ours that a file imports: anywhere in it, also inside functions and for types."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                if name in known or node.module in known:
                    yield name if name in known else node.module


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    known = modules()
    return {name: set(imports_of(path, known)) - {name} for name, path in known.items()}


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of nodes that reach each other (Tarjan's strongly connected components)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in list(graph):
        if node not in index:
            visit(node)
    return found


def rooms(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """The same graph between rooms: a sub-package is one node, a module beside them another."""
    packages = {name for name, path in modules().items() if path.name == "__init__.py"}

    def room(module: str) -> str:
        two = ".".join(module.split(".")[:2])
        return two if two in packages else module

    merged: dict[str, set[str]] = {}
    for module, others in graph.items():
        own = room(module)
        merged.setdefault(own, set()).update({room(o) for o in others} - {own})
    return merged


def test_nothing_is_imported_from_a_higher_floor(graph):
    upward = [
        f"{module} -> {other}"
        for module, others in graph.items()
        for other in others
        if FLOORS.index(other.split(".")[0]) > FLOORS.index(module.split(".")[0])
    ]
    assert not upward, upward


def test_other_floors_come_in_through_the_public_modules(graph):
    """Scripts may look anywhere (they train and measure what is inside), the ground is public."""
    for floor in FLOORS[1:5]:
        public = {f"{floor}.{name}" for name in importlib.import_module(floor).PUBLIC}
        used = {
            other
            for module, others in graph.items()
            for other in others
            if other.startswith(f"{floor}.") and module.split(".")[0] not in (floor, "scripts")
        }
        assert used == public, f"{floor}/__init__.py: {sorted(used ^ public)}"


def test_no_module_imports_itself_through_others(graph):
    assert not circles(graph)


def test_no_room_imports_itself_through_others(graph):
    assert not circles(rooms(graph))


def test_circles_are_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
    assert circles(rooms({"gen.sync.a": {"gen.network.b"}, "gen.network.c": {"gen.sync.d"}})) == [
        ["gen.network", "gen.sync"]
    ]
