"""Refusing costs what a model could have answered with: at ten times the peak rate nine of ten requests end here, as soon as their body is read.

No call, no exception, no task; the log has a line for each of the first hundred in a second and counts the others.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from ..fleet.pool import FULL
from . import answers
from . import body as bodies
from .call import Call, Passed, headed
from .problems import later, wait

if TYPE_CHECKING:
    from .app import App

_EACH = 100
_CODE = "server_overloaded"


class Refusals:
    """Says no to small requests for a model whose line is full. Lives on the event loop's thread."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._bodies: dict[str, bytes] = {}
        self._since, self._lines = 0.0, 0
        self._counted: Counter[tuple[str, str]] = Counter()

    def answer(self, passed: Passed, number: bytes | None, data: bytes) -> bytes | None:
        """Headers and body of a 503, or None where there is room or the request is wrong: it then goes on."""
        app, route = self._app, passed.route
        service = app.service
        if not service.fleet.pool.full or len(data) > service.config.body:
            return None
        began = time.monotonic()
        try:
            asked = bodies.decoded(data, route.body)
            found = answers.no_room(service.fleet, asked.model, asked.inputs)
        except Exception:
            return None
        if found is None:
            return None
        name, again = found
        identity = app.number(number)
        self.tell(began)
        self._lines += 1
        if self._lines <= _EACH:
            app.told("POST", route, _call(app, passed, identity, name), identity, 503, _CODE, began)
        else:
            self._counted[route.path, name] += 1
            service.metrics.told(route.path, 503, time.monotonic() - began, name)
        body = self._bodies.get(route.shape) or self._body(route.shape)
        return headed(body, identity, b"retry-after: %d\r\n" % wait(again))

    def tell(self, now: float) -> None:
        """Logs how many were not logged one by one in the second that is over; `now` is of the monotonic clock."""
        if now - self._since < 1.0:
            return
        for (path, name), count in self._counted.items():
            if self._app.log is not None:
                self._app.log.line(event="refused", route=path, model=name, status=503, code=_CODE, count=count)
        self._since, self._lines = now, 0
        self._counted.clear()

    def _body(self, shape: str) -> bytes:
        self._bodies[shape] = msgspec.json.encode(later(503, _CODE, FULL, 1).body(shape))
        return self._bodies[shape]


def _call(app: App, passed: Passed, identity: str, model: str) -> Call:
    call = Call(app.service, identity, 0.0, passed.key)
    call.notes["model"] = model
    return call
