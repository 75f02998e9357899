"""The short cut: small requests to quick models are answered as soon as they are whole, without a task, a future or a thread.

    headers ──► Passed   who asks what, and may; remembered by the connection, whose next headers are mostly the same
    body    ──► Asked    a text for a version of a model
    all that came in one turn of the event loop ──► the model ──► answers

Step by step for all of them, not request by request: code and weights that were just used are still in the processor's caches, which
makes sixteen at once a third cheaper than one after the other. Before all that: is the line of that model full (`refusals`)?
What takes longer or is wrong goes the whole way, which says what is wrong.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from . import answers
from . import body as bodies
from .call import Call, Headers, Passed, headed
from .refusals import Refusals

if TYPE_CHECKING:
    from .app import App

_TOGETHER = 16
"""Requests that are answered before the event loop looks after others."""
_CLOSE = 50e-6
"""Seconds after an answer within which the next request must have been there already."""
encode = msgspec.json.Encoder().encode


class Small:
    """A small request that is whole. `tell` hears, once, status, headers and body of the answer, or None where it must go the whole way."""

    __slots__ = ("asked", "began", "call", "data", "number", "passed", "said", "tell")

    def __init__(self, passed: Passed, number: bytes | None, data: bytes, tell: Callable[[tuple[int, bytes] | None], Any]) -> None:
        self.passed, self.number, self.data, self.tell = passed, number, data, tell
        self.began = time.monotonic()
        self.call: Call | None = None
        self.asked: answers.Asked | None = None
        self.said: answers.Sorted | None = None


class Shortcut:
    """Answers for an application. Lives on the event loop's thread."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._waiting: list[Small] = []
        self._many, self._ended = False, 0.0
        self.refusals = Refusals(app)

    def passed(self, url: bytes, given: Headers) -> Passed | None:
        """The checks of a POST that look at its headers alone; `given` has no content-length and no x-request-id."""
        app, headers = self._app, dict(given)
        config, hosts = app.service.config, [value for name, value in given if name == b"host"]
        try:
            route, _ = app.router.find("POST", url.decode("latin-1"))
            if route.at_once is None or b"origin" in headers or config.log_text or config.rate:
                return None
            app.guard.host(hosts)
            app.guard.origin(None, headers.get(b"sec-fetch-site"), hosts[0])
            key = app.guard.known(route, headers.get(b"authorization"), headers.get(b"x-api-key"))
            bodies.checked(headers, config.body)
            return Passed(url, given, route, key.name if key else None, bodies.seconds(headers, config.timeout))
        except Exception:
            return None

    def ask(self, small: Small) -> None:
        """Answers: a request that comes alone right now, others once all that has come in this turn of the event loop is there."""
        self._waiting.append(small)
        if len(self._waiting) > 1:
            return
        if self._many or small.began - self._ended < _CLOSE:
            asyncio.get_running_loop().call_soon(self.flush)
        else:
            self.flush()
            self._ended = time.monotonic()

    def flush(self) -> None:
        """Answers what waits, a bounded number."""
        some, self._waiting = self._waiting[:_TOGETHER], self._waiting[_TOGETHER:]
        self._many = len(some) > 1
        if self._waiting:
            asyncio.get_running_loop().call_soon(self.flush)
        groups: dict[int, list[Small]] = {}
        for one in some:
            asked = self._read(one)
            if asked is not None:
                groups.setdefault(id(asked.version), []).append(one)
        for group in groups.values():
            _ask(group)
        for one in some:
            one.tell(self._answer(one))

    def now(self, small: Small) -> None:
        """Answers one that waits before the others."""
        self._waiting.remove(small)
        self._waiting.insert(0, small)
        self.flush()

    def _read(self, one: Small) -> answers.Asked | None:
        app, passed = self._app, one.passed
        try:
            if len(one.data) > app.service.config.body:
                return None
            one.call = Call(app.service, app.number(one.number), one.began + passed.seconds, passed.key)
            one.asked = passed.route.at_once(one.call, bodies.decoded(one.data, passed.route.body))  # type: ignore[misc]
        except Exception:
            return None
        return one.asked

    def _answer(self, one: Small) -> tuple[int, bytes] | None:
        try:
            return self._written(one) if one.said is not None else None
        except Exception:  # it may not take the answers of the others with it
            return None

    def _written(self, one: Small) -> tuple[int, bytes] | None:
        call, asked, said = one.call, one.asked, one.said
        assert call is not None and asked is not None and said is not None
        answer = asked.answer(said)
        if answer is None:
            return None
        asked.version.once()
        answers.note(call, asked.entry, asked.version)
        body = encode(answer)
        self._app.told("POST", one.passed.route, call, call.id, 200, "", one.began)
        return 200, headed(body, call.id)


def _ask(group: list[Small]) -> None:
    """Asks the one version that a group is for; where it raises nobody has an answer, and each goes the whole way."""
    asked = [one.asked for one in group if one.asked is not None]
    try:
        for one, said in zip(group, answers.sorted_by(asked[0].version, [one.text for one in asked]), strict=True):
            one.said = said
    except Exception:
        return
