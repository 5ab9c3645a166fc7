"""The house keeps its order: a module imports only from rooms above its own, and importing opens nothing."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import gateway

ROOT = Path(gateway.__file__).parent
RANK = {room: rank for rank, rooms in enumerate(gateway.LAYERS) for room in rooms}


def modules() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def room_of(path: Path) -> str:
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write it in full"
            module = node.module or ""
            names = [f"{module}.{alias.name}" for alias in node.names] if module == "gateway" else [module]
        found |= {name.split(".")[1] for name in names if name.startswith("gateway.")}
    return found & RANK.keys() | {name for name in found if (ROOT / name).is_dir() or (ROOT / f"{name}.py").exists()}


def test_every_room_has_its_place_in_the_order() -> None:
    assert {room_of(path) for path in modules()} <= RANK.keys()


def test_imports_go_upward_only() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {other}"
        for path in modules()
        for other in imported_rooms(path)
        if other != room_of(path) and RANK[other] >= RANK[room_of(path)]
    ]
    assert wrong == []


def test_analysis_and_policy_never_import_each_other() -> None:
    for path in modules():
        if room_of(path) == "analysis":
            assert "policy" not in imported_rooms(path), path
        if room_of(path) == "policy":
            assert "analysis" not in imported_rooms(path), path


def test_importing_every_module_reads_no_environment_and_opens_no_file(tmp_path: Path) -> None:
    names = [".".join(("gateway", *path.relative_to(ROOT).with_suffix("").parts)) for path in modules()]
    names = [name.removesuffix(".__init__") for name in names if not name.endswith("__main__")]
    program = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)"
    environment = {**os.environ, "DISTILLGUARD_PORT": "no number", "DISTILLGUARD_STATE_DIR": str(tmp_path / "state")}
    done = subprocess.run(
        [sys.executable, "-c", program, *names], cwd=tmp_path, env=environment, capture_output=True, check=False
    )
    assert done.stderr == b""
    assert done.returncode == 0
    assert list(tmp_path.iterdir()) == []
