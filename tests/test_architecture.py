"""The house: who may import whom, held as data and checked against the real imports."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import understudy

ROOT = Path(understudy.__file__).parent
WEB = {"uvicorn", "uvloop", "httptools", "msgspec", "prometheus_client"}
# room: (rooms it may import, third-party it may import at module level, third-party it may never import)
HEAVY = {"torch", "transformers", "onnx", "scipy", "matplotlib"}
TABLE: dict[str, tuple[set[str], set[str], set[str]]] = {
    "errors": (set(), set(), HEAVY | {"numpy", "onnxruntime"}),
    "_version": (set(), set(), HEAVY | {"numpy", "onnxruntime"}),
    "home": (set(), set(), HEAVY | {"numpy", "onnxruntime"}),
    "units": ({"errors"}, set(), HEAVY | {"numpy", "onnxruntime"}),
    "dials": (set(), set(), HEAVY | {"numpy", "onnxruntime"}),
    "tasks": ({"errors"}, {"numpy"}, {"torch", "onnxruntime", "transformers"}),
    "bundle": ({"tasks", "errors"}, set(), {"torch", "onnxruntime", "onnx"}),
    "run": ({"bundle", "tasks", "errors"}, {"numpy", "onnxruntime", "tokenizers"}, HEAVY),
    "proof": ({"tasks", "errors", "units"}, {"numpy"}, {"torch", "onnxruntime", "transformers"}),
    "fleet": ({"run", "bundle", "tasks", "proof", "errors", "home", "units", "dials"}, {"numpy"}, HEAVY | WEB),
    "serve": ({"fleet", "run", "bundle", "tasks", "errors", "home", "units", "dials", "_version"}, {"numpy", *WEB}, HEAVY | {"onnxruntime"}),
    # Features and the linear solver must be the same code in training and in answering: models may look at run and teach.
    "models": ({"run", "teach", "tasks", "errors", "home"}, {"numpy", "torch", "transformers", "tokenizers"}, {"onnxruntime"}),
    "teach": ({"models", "tasks", "errors", "home"}, {"numpy", "torch"}, {"onnxruntime"}),
    "shrink": ({"models", "run", "bundle", "tasks", "errors"}, {"numpy", "torch", "onnx"}, set()),
    "recipes": ({"models", "teach", "shrink", "proof", "bundle", "run", "tasks", "errors", "home", "units", "dials", "_version"}, {"numpy", "torch"}, WEB),
    "cli": ({"errors", "_version", "recipes.config", "recipes.events", "recipes.text", "serve.config"}, {"click"}, {"torch"}),
    "__init__": ({"errors", "_version"}, set(), HEAVY | {"numpy", "onnxruntime"}),
}
# cli touches every room, but only inside the function that needs it.
ANYWHERE_INSIDE = {"cli", "__init__"}


def room_of(path: Path, root: Path = ROOT) -> str:
    return path.relative_to(root).parts[0].removesuffix(".py")


def imports(path: Path, root: Path = ROOT) -> list[tuple[str, bool]]:
    """(absolute module name, whether at module level) of every import in a file; TYPE_CHECKING blocks do not count."""
    tree, found = ast.parse(path.read_text("utf-8")), []
    package = ["understudy", *path.relative_to(root).with_suffix("").parts]

    def walk(node: ast.AST, top: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                continue
            if isinstance(child, ast.Import):
                found.extend((alias.name, top) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                base = package[: -child.level] if child.level else []
                whole = ".".join([*base, *([child.module] if child.module else [])])
                found.extend((f"{whole}.{alias.name}" if child.module is None else whole, top) for alias in child.names)
            walk(child, top and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))

    walk(tree, True)
    return found


def breaches(root: Path = ROOT) -> list[str]:
    """Every import that the table does not allow."""
    out = []
    for path in sorted(root.rglob("*.py")):
        room, where = room_of(path, root), path.relative_to(root)
        if room not in TABLE:
            out.append(f"{where}: the room '{room}' is not in the table")
            continue
        allowed, outside, never = TABLE[room]
        for name, top in imports(path, root):
            parts = name.split(".")
            if parts[0] == "understudy":
                target = parts[1] if len(parts) > 1 else "__init__"
                fine = target == room or target in allowed or ".".join(parts[1:3]) in allowed or (room in ANYWHERE_INSIDE and not top)
                if not fine:
                    out.append(f"{where}: '{room}' may not import '{target}'")
            elif parts[0] not in sys.stdlib_module_names and (parts[0] in never or (top and parts[0] not in outside)):
                out.append(f"{where}: '{room}' may not import {parts[0]}" + (" at module level" if top else ""))
    return out


def test_every_import_is_in_the_table():
    assert breaches() == []


def test_a_wrong_import_would_be_found(tmp_path):
    for room in ("run", "proof", "attic"):
        (tmp_path / room).mkdir()
    (tmp_path / "run" / "x.py").write_text("def f():\n    import torch\n    from ..teach import loop\n")
    (tmp_path / "proof" / "y.py").write_text("import scipy\nfrom understudy.run import answer\n")
    (tmp_path / "attic" / "z.py").write_text("")
    assert breaches(tmp_path) == [
        "attic/z.py: the room 'attic' is not in the table",
        "proof/y.py: 'proof' may not import scipy at module level",
        "proof/y.py: 'proof' may not import 'run'",
        "run/x.py: 'run' may not import torch",
        "run/x.py: 'run' may not import 'teach'",
    ]


def test_nobody_imports_cli():
    assert [str(path) for path in ROOT.rglob("*.py") if room_of(path) != "cli" for name, _ in imports(path) if name.startswith("understudy.cli")] == []


def _sizes(root: Path) -> list[str]:
    out = []
    for path in sorted(root.rglob("*.py")):
        text = path.read_text("utf-8")
        if text.count("\n") > 300:
            out.append(f"{path.relative_to(root)}: {text.count(chr(10))} lines")
        out += [f"{path.relative_to(root)}: {node.name} has {(node.end_lineno or 0) - node.lineno + 1} lines" for node in ast.walk(ast.parse(text))
                if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno + 1 > 50]
    return out


def test_files_stay_below_300_lines_and_functions_below_50():
    assert _sizes(ROOT) == []


def test_a_long_file_would_be_found(tmp_path):
    (tmp_path / "long.py").write_text("x = 1\n" * 301 + "def f():\n" + "    y = 2\n" * 60)
    assert _sizes(tmp_path) == ["long.py: 362 lines", "long.py: f has 61 lines"]
