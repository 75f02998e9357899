"""The one gate between a name and a path: every name in a bundle passes `check_name` before anything is opened.

The rule is an allow-list, so that what a file system somewhere reads differently (a drive, a device name, a folded
letter, a look-alike slash) is refused everywhere, not only where it would do harm.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from ..errors import BundleError
from .jsonio import shown

MANIFEST = "manifest.json"
RESERVED_FILES = (MANIFEST, "checks.json", "receipt.json", "receipt.html", "README.md")
SUFFIXES = (".json", ".safetensors", ".onnx", ".txt", ".html", ".md", ".gguf")
MAX_PATH = 200
MAX_PART = 100
MAX_PARTS = 8

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*", re.ASCII)
_DEVICES = frozenset({"con", "prn", "aux", "nul", "conin$", "conout$", "clock$"}
                     | {f"{port}{n}" for port in ("com", "lpt") for n in range(10)})


def folder_of(path: str | os.PathLike[str]) -> Path:
    """The folder a user named, as a Path. Raises BundleError for a name that no file system can hold."""
    try:
        if b"\x00" in os.fsencode(path):
            raise BundleError(f"the path {shown(os.fspath(path))} holds a NUL character")
    except UnicodeEncodeError:
        raise BundleError(f"the path {shown(os.fspath(path))} holds a lone surrogate, which is not text") from None
    return Path(path)


def name_problem(name: object) -> str | None:
    """Why `name` may not be a relative path inside a bundle, in words that follow the name; None when it may."""
    if not isinstance(name, str):
        return "is not text"
    if not name:
        return "is empty"
    if len(name) > MAX_PATH:
        return f"is {len(name)} characters long (the limit is {MAX_PATH})"
    for mark, reason in (("\x00", "holds a NUL character"), ("\\", "holds a backslash"), (":", "holds a colon, as a drive or a stream would"),
                         ("%", "holds a percent sign, as an encoded path would")):
        if mark in name:
            return reason
    if not name.isascii():
        return "holds a character outside ASCII"
    if name.startswith("/"):
        return "is an absolute path"
    parts = name.split("/")
    if len(parts) > MAX_PARTS:
        return f"is {len(parts)} levels deep (the limit is {MAX_PARTS})"
    return next((reason for reason in map(_part_problem, parts) if reason), None)


def _part_problem(part: str) -> str | None:
    if part == "..":
        return "climbs out of the bundle"
    if part in ("", "."):
        return "holds an empty or '.' step"
    if part.split(".")[0].lower() in _DEVICES:
        return f"uses the reserved device name {part.split('.')[0]!r}"
    if len(part) > MAX_PART:
        return f"has a part of {len(part)} characters (the limit is {MAX_PART})"
    if part.endswith("."):
        return "ends a part with a dot"
    if not _PART.fullmatch(part):
        return "holds a character that is not allowed (letters, digits and . _ + - are; a part starts with a letter, digit or _)"
    return None


def check_folder_name(name: object, where: str) -> None:
    """Raises BundleError when `name` may not be a folder inside a bundle."""
    if problem := name_problem(name):
        raise BundleError(f"{where}: the path {shown(name)} {problem}")
    if str(name).split("/")[0].lower() in {reserved.lower() for reserved in RESERVED_FILES}:
        raise BundleError(f"{where}: the path {shown(name)} is reserved for a file of the bundle itself")


def suffix_problem(name: str) -> str | None:
    """Why the suffix of a file is refused: only formats that hold data and cannot hold code may travel in a bundle."""
    if name.endswith(SUFFIXES):
        return None
    return f"is of a kind that may not be in a bundle (only {', '.join(SUFFIXES)} are)"


def check_file_names(names: Iterable[str], folders: Iterable[str], where: str) -> None:
    """Raises BundleError unless every name is a safe path, of an allowed suffix, reserved or under one of `folders`,
    and no two names are the same file or file and folder to a file system that ignores case.
    """
    prefixes = tuple(f"{folder}/" for folder in folders)
    kinds: dict[str, tuple[str, bool]] = {}
    for name in names:
        if problem := name_problem(name) or suffix_problem(name):
            raise BundleError(f"{where}: the file {shown(name)} {problem}")
        if name == MANIFEST:
            raise BundleError(f"{where}: the manifest may not list itself")
        if name not in RESERVED_FILES and not name.startswith(prefixes):
            raise BundleError(f"{where}: the file {shown(name)} belongs to no rung")
        parts = name.split("/")
        for end in range(1, len(parts) + 1):
            path, is_file = "/".join(parts[:end]), end == len(parts)
            known = kinds.setdefault(path.lower(), (path, is_file))
            if known != (path, is_file):
                raise BundleError(f"{where}: the file {shown(name)} clashes with {shown(known[0])} where case is ignored")
