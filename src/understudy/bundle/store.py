"""Writing a bundle: whole or not at all, whatever the disk, the power switch or a kill -9 does meanwhile.

Everything is written into a hidden sibling folder, synced, opened as a reader would open it, and only then put in
place (swap.py). `open_bundle` and `verify` are the other half of the door (reader.py).
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path

from ..errors import BundleError
from . import swap
from .jsonio import shown, strict_json
from .manifest import KIND, MAX_MANIFEST, FileEntry, Manifest, is_name
from .paths import MANIFEST, folder_of
from .reader import Bundle, open_bundle, read_manifest, verify

__all__ = ["Bundle", "check_target", "open_bundle", "read_manifest", "verify", "write_bundle"]

_CHUNK = 1 << 20
_HINTS = {
    errno.ENOSPC: "free some space or name a folder on another disk",
    errno.EDQUOT: "your quota on this disk is used up; free some space or name a folder on another disk",
    errno.EROFS: "the disk is read-only; name a folder on another disk",
    errno.EACCES: "name a folder that you may write to",
    errno.EPERM: "name a folder that you may write to",
    errno.ENOTDIR: "a part of the path is a file; name another folder",
    errno.ENAMETOOLONG: "name a shorter folder",
    errno.EIO: "the disk reports a fault; check it before you trust anything on it",
}


def write_bundle(target: str | os.PathLike[str], files: Mapping[str, bytes | Path], manifest: Manifest, *,
                 overwrite: bool = True) -> Manifest:
    """Writes `files` (name in the bundle → its bytes, or a file to copy) and the manifest over them to the folder `target`.

    Returns the manifest with `files` filled in. Until this returns, `target` is what it was before. What is written
    has been opened with `open_bundle` first, so nothing is saved that would be refused on arrival.

    Raises BundleError: a field or file that a bundle may not have, a target that is not a bundle or, without
    `overwrite`, is there already, too little space (with both figures), or an error of the disk (path, errno name,
    bytes needed).
    """
    _check_place(target, overwrite)
    folder = Path(os.path.abspath(folder_of(target)))
    sizes = {name: _size(name, source) for name, source in files.items()}
    draft = manifest.with_files({name: FileEntry("0" * 64, size) for name, size in sizes.items()}).to_json()
    sizes[MANIFEST] = len(draft)
    needed = sum(sizes.values())
    try:
        _make_folder(folder.parent)
        swap.sweep(folder)
        _check_space(folder, sizes)
        fresh, tag, held = _new_folder(folder)
    except OSError as error:
        raise _cannot(folder, error, needed) from None
    try:
        written = _fill(fresh, folder, files, manifest, needed)
        aside = swap.swap_in(fresh, folder, tag)
    except OSError as error:
        swap.remove(fresh)
        raise _cannot(folder, error, needed) from None
    except BaseException:
        swap.remove(fresh)
        raise
    finally:
        os.close(held)
    if aside is not None:
        swap.remove(aside)
    return written


def check_target(target: str | os.PathLike[str], *, overwrite: bool = True) -> None:
    """Raises BundleError when a bundle may not or cannot be written to `target`: something is there that is not a bundle,
    holds files that are not the bundle's, or, without `overwrite`, is one; its name is none for a bundle; nothing can be
    made beside it. To be asked before an hour of training.
    """
    folder = Path(os.path.abspath(folder_of(target)))
    _check_place(target, overwrite)
    if not is_name(folder.resolve().name):
        raise BundleError(f"a bundle cannot be called {shown(folder.name)}: the name is empty, too long or not printable", hint="name another folder")
    above = folder.parent
    while not os.path.lexists(above):
        above = above.parent
    probe = swap.sibling(above / folder.name, "tmp", swap.new_tag())
    try:
        os.mkdir(probe)
        os.rmdir(probe)
    except OSError as error:
        raise BundleError(f"cannot write {folder}: {swap.reason_of(error)}", hint=_HINTS.get(error.errno or 0)) from None


def _check_place(target: str | os.PathLike[str], overwrite: bool) -> None:
    folder = folder_of(target)
    swap.recover(Path(os.path.abspath(folder)))
    try:
        state = os.lstat(folder)
        names = sorted(os.listdir(folder)) if stat.S_ISDIR(state.st_mode) else []
    except FileNotFoundError:
        return
    except OSError as error:
        raise BundleError(f"{folder} cannot be looked at: {swap.reason_of(error)}", hint=_HINTS.get(error.errno or 0)) from None
    if stat.S_ISLNK(state.st_mode):
        raise BundleError(f"{folder} is a symbolic link, which is not replaced", hint="name the folder that it points to")
    if not stat.S_ISDIR(state.st_mode):
        raise BundleError(f"{folder} is there already and is not a folder", hint="name another place, or take it away")
    if names:
        _check_replaceable(folder, names, overwrite)


def _check_replaceable(folder: Path, names: list[str], overwrite: bool) -> None:
    listed = _listed_files(folder)
    if listed is None:
        raise BundleError(f"{folder} is there already and is not a bundle: it holds {shown(names[0])}"
                          + (f" and {len(names) - 1} more" if len(names) > 1 else ""), hint="name another folder, or take this one away")
    foreign = sorted(path for path in _paths_below(folder) if path not in listed)
    if foreign:
        raise BundleError(f"{folder} is a bundle that also holds {shown(foreign[0])}, which would be lost",
                          hint="move what is not the bundle's, or name another folder")
    if not overwrite:
        raise BundleError(f"{folder} is there already", hint="name another folder, or allow it to be replaced")


def _listed_files(folder: Path) -> set[str] | None:
    """The files of something that calls itself a bundle, of this format or another, whole or broken; None for anything else."""
    try:
        with open(folder / MANIFEST, "rb") as stream:
            body = strict_json(stream.read(MAX_MANIFEST), MANIFEST)
    except (OSError, BundleError):
        return None
    if not isinstance(body, dict) or body.get("kind") != KIND or not isinstance(body.get("files"), dict):
        return None
    return {MANIFEST, *body["files"]}


def _paths_below(folder: Path) -> Iterator[str]:
    for inside, _, names in os.walk(folder):
        for name in names:
            yield os.path.relpath(os.path.join(inside, name), folder)


def _size(name: str, source: bytes | Path) -> int:
    if isinstance(source, bytes):
        return len(source)
    try:
        state = os.stat(source)
    except OSError as error:
        raise BundleError(f"{source}, which should become {shown(name)}, cannot be read: {swap.reason_of(error)}") from None
    if not stat.S_ISREG(state.st_mode):
        raise BundleError(f"{source}, which should become {shown(name)}, is not a regular file")
    return state.st_size


def _check_space(folder: Path, sizes: Mapping[str, int]) -> None:
    state = os.statvfs(folder.parent)
    block = state.f_frsize or 4096
    needed = sum(-(-size // block) * block + block for size in sizes.values())
    free = state.f_bavail * block
    if needed > free:
        raise BundleError(f"{folder} needs {needed:,} bytes and the disk has {free:,} bytes free; nothing was written",
                          hint=_HINTS[errno.ENOSPC])


def _make_folder(folder: Path) -> None:
    """Makes a folder and those above it, durably. Raises OSError."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    with suppress(FileExistsError):
        os.mkdir(folder)
    swap.sync_folder(folder.parent)


