"""The room has no circle of imports, not even one that hides in a function."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import gateway.policy

ROOM = Path(gateway.policy.__file__).parent


def imported(path: Path) -> set[str]:
    """Modules of the room that ``path`` imports when it runs, at its top or later."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    names = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    return {name.split(".")[2] for name in names if name.startswith("gateway.policy.")}


def test_no_module_of_the_room_imports_itself_by_way_of_others() -> None:
    graph = {path.stem: imported(path) for path in ROOM.glob("*.py")}
    assert "rules" in graph["decide"]
    assert len(list(TopologicalSorter(graph).static_order())) == len(graph)  # raises CycleError with the circle
