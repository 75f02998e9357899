"""Every dial of `understudy serve`. Flags, environment names (UNDERSTUDY_…), fleet.toml and the reference page are derived from this class."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .. import units
from ..dials import dial
from ..errors import UsageError
from ..fleet.config import FleetConfig
from . import places

PREFIX = "UNDERSTUDY_"


@dataclass(frozen=True)
class ServeConfig(FleetConfig):
    """Where the service listens, who may ask, and how much a request may be. Sizes are bytes, times seconds."""

    host: str = dial("127.0.0.1", "The address to listen on; one that others can reach needs --keys.", metavar="ADDRESS")
    port: int = dial(8300, "The port to listen on; 0 takes a free one.", metavar="N", least=0, most=65535)
    models: str | None = dial(None, "A folder of bundles: each is served under its folder's name, and only from here others can be loaded.", metavar="DIR")
    keys: str | None = dial(None, "A file of API keys, one a line as `understudy serve --make-key NAME` prints it.", metavar="FILE")
    allow_host: str | None = dial(None, "Further names that this server may be called by, with commas: models.example.org.", metavar="NAMES")
    allow_origin: str | None = dial(None, "Web pages that may call this server, with commas: https://app.example.org.", metavar="ORIGINS")
    rate: int | None = dial(None, "Requests a minute that one key may make, or one address where there are no keys; more are answered 429.", metavar="N",
                            least=1, most=10_000_000)
    body: int = dial(2_000_000, "The most that a request's body may have.", metavar="BYTES", parse="parse_size", least=1000)
    inputs: int = dial(256, "Texts that one request may hold.", metavar="N", least=1, most=100_000)
    connections: int = dial(1024, "Connections that may be open at once.", metavar="N", least=1, most=100_000)
    header_timeout: float = dial(10.0, "Seconds that a client may take to send a request's headers.", metavar="SECONDS", parse="parse_duration")
    body_timeout: float = dial(30.0, "Seconds that a client may take to send a request's body.", metavar="SECONDS", parse="parse_duration")
    stall_timeout: float = dial(30.0, "Seconds that a client may not read before it is let go.", metavar="SECONDS", parse="parse_duration")
    large: str | None = dial(None, "A large model behind OpenAI's interface, e.g. http://localhost:11434/v1: asked for a label where a classifier abstains. "
                             "Its key comes from UNDERSTUDY_LARGE_KEY alone.", metavar="URL")
    large_model: str | None = dial(None, "The large model's name; chats with it are passed on.", metavar="NAME")
    large_timeout: float = dial(30.0, "Seconds that the large model may take for an answer, or for the next piece of a stream; never longer than --timeout.",
                                metavar="SECONDS", parse="parse_duration")
    large_private: bool = dial(False, "A name in --large may lead into the own network; without this only an address as it stands, or localhost, may.")
    large_budget: int | None = dial(None, "Questions that the large model may be asked on one day (UTC), second tries and every one of `n` choices among them; needs --large-ledger.",
                                    metavar="N", least=1, most=1_000_000_000)
    large_ledger: str | None = dial(None, "The file in which --large-budget counts, so that a restart forgets nothing; one server's alone.", metavar="FILE")
    log_requests: bool = dial(True, "One line of JSON on standard error for each request; of those that find a full line, beyond a hundred a second, only how many.")
    log_text: bool = dial(False, "Write what is asked and answered into the log.")

    def __post_init__(self) -> None:
        for one in fields(self):
            value, told = getattr(self, one.name), one.metadata
            if isinstance(value, int | float) and not isinstance(value, bool):
                least, most = told.get("least", 0), told.get("most", float("inf"))
                if not least <= value <= most or (told.get("parse") and value <= 0):
                    raise UsageError(f"{flag(one.name)} is {value}", hint=f"between {least} and {most}" if "most" in told else f"above {least}")
        if (self.large is None) != (self.large_model is None):
            raise UsageError(f"--large{'-model' if self.large is None else ''} is given and --large{'' if self.large is None else '-model'} is not",
                             hint="--large http://localhost:11434/v1 --large-model NAME")
        if self.large is not None:
            _checked_address(self.large)
        elif self.large_private or self.large_budget is not None:
            raise UsageError(f"--large-{'private' if self.large_private else 'budget'} is given and --large is not", hint="--large URL --large-model NAME")
        if (self.large_budget is None) != (self.large_ledger is None):
            given, missing = ("ledger", "budget") if self.large_budget is None else ("budget", "ledger")
            raise UsageError(f"--large-{given} is given and --large-{missing} is not", hint="--large-budget 1000 --large-ledger large.ledger")


def _checked_address(url: str) -> None:
    """Raises UsageError for what is no plain http or https address; it is never repeated, since somebody may have put a key into it."""
    try:
        parts = urlsplit(url)
        fine = bool(parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and url.isascii() and url.isprintable() and " " not in url)
        more = "@" in parts.netloc or bool(parts.query or parts.fragment)
    except ValueError:
        fine = more = False
    if not fine or more:
        raise UsageError("--large has a name, a password, a query or a fragment in it" if more else "--large is no http or https address",
                         hint="--large http://localhost:11434/v1; its key comes from UNDERSTUDY_LARGE_KEY")
    places.checked(parts.hostname or "")


@dataclass(frozen=True)
class LoadConfig:
    """How a load test goes. Times are seconds."""

    seconds: float = dial(3.0, "Seconds per rate.", metavar="SECONDS")
    connections: int = dial(32, "Connections that are kept open.", metavar="N")
    shares: str = dial("10,50,80,100,200", "Rates to try, in percent of the peak that was measured first, with commas.", metavar="LIST")
    max_tokens: int = dial(32, "Longest answer of a model that chats or goes on.", metavar="N")


@dataclass(frozen=True)
class Served:
    """One model of a fleet.toml, or of the command line."""

    name: str
    path: Path
    aliases: tuple[str, ...] = field(default=())
    pin: bool = False
    languages: tuple[str, str] | None = None
    """Of a translator: from which language into which, where its bundle does not say."""


def flag(name: str) -> str:
    """The flag of a dial."""
    return "--" + name.replace("_", "-")


def twin(name: str) -> str:
    """The environment variable of a dial."""
    return PREFIX + name.upper()


def parsed(name: str, value: Any) -> Any:
    """The value of a dial from what a flag, the environment or a fleet.toml says. Raises UsageError."""
    told = {one.name: one for one in fields(ServeConfig)}[name]
    if told.metadata.get("parse") and isinstance(value, str):
        return getattr(units, told.metadata["parse"])(value)
    kind = "bool" if isinstance(told.default, bool) else "int" if "int" in str(told.type) else "float" if "float" in str(told.type) else "str"
    try:
        if kind == "bool":
            return value if isinstance(value, bool) else {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}[value.lower()]
        if isinstance(value, bool) or ((kind == "str") != isinstance(value, str) and not isinstance(value, str)):
            raise ValueError
        return {"int": int, "float": float, "str": str}[kind](value)
    except (ValueError, KeyError, AttributeError, TypeError):
        raise UsageError(f"{flag(name)} is {value!r}, which is no {dict(bool='yes or no', int='whole number', float='number', str='text')[kind]}") from None


def from_environment(environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """The dials that the environment sets."""
    return {one.name: parsed(one.name, environment[twin(one.name)]) for one in fields(ServeConfig) if twin(one.name) in environment}


def from_file(path: str | os.PathLike[str]) -> tuple[dict[str, Any], list[Served]]:
    """The dials and the models of a fleet.toml; paths in it start from its folder. Raises UsageError naming what does not belong."""
    where = Path(path)
    try:
        told = tomllib.loads(where.read_text("utf-8"))
    except OSError as problem:
        raise UsageError(f"{where} cannot be read: {problem.strerror or problem}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise UsageError(f"{where} is no TOML: {problem}") from None
    known = {one.name for one in fields(ServeConfig)}
    for part in told:
        if part not in ("serve", "models") or not isinstance(told[part], dict):
            raise UsageError(f"{where} has a part {part!r}", hint="it has [serve] and [models.NAME]")
    dials: dict[str, Any] = {}
    for name, value in told.get("serve", {}).items():
        if name not in known:
            raise UsageError(f"{where}: [serve] has no dial {name!r}", hint=f"there are {', '.join(sorted(known))}")
        dials[name] = parsed(name, value)
    for name in ("models", "keys", "large_ledger"):
        if name in dials:
            dials[name] = str(where.parent / dials[name])
    return dials, [_served(where, name, one) for name, one in told.get("models", {}).items()]


def _served(where: Path, name: str, told: Any) -> Served:
    kinds = {"path": str, "aliases": list, "pin": bool, "source": str, "target": str}
    if not isinstance(told, dict) or "path" not in told:
        raise UsageError(f"{where}: [models.{name}] names no path", hint='path = "folder-of-the-bundle"')
    for key, value in told.items():
        if not isinstance(value, kinds.get(key, type(None))):
            raise UsageError(f"{where}: [models.{name}] cannot have {key} = {value!r}", hint="path, source and target are texts, aliases a list of texts, pin true or false")
    return Served(name, where.parent / told["path"], tuple(map(str, told.get("aliases", ()))), told.get("pin", False),
                  (told["source"], told["target"]) if "source" in told and "target" in told else None)
