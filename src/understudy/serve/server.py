"""Runs the service: one process, one event loop, until it is told to end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import math
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import uvicorn
import uvloop

from ..bundle.paths import MANIFEST
from ..errors import UnderstudyError, UsageError
from ..fleet.fleet import Fleet
from .app import App
from .call import Service
from .config import ServeConfig, Served
from .guard import Guard
from .keys import Keys, read_keys
from .logs import Log
from .metrics import Metrics
from .protocol import Connection, limited
from .refusals import Refusals
from .shortcut import Shortcut

_LOOK, _UNREAD = 0.25, 1 << 17
log = logging.getLogger("understudy.serve")


class Server(uvicorn.Server):
    """uvicorn's server; the first signal ends it in order, the second at once."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:  # type: ignore[override]
        """Ours: uvicorn's raises the signal again at the end, and the process would not exit with 0."""
        loop = asyncio.get_running_loop()
        for one in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(ValueError, RuntimeError):  # not the main thread: a test ends the server itself
                loop.add_signal_handler(one, self.end)
        yield

    def end(self) -> None:
        """Lets what runs finish and takes nothing new; called again, leaves at once."""
        self.force_exit = self.should_exit
        self.should_exit = self._service.draining = True


def found_models(config: ServeConfig, served: Sequence[Served]) -> list[Served]:
    """The models that are named, and every bundle in the folder `models`. Raises UsageError where there is none."""
    all_of_them = list(served)
    if config.models is not None:
        root = Path(config.models)
        if not root.is_dir():
            raise UsageError(f"--models {root} is no folder", hint="name the folder that holds the bundles")
        named = {one.path.resolve() for one in served}
        all_of_them += [Served(path.name, path) for path in sorted(root.iterdir()) if (path / MANIFEST).is_file() and path.resolve() not in named]
    if not all_of_them:
        raise UsageError("there is no model to serve", hint="understudy serve support/, or --models DIR, or a fleet.toml")
    for one in all_of_them:
        if not (one.path / MANIFEST).is_file():
            raise UsageError(f"{one.path} is no bundle", hint="name the folder that 'understudy train --out' wrote")
    return all_of_them


def listening(config: ServeConfig) -> socket.socket:
    """The socket that is listened on. Raises UsageError where it cannot be."""
    try:
        family = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)[0][0]
        bound = socket.create_server((config.host, config.port), family=family, backlog=1024)
        # The kernel would take megabytes for a client that does not read, and it would be long before that is noticed.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNREAD)
        return bound
    except OSError as problem:
        raise UsageError(f"{config.host}:{config.port} cannot be listened on: {problem.strerror or problem}", hint="--port 0 takes a free one") from None


def serve(config: ServeConfig, served: Sequence[Served], *, told: Callable[[str, list[str]], Any] = lambda address, names: None) -> None:
    """Serves until SIGTERM or Ctrl-C. `told(address, names)` hears when requests are answered. Raises UsageError before that."""
    keys = read_keys(config.keys)
    models = found_models(config, served)
    with contextlib.closing(listening(config)) as bound:
        guard = Guard(config, keys, bound.getsockname()[1])
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_served(config, models, guard, keys, bound, told))


async def _served(config: ServeConfig, models: list[Served], guard: Guard, keys: Keys, bound: socket.socket, told: Callable[[str, list[str]], Any]) -> None:
    # Threads that answer in pure Python would hold up the event loop for 5 ms at a time.
    sys.setswitchinterval(0.001)
    metrics = Metrics()
    lines = Log(dropped=metrics.dropped.inc)
    for name in ("understudy", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [lines], False
        logger.setLevel(logging.INFO if name == "understudy" else logging.ERROR)
    fleet = Fleet(config, Path(config.models).resolve() if config.models else None)
    for one in models:
        fleet.add(one.name, one.path, aliases=one.aliases, pin=one.pin, languages=one.languages)
    service = Service(fleet, config, metrics)
    if config.large is not None:
        _large(service)
    app = App(service, guard, lines if config.log_requests else None)
    shortcut = Shortcut(app)
    settings = uvicorn.Config(app, http=limited(config, metrics, shortcut), ws="none", lifespan="off", log_config=None, access_log=False, proxy_headers=False,
                              server_header=False, date_header=True, timeout_keep_alive=30, timeout_graceful_shutdown=math.ceil(config.drain))
    server = Server(settings, service)
    if config.log_text:
        log.warning("texts are written into this log (--log-text)")
    background = [asyncio.ensure_future(_looking(server, shortcut.refusals)), asyncio.ensure_future(_pinned(fleet))]
    # What is there now stays: a whole collection, as after every model that leaves, need not look at it, and holds answers up for less.
    gc.collect()
    gc.freeze()
    told(_address(bound), [one.name for one in models])
    try:
        await server.serve(sockets=[bound])
    finally:
        for task in background:
            task.cancel()
        if not server.force_exit:
            await fleet.close()
        lines.close()


def _large(service: Service) -> None:
    """Makes the large model known. Raises UsageError for a key that is none, and for a name that one of our models has."""
    from .large import Large  # without it nothing of a client is loaded

    large = service.large = service.metrics.large = Large.of(service.config, os.environ)
    if service.fleet.has(large.model):
        raise UsageError(f"--large-model {large.model!r} is the name of a model that is served here", hint="give that one another name in fleet.toml")


async def _looking(server: Server, refusals: Refusals) -> None:
    """Ends connections whose time is over, and logs what was only counted."""
    while True:
        await asyncio.sleep(_LOOK)
        now = asyncio.get_running_loop().time()
        for one in list(server.server_state.connections):
            if isinstance(one, Connection):
                one.look(now)
        refusals.tell(time.monotonic())


async def _pinned(fleet: Fleet) -> None:
    """Loads the pinned models before anybody asks."""
    for entry in fleet.entries.values():
        if entry.pin:
            try:
                await fleet.ready(entry)
            except UnderstudyError as problem:
                log.error("%s cannot be loaded: %s", entry.name, problem)


def _address(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
