"""What would fail where this machine is to serve: for `understudy doctor --serve`. Needs nothing that has to be installed."""

from __future__ import annotations

import os
import resource
import socket
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from ..bundle.paths import MANIFEST
from ..errors import UnderstudyError
from ..fleet import memory
from ..fleet.about import about_of
from ..units import show_size
from .config import ServeConfig, from_environment
from .places import forbidden

_PARTS = ("uvicorn", "uvloop", "httptools", "msgspec", "prometheus_client")
_SPARE_FILES = 64


def checkup() -> list[dict[str, str]]:
    """Findings as `understudy doctor` gives them: `what`, `state` (ok, warn or fail), `found` and, where it helps, `hint`."""
    missing = [part for part in _PARTS if find_spec(part) is None]
    found = [_found("serving", "fail", f"without {', '.join(missing)}", "pip install 'understudy[serve]'")] if missing else []
    try:
        config = ServeConfig(**from_environment())
    except UnderstudyError as problem:
        return [*found, _found("dials", "fail", str(problem), problem.hint or "")]
    return [*found, _port(config), _address(config), _memory(config), _files(config), *_models(config), *_large(config)]


def _found(what: str, state: str, found: str, hint: str = "") -> dict[str, str]:
    return {"what": what, "state": state, "found": found, **({"hint": hint} if hint else {})}


def _port(config: ServeConfig) -> dict[str, str]:
    try:
        with socket.create_server((config.host, config.port), family=socket.AF_INET6 if ":" in config.host else socket.AF_INET):
            return _found("port", "ok", f"{config.host}:{config.port} is free")
    except OSError as problem:
        return _found("port", "fail", f"{config.host}:{config.port}: {problem.strerror or problem}", "--port 0 takes a free one")


def _address(config: ServeConfig) -> dict[str, str]:
    if config.host in ("127.0.0.1", "localhost", "::1"):
        return _found("address", "ok", "only this machine can ask")
    if config.keys or os.environ.get("UNDERSTUDY_API_KEY"):
        return _found("address", "ok", f"{config.host}, with a key")
    return _found("address", "fail", f"{config.host} can be reached by others and there is no key", "--keys FILE; understudy serve --make-key NAME makes one")


def _memory(config: ServeConfig) -> dict[str, str]:
    budget, there = config.memory or memory.total() // 2, memory.total()
    if budget > there:
        return _found("memory", "fail", f"--memory is {show_size(budget)} and this machine has {show_size(there)}", "give it less")
    return _found("memory", "ok", f"{show_size(budget)} of {show_size(there)} for models")


def _files(config: ServeConfig) -> dict[str, str]:
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft < config.connections + _SPARE_FILES:
        return _found("open files", "fail", f"{soft:,} may be open, and there may be {config.connections:,} connections", "ulimit -n, or --connections")
    return _found("open files", "ok", f"{soft:,}")


def _models(config: ServeConfig) -> list[dict[str, str]]:
    if config.models is None:
        return []
    out = []
    for path in sorted(Path(config.models).glob(f"*/{MANIFEST}")):
        try:
            about = about_of(path.parent)
            out.append(_found(f"model {path.parent.name}", "ok", f"{about['task']}, {show_size(about['file_bytes'])}"))
        except UnderstudyError as problem:
            out.append(_found(f"model {path.parent.name}", "fail", str(problem), problem.hint or ""))
    return out or [_found("models", "fail", f"{config.models} holds no bundle", "name the folder that holds the bundles")]


def _large(config: ServeConfig) -> list[dict[str, str]]:
    if config.large is None:
        return []
    parts, keyed = urlsplit(config.large), bool(os.environ.get("UNDERSTUDY_LARGE_KEY"))
    told = f"{config.large_model} at {config.large}, {'with a' if keyed else 'without'} key"
    if keyed and parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        return [_found("large model", "warn", f"{told}, which travels in clear", "use https")]
    try:
        with socket.create_connection((parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)), timeout=1.0) as sock:
            there = sock.getpeername()[0]
            if why := forbidden(parts.hostname or "", there, config.large_private):
                return [_found("large model", "fail", f"{told}: {there} {why}", "name the machine by its address, or give --large-private")]
            return [_found("large model", "ok", told)]
    except OSError as problem:
        return [_found("large model", "warn", f"{told}: {problem.strerror or problem}", "small models answer without it; is it running?")]