def _new_folder(target: Path) -> tuple[Path, str, int]:
    """A new locked sibling: its path, its tag and the descriptor that holds the lock."""
    for _ in range(100):
        tag = swap.new_tag()
        fresh = swap.sibling(target, "tmp", tag)
        os.mkdir(fresh)
        try:
            held = swap.lock(fresh)
        except FileNotFoundError:
            continue
        if held is not None:
            return fresh, tag, held
    raise OSError(errno.EBUSY, "other saves sweep the folder away", str(target))


def _fill(fresh: Path, target: Path, files: Mapping[str, bytes | Path], manifest: Manifest, needed: int) -> Manifest:
    """Writes and syncs everything into `fresh`, and opens it as a reader would."""
    entries, folders = {}, {fresh}
    for name, source in sorted(files.items()):
        path = fresh / name
        try:
            os.makedirs(path.parent, exist_ok=True)
            entries[name] = _write_file(path, source)
        except OSError as error:
            raise _cannot(target / name, error, needed) from None
        folders.update(fresh.joinpath(*path.relative_to(fresh).parts[:depth]) for depth in range(1, name.count("/") + 1))
    written = manifest.with_files(entries)
    try:
        _write_file(fresh / MANIFEST, written.to_json())
    except OSError as error:
        raise _cannot(target / MANIFEST, error, needed) from None
    for inside in sorted(folders, key=lambda path: len(path.parts), reverse=True):
        swap.sync_folder(inside)
    try:
        open_bundle(fresh, verify="full")
    except BundleError as error:
        raise BundleError(str(error).replace(str(fresh), str(target)), hint=error.hint) from None
    return written


def _write_file(path: Path, source: bytes | Path) -> FileEntry:
    digest, size = hashlib.sha256(), 0
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        with closing(_chunks(source)) as chunks:
            for chunk in chunks:
                digest.update(chunk)
                size += len(chunk)
                left = memoryview(chunk)
                while left:
                    left = left[os.write(handle, left):]
        os.fsync(handle)
    finally:
        os.close(handle)
    return FileEntry(digest.hexdigest(), size)


def _chunks(source: bytes | Path) -> Generator[bytes]:
    if isinstance(source, bytes):
        yield source
        return
    try:
        with open(source, "rb") as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk
    except OSError as error:
        raise BundleError(f"{source} cannot be read: {swap.reason_of(error)}") from None


def _cannot(path: Path, error: OSError, needed: int) -> BundleError:
    return BundleError(f"cannot write {path}: {swap.reason_of(error)}; the bundle needs {needed:,} bytes",
                       hint=_HINTS.get(error.errno or 0))
