"""Opening a bundle: every file is read once, and what was checked is the very bytes that are handed out."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from ..errors import BundleError, UsageError
from .content import check_content
from .jsonio import shown
from .manifest import MAX_FILES, MAX_MANIFEST, FileEntry, Manifest
from .paths import MANIFEST, MAX_PARTS, folder_of, name_problem, suffix_problem
from .swap import reason_of, recover

_CHUNK = 1 << 20
_GONE = (errno.ENOENT, errno.ENOTDIR)


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: `path` is its folder, `manifest` what it says about itself."""

    path: Path
    manifest: Manifest

    def files(self) -> tuple[str, ...]:
        """The files that the manifest lists, sorted; manifest.json is not among them."""
        return tuple(sorted(self.manifest.files))

    def read(self, name: str) -> bytes:
        """The bytes of one file. Size, SHA-256 and content are checked on the bytes returned, which are read once.

        Raises BundleError naming the file: not in the manifest, a link, not a regular file, changed, or hostile.
        """
        entry = self.manifest.files.get(name)
        if entry is None:
            raise BundleError(f"{self.path}: the file {shown(name)} is not in the manifest")
        data = _read_whole(self.path, name, entry)
        check_content(name, data, f"{self.path}/{name}")
        return data


def open_bundle(path: str | os.PathLike[str], *, verify: Literal["full", "sizes"] = "full") -> Bundle:
    """Opens the bundle in the folder `path` and refuses it with a BundleError that names the file and the reason.

    "full" reads, hashes and checks the content of every file. "sizes" checks the manifest and that exactly the listed
    files are there, as plain files of the listed sizes; each `read` then checks the bytes it returns.
    """
    if verify not in ("full", "sizes"):
        raise UsageError(f"verify is {shown(verify)}; it is 'full' or 'sizes'")
    folder = folder_of(path)
    recover(folder)
    for attempt in range(3):
        before = _identity(folder)
        try:
            bundle = Bundle(folder, read_manifest(folder))
            for problem in _problems(bundle, full=verify == "full"):
                raise problem
            return bundle
        except BundleError:
            # A save may have put a new bundle in place between the manifest and the files; that one deserves a look.
            if attempt == 2 or _identity(folder) == before:
                raise
    raise AssertionError("unreachable")


def verify(path: str | os.PathLike[str]) -> list[str]:
    """Every problem of the bundle at `path`, one sentence each; empty when it is whole. Raises nothing for a bad bundle."""
    try:
        folder = folder_of(path)
        recover(folder)
        bundle = Bundle(folder, read_manifest(folder))
        return [str(problem) for problem in _problems(bundle, full=True)]
    except BundleError as error:
        return [str(error)]


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the bundle in `folder`, with nothing else looked at. Raises BundleError."""
    return Manifest.from_json(_read_whole(folder, MANIFEST, None), f"{folder}/{MANIFEST}")


def _problems(bundle: Bundle, *, full: bool) -> Iterator[BundleError]:
    """Every problem in turn, the cheap ones first, and an empty folder after the files that are missing from it."""
    try:
        present = dict(_walk(bundle.path))
    except BundleError as error:
        yield error
        return
    extra = set(present) - set(bundle.manifest.files) - {MANIFEST}
    folders = {name for name in extra if stat.S_ISDIR(present[name].st_mode)}
    yield from _extra_problems(bundle, extra - folders, present)
    sound = []
    for name in bundle.files():
        problem = _state_problem(name, present.get(name), bundle.manifest.files[name])
        if problem:
            yield BundleError(f"{bundle.path}/{name} {problem}", hint="fetch the bundle again, or train it again")
        else:
            sound.append(name)
    yield from _extra_problems(bundle, folders, present)
    for name in sound if full else ():
        try:
            bundle.read(name)
        except BundleError as error:
            yield error


def _extra_problems(bundle: Bundle, names: set[str], present: dict[str, os.stat_result]) -> Iterator[BundleError]:
    for name in sorted(names):
        yield BundleError(f"{bundle.path}/{_tame(name)} {_unlisted(name, present[name])}",
                          hint="a bundle holds what its manifest lists and nothing else; take the file away")


def _unlisted(name: str, state: os.stat_result) -> str:
    if stat.S_ISLNK(state.st_mode):
        return "is a symbolic link, which a bundle may not hold"
    if stat.S_ISDIR(state.st_mode):
        return "is a folder that the manifest does not list"
    return (name_problem(name) or suffix_problem(name) or "is there") + " and is not in the manifest"


def _state_problem(name: str, state: os.stat_result | None, entry: FileEntry) -> str | None:
    if state is None:
        return "is in the manifest and is missing"
    if stat.S_ISLNK(state.st_mode):
        return "is a symbolic link, which a bundle may not hold"
    if not stat.S_ISREG(state.st_mode):
        return "is not a regular file"
    if state.st_nlink > 1:
        return f"has {state.st_nlink} hard links, so that something outside the bundle can change it"
    if state.st_size != entry.bytes:
        return f"is {state.st_size:,} bytes and the manifest says {entry.bytes:,}"
    return None


def _walk(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Name and lstat of everything below `folder` but folders that lead to a file; links are not followed."""
    waiting, count = [""], 0
    while waiting:
        inside = waiting.pop()
        entries = _list(folder, inside)
        count += len(entries)
        if count > 2 * MAX_FILES:
            raise BundleError(f"{folder} holds more than {2 * MAX_FILES:,} files and folders")
        for base, state in entries:
            name = f"{inside}/{base}" if inside else base
            if stat.S_ISDIR(state.st_mode) and name.count("/") < MAX_PARTS:
                waiting.append(name)
            else:
                yield name, state
        if inside and not entries:
            yield inside, os.lstat(folder / inside)


