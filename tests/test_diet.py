"""What importing and answering may load, checked in fresh processes; and what the code may never call."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import understudy

ROOT = Path(understudy.__file__).parent
WORKSHOP = ("torch", "transformers", "onnx", "scipy", "matplotlib", "sklearn")


def loaded(code: str, names: tuple[str, ...]) -> list[str]:
    """Which of `names` are loaded after running `code` in a fresh interpreter."""
    probe = f"import sys\n{code}\nprint(' '.join(n for n in {names!r} if n in sys.modules))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split() if done.stdout.strip() else []


@pytest.mark.parametrize("module", ["understudy", "understudy.tasks.reading", "understudy.bundle", "understudy.run.answer", "understudy.run.kinds.encoder",
                                    "understudy.proof.receipt", "understudy.proof.certify", "understudy.recipes.proving", "understudy.recipes.inspecting", "understudy.fleet.fleet", "understudy.fleet.generation", "understudy.serve.server"])
def test_the_shop_floor_never_sees_the_workshop(module):
    assert loaded(f"import {module}", WORKSHOP) == []


def test_the_check_can_fail():
    assert loaded("import understudy.teach.linear", WORKSHOP) == ["torch"]


def test_the_front_door_is_light():
    assert loaded("import understudy", ("numpy", "onnxruntime", "click", "tokenizers")) == []
    assert loaded("from understudy.cli import _run; _run(['--help'], as_json=False)", ("numpy", "onnxruntime")) == []


BANNED_MODULES = {"pickle", "marshal", "shelve", "joblib", "dill", "cloudpickle"}
BANNED_CALLS = {"eval", "exec", "compile", "torch.load", "yaml.load", "torch.jit.load"}
BANNED_FLAGS = {("allow_pickle", True), ("trust_remote_code", True), ("shell", True)}


def dangers(source: str) -> list[str]:
    """Calls and imports that could run what a file says."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        found += [name for name in names if name.split(".")[0] in BANNED_MODULES]
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in BANNED_CALLS:
                found.append(name)
            found += [str(keyword.arg) for keyword in node.keywords
                      if isinstance(keyword.value, ast.Constant) and (keyword.arg, keyword.value.value) in BANNED_FLAGS]
    return found


def test_nothing_in_the_package_runs_what_a_file_says():
    assert {str(path): found for path in ROOT.rglob("*.py") if (found := dangers(path.read_text("utf-8")))} == {}


def test_a_danger_would_be_found():
    assert dangers("import pickle\neval('1')\nnp.load(f, allow_pickle=True)\nimport torch\ntorch.load(f)\n") == ["pickle", "eval", "allow_pickle", "torch.load"]
