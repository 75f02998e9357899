"""API keys: kept as SHA-256, compared in constant time, each with what it may do.

A line of the file: `NAME SCOPES sha256:HEX`, scopes with commas out of infer, metrics, admin (which includes both others).
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError

SCOPES = ("infer", "metrics", "admin")
ENVIRONMENT = "UNDERSTUDY_API_KEY"
_MARK, _LONGEST = "sha256:", 512


@dataclass(frozen=True)
class Key:
    """A key's name, what it may do, and its digest (32 bytes)."""

    name: str
    scopes: frozenset[str]
    digest: bytes


class Keys:
    """All keys of a server. Without any, everybody who reaches it may ask everything."""

    def __init__(self, keys: tuple[Key, ...]) -> None:
        self._keys = keys

    def __bool__(self) -> bool:
        return bool(self._keys)

    def owner(self, presented: bytes) -> Key | None:
        """The key that was presented; None for one that is not known. Takes the same time for every key."""
        digest = hashlib.sha256(presented[:_LONGEST]).digest()
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest) and len(presented) <= _LONGEST:
                found = key
        return found


def read_keys(path: str | None, environment: MutableMapping[str, str] = os.environ) -> Keys:
    """The keys of a file, and the one in UNDERSTUDY_API_KEY, which is taken out of the environment so that no child sees it.

    Raises UsageError naming the line that is no key.
    """
    keys = []
    if path is not None:
        try:
            lines = Path(path).read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as problem:
            raise UsageError(f"{path} cannot be read: {getattr(problem, 'strerror', None) or 'it is no UTF-8'}") from None
        keys = [_key(line.split(), f"{path}, line {number}") for number, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
    plain = environment.pop(ENVIRONMENT, "")
    if plain:
        if len(plain) < 16:
            raise UsageError(f"{ENVIRONMENT} has {len(plain)} characters", hint="at least 16; understudy serve --make-key NAME makes a good one")
        keys.append(Key("environment", frozenset(SCOPES), hashlib.sha256(plain.encode()).digest()))
    return Keys(tuple(keys))


def _key(words: list[str], where: str) -> Key:
    if len(words) != 3 or not words[2].startswith(_MARK) or len(words[2]) != len(_MARK) + 64:
        raise UsageError(f"{where} is no key", hint="NAME SCOPES sha256:HEX, as `understudy serve --make-key NAME` prints it")
    scopes = set(words[1].split(","))
    if not scopes <= set(SCOPES):
        raise UsageError(f"{where} has the scopes {words[1]!r}", hint=f"out of {', '.join(SCOPES)}")
    try:
        digest = bytes.fromhex(words[2].removeprefix(_MARK))
    except ValueError:
        raise UsageError(f"{where} has a digest that is not hexadecimal") from None
    return Key(words[0], frozenset(SCOPES if "admin" in scopes else scopes), digest)


def made_key(name: str, scopes: str = "infer") -> tuple[str, str]:
    """(the key, its line for the file): the key is shown once and kept nowhere."""
    if not name or any(one.isspace() for one in name) or name.startswith("#"):
        raise UsageError(f"{name!r} is no name for a key", hint="one word")
    plain = f"us-{secrets.token_urlsafe(32)}"
    line = f"{name} {scopes} {_MARK}{hashlib.sha256(plain.encode()).hexdigest()}"
    _key(line.split(), "--scopes")
    return plain, line
