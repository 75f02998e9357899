"""Who may ask at all: the Host that was asked for, the page that asks (Origin), and the key. Every method, every route.

A browser on this machine can be made to send requests here by any page it visits, and by a name that points here (DNS
rebinding); the Host and Origin headers are what gives them away.
"""

from __future__ import annotations

import ipaddress
import socket

from ..errors import UsageError
from .call import Route
from .config import ServeConfig
from .keys import Key, Keys
from .problems import Problem, later
from .rates import Rates

_LOCAL = ("localhost", "127.0.0.1", "[::1]")
_REMEMBERED = 1000
_WRONG = 20
"""Wrong keys a minute from one address; more are not even looked at."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Guard:
    """Checks a request's headers. `port` is the one that is really listened on."""

    def __init__(self, config: ServeConfig, keys: Keys, port: int) -> None:
        if not is_loopback(config.host) and not keys:
            raise UsageError(f"--host {config.host} can be reached by others and there is no key",
                             hint="--keys FILE (understudy serve --make-key NAME makes one), or --host 127.0.0.1")
        self.keys = keys
        names = [name.strip().lower() for name in (config.allow_host or "").split(",") if name.strip()]
        self._any_port = {name.encode() for name in names}
        local = _LOCAL if is_loopback(config.host) else (*_LOCAL, config.host, socket.gethostname().lower())
        self._exact = {f"{name}:{port}".encode() for name in local} | ({name.encode() for name in local} if port == 80 else set())
        self._numbers = None if is_loopback(config.host) else port
        self._origins = {one.strip().encode() for one in (config.allow_origin or "").split(",") if one.strip()}
        self._known: set[bytes] = set()
        self._rates = Rates(config.rate) if config.rate else None
        self._wrong = Rates(_WRONG)

    def host(self, hosts: list[bytes]) -> None:
        """Raises 400 without one Host, 421 for one that is not ours."""
        if len(hosts) == 1 and (hosts[0] in self._known or self._ours(hosts[0])):
            return
        if len(hosts) != 1:
            raise Problem(400, "invalid_host", "a request needs one Host header", close=True)
        raise Problem(421, "misdirected_request", "this server is not called by that name; --allow-host adds one", close=True)

    def _ours(self, host: bytes) -> bool:
        lower = host.lower()
        fine = lower in self._exact or lower in self._any_port or lower.rpartition(b":")[0] in self._any_port or self._is_number(lower)
        if fine and len(self._known) < _REMEMBERED:
            self._known.add(host)
        return fine

    def _is_number(self, host: bytes) -> bool:
        # A public server may be called by any of its addresses: a name can be made to point here, a number cannot.
        if self._numbers is None:
            return False
        name, _, port = host.decode("latin-1").rpartition(":")
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return port == str(self._numbers)

    def origin(self, origin: bytes | None, site: bytes | None, host: bytes) -> bytes | None:
        """The origin to be named in the answer, None where none is. Raises 403 for a page of somebody else's."""
        if origin is None:
            if site in (b"cross-site", b"same-site"):
                raise Problem(403, "origin_not_allowed", "another site's page may not call this server", close=True)
            return None
        if origin in self._origins:
            return origin
        if origin in (b"http://" + host, b"https://" + host):
            return None
        raise Problem(403, "origin_not_allowed", "that page may not call this server; --allow-origin adds one", close=True)

    def key(self, route: Route, authorization: bytes | None, plain: bytes | None, address: str) -> Key | None:
        """The key that asks. Raises 401 without one that is known, 403 where it may not do this, 429 where it asks too often."""
        if route.scope == "open":
            return None
        owner = self._owner(route, authorization, plain, address) if self.keys else None
        if self._rates is not None and (seconds := self._rates.wait(f"key {owner.name}" if owner else address)):
            raise later(429, "rate_limit_exceeded", f"{self._rates.per_minute} requests a minute may be made (--rate)", seconds)
        return owner

    def known(self, route: Route, authorization: bytes | None, plain: bytes | None) -> Key | None:
        """The key that asks, where it may; counts nothing. Raises LookupError for one that is not known or may not."""
        if not self.keys or route.scope == "open":
            return None
        owner = self.keys.owner(_presented(authorization, plain))
        if owner is None or route.scope not in owner.scopes:
            raise LookupError(route.path)
        return owner

    def _owner(self, route: Route, authorization: bytes | None, plain: bytes | None, address: str) -> Key:
        owner = self.keys.owner(_presented(authorization, plain))
        if owner is None:
            if seconds := self._wrong.wait(address):
                raise later(429, "rate_limit_exceeded", "too many wrong keys came from this address", seconds)
            raise Problem(401, "invalid_api_key", "this server needs a key: Authorization: Bearer …",
                          headers=((b"www-authenticate", b"Bearer"), (b"x-should-retry", b"false")))
        if route.scope not in owner.scopes:
            raise Problem(403, "insufficient_scope", f"this key may not do that; it needs the scope {route.scope}", headers=((b"x-should-retry", b"false"),))
        return owner


def _presented(authorization: bytes | None, plain: bytes | None) -> bytes:
    if authorization is not None and authorization[:7].lower() == b"bearer ":
        return authorization[7:].strip()
    return plain or b""