def _list(folder: Path, inside: str) -> list[tuple[str, os.stat_result]]:
    try:
        with os.scandir(folder / inside) as entries:
            return sorted((entry.name, entry.stat(follow_symlinks=False)) for entry in islice(entries, 2 * MAX_FILES + 1))
    except OSError as error:
        raise BundleError(f"{folder}/{_tame(inside)} cannot be listed: {reason_of(error)}") from None


def _read_whole(folder: Path, name: str, entry: FileEntry | None) -> bytes:
    """The bytes of a listed file, or of the manifest where `entry` is None."""
    if problem := name_problem(name):
        raise BundleError(f"{folder}: the file {shown(name)} {problem}")
    shown_path = f"{folder}/{name}"
    try:
        handle = _open_beneath(folder, name)
    except OSError as error:
        raise _open_error(folder, name, error) from None
    try:
        state = os.fstat(handle)
        wanted = entry or FileEntry("", state.st_size)
        if problem := _state_problem(name, state, wanted):
            raise BundleError(f"{shown_path} {problem}", hint="fetch the bundle again, or train it again")
        if entry is None and state.st_size > MAX_MANIFEST:
            raise BundleError(f"{shown_path} is {state.st_size:,} bytes (the limit is {MAX_MANIFEST:,})")
        data = _read_bytes(handle, wanted.bytes)
    except OSError as error:
        raise BundleError(f"{shown_path} cannot be read: {reason_of(error)}") from None
    finally:
        os.close(handle)
    if len(data) != wanted.bytes:
        raise BundleError(f"{shown_path} changed its size while it was read")
    if entry and hashlib.sha256(data).hexdigest() != entry.sha256:
        raise BundleError(f"{shown_path} does not have the hash that the manifest says: it was changed or damaged",
                          hint="fetch the bundle again, or train it again")
    return data


def _read_bytes(handle: int, size: int) -> bytes:
    # One more byte than promised is asked for, so that a file that grows under the reader is noticed.
    parts, left = [], size + 1
    while left and (part := os.read(handle, min(left, 64 * _CHUNK))):
        parts.append(part)
        left -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _open_beneath(folder: Path, name: str) -> int:
    """A file descriptor of `name` that went through no link below `folder`. O_NONBLOCK: a pipe may not hang the reader."""
    steps = name.split("/")
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for step in steps[:-1]:
            below = os.open(step, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
            os.close(here)
            here = below
        return os.open(steps[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=here)
    finally:
        os.close(here)


def _open_error(folder: Path, name: str, error: OSError) -> BundleError:
    if name == MANIFEST and error.errno in _GONE:
        if not os.path.lexists(folder):
            return BundleError(f"there is no bundle at {folder}", hint="name the folder that 'understudy train --out' wrote")
        if not folder.is_dir():
            return BundleError(f"{folder} is not a folder, and a bundle is one")
        return BundleError(f"{folder} is not a bundle: it has no {MANIFEST}", hint="name the folder that 'understudy train --out' wrote")
    if error.errno == errno.ELOOP or (error.errno == errno.ENOTDIR and any(above.is_symlink() for above in _folders_of(folder, name))):
        return BundleError(f"{folder}/{name} is or passes through a symbolic link, which a bundle may not hold")
    if error.errno in _GONE:
        return BundleError(f"{folder}/{name} is in the manifest and is missing", hint="fetch the bundle again, or train it again")
    return BundleError(f"{folder}/{name} cannot be opened: {reason_of(error)}")


def _folders_of(folder: Path, name: str) -> Iterator[Path]:
    steps = name.split("/")
    return (folder.joinpath(*steps[:end]) for end in range(1, len(steps)))


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        state = os.stat(folder)
    except OSError:
        return None
    return state.st_dev, state.st_ino


def _tame(name: str) -> str:
    return name if name.isascii() and name.isprintable() and len(name) <= 200 else shown(name)
