"""The error tree. Everything this library raises on purpose is one of these.

    UnderstudyError            exit 1
    ├── UsageError             exit 2   a flag, a column, a name that does not exist
    ├── DataError              exit 1   a data file that cannot be used; names file and line
    ├── BundleError            exit 1   a bundle that is broken, hostile or from the future
    ├── TeacherError           exit 1   a teacher that cannot be opened or does not fit the task
    ├── ParityError            exit 1   exported answers differ from the trained ones
    ├── MissingExtraError      exit 1   an optional part that is not installed
    ├── UnknownModelError      exit 1   a service that is asked for a model that it does not have
    ├── BusyError              exit 1   a service that has as much to do as it may; says when to ask again
    ├── DeadlineError          exit 1   an answer that was not ready in time
    └── GateError              exit 3   a quality gate, a budget or a certificate that was not met

`str(error)` is one sentence with the value in it; `error.hint` says what to do next.
"""

from __future__ import annotations


class UnderstudyError(Exception):
    """What happened, in one sentence with the value in it; `hint` says what to do next."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint

    def as_dict(self) -> dict[str, str | int | None]:
        """The one JSON shape of an error, the same on the command line and over HTTP."""
        return {"error": type(self).__name__, "message": str(self), "hint": self.hint, "exit_code": self.exit_code}


class UsageError(UnderstudyError):
    """The call itself is off: an unknown flag value, a column that is not there, a name that does not exist."""

    exit_code = 2


class DataError(UnderstudyError):
    """A data file cannot be used; the message names the file and, where there is one, the line."""


class BundleError(UnderstudyError):
    """A bundle is incomplete, tampered with, hostile, or written by a newer version."""


class TeacherError(UnderstudyError):
    """A teacher cannot be opened, or its labels do not fit the task."""


class ParityError(UnderstudyError):
    """An export was refused because its answers differ from the trained model's."""


class MissingExtraError(UnderstudyError):
    """An optional part is not installed; the hint is the exact pip command."""


class UnknownModelError(UnderstudyError):
    """No model of that name is served."""


class BusyError(UnderstudyError):
    """Everything that may wait is waiting; `retry_after` is in how many seconds it is worth asking again."""

    def __init__(self, message: str, *, retry_after: float = 1.0, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class DeadlineError(UnderstudyError):
    """The answer was not ready in time, and is no longer worked on."""


class GateError(UnderstudyError):
    """A quality gate or a budget was not met."""

    exit_code = 3


def missing_extra(what: str, extra: str) -> MissingExtraError:
    """The error for a part of the product that needs `pip install understudy[extra]`."""
    return MissingExtraError(f"{what} needs the extra '{extra}', which is not installed",
                             hint=f"pip install 'understudy[{extra}]'")
