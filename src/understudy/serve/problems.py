"""What went wrong, as a status, a code and a sentence, in the shape that the asked interface speaks."""

from __future__ import annotations

import random
from typing import Any

from ..errors import (
    BundleError,
    BusyError,
    DeadlineError,
    MissingExtraError,
    UnderstudyError,
    UnknownModelError,
    UsageError,
)

_TYPES = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
_TEI = {400: "Validation", 404: "Validation", 413: "Validation", 415: "Validation", 422: "Tokenizer", 424: "Backend", 429: "Overloaded", 503: "Overloaded"}


class Problem(Exception):
    """An answer that is no success. `headers` go with it; `param` names the field that is to blame."""

    def __init__(self, status: int, code: str, message: str, *, param: str | None = None, headers: tuple[tuple[bytes, bytes], ...] = (),
                 close: bool = False) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.param = status, code, message, param
        self.headers, self.close = headers, close

    def body(self, shape: str) -> dict[str, Any]:
        """The JSON body in the shape 'openai', 'tei' or 'libre'."""
        if shape == "tei":
            return {"error": self.message, "error_type": _TEI.get(self.status, "Validation" if self.status < 500 else "Backend")}
        if shape == "libre":
            return {"error": self.message}
        kind = _TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def bad(message: str, *, param: str | None = None, code: str = "invalid_request") -> Problem:
    """400: the request is off; asking again will not help."""
    return Problem(400, code, message, param=param, headers=((b"x-should-retry", b"false"),))


def later(status: int, code: str, message: str, seconds: float) -> Problem:
    """An answer that says when to ask again; a little is added by chance, so that not everybody comes back at once."""
    return Problem(status, code, message, headers=((b"retry-after", b"%d" % wait(seconds)),))


def wait(seconds: float) -> int:
    """Whole seconds for Retry-After, with chance in them."""
    return max(1, round(seconds + random.random()))


def problem_of(error: Exception) -> Problem:
    """The problem that an error of the library is to a client: nothing of folders, processes or code in it."""
    if isinstance(error, Problem):
        return error
    hint = f"; {error.hint}" if isinstance(error, UnderstudyError) and error.hint else ""
    if isinstance(error, UnknownModelError):
        return Problem(404, "model_not_found", f"{error}{hint}", param="model", headers=((b"x-should-retry", b"false"),))
    if isinstance(error, BusyError):
        return later(503, "server_overloaded", str(error), error.retry_after)
    if isinstance(error, DeadlineError):
        return Problem(504, "timeout", str(error))
    if isinstance(error, UsageError):
        code = "context_length_exceeded" if "the context holds" in str(error) or "do not fit" in str(error) else "invalid_request"
        return bad(f"{error}{hint}", code=code)
    if isinstance(error, BundleError | MissingExtraError):
        return later(503, "model_unavailable", "the model cannot be loaded; the server's log says why under this request's id", 5)
    if isinstance(error, UnderstudyError):
        return later(503, "model_failed", "the model could not answer; the server's log says why under this request's id", 1)
    return Problem(500, "internal_error", "the server could not answer; its log says why under this request's id")
