"""What can be wrong with the large model: a short code for notes and figures, and the answer that a client gets where there is no other."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from ..problems import Problem, wait

_NEVER = (b"x-should-retry", b"false")
_LONGEST = 3600.0
_SAYS = {
    "unreachable": "the large model cannot be reached", "elsewhere": "the large model's address leads to where it may not be asked (see the log)",
    "cut": "the large model ended its answer too early", "late": "the large model took too long",
    "auth": "the large model does not take the key of this server (UNDERSTUDY_LARGE_KEY)", "refused": "the large model refused the request",
    "rate": "the large model is asked too often", "failing": "the large model failed", "redirect": "the large model's address leads elsewhere, which is not followed",
    "nonsense": "the large model's answer is none", "too_large": "the large model's answer is longer than is taken",
    "open": "the large model failed several times in a row and is left alone for a moment", "busy": "as much waits for the large model as may",
    "unread": "the large model's answer was not read in time",
    "budget": "the large model has been asked as often as it may be on one day (--large-budget)",
    "uncounted": "the large model's questions cannot be counted at this moment, so it is not asked"}
_ANSWERS = {"auth": (502, "upstream_auth"), "late": (504, "upstream_timeout"), "busy": (503, "server_overloaded"), "budget": (429, "insufficient_quota")}
WHYS = ("answered", *_SAYS)
"""How asking the large model can end."""


class Trouble(Problem):
    """`why` is the short code; `outage` says whether the large model is ill (None: neither), `again` that asking once more may help, in `after` seconds where it said so."""

    def __init__(self, why: str, *, status: int | None = None, outage: bool | None = True, again: bool = False, after: float | None = None) -> None:
        self.why, self.outage, self.again, self.after = why, outage, again, after
        headers: tuple[tuple[bytes, bytes], ...] = (_NEVER,) if why in ("auth", "refused", "redirect", "budget") else ()
        if after is not None or why in ("rate", "busy"):
            headers = ((b"retry-after", b"%d" % wait(after or 1.0)),)
        ours, code = _ANSWERS.get(why, (502, "upstream_error"))
        super().__init__(ours, code, _SAYS[why] + (f" ({status})" if status else ""), headers=headers)


def trouble_of(status: int, headers: dict[bytes, bytes]) -> Trouble | None:
    """What an answer's status and headers mean; None where it is one."""
    if status == 200:
        packed = headers.get(b"content-encoding", b"identity").lower() != b"identity"  # never unpacked: a small one may unpack to gigabytes
        return Trouble("nonsense") if packed else None
    if 300 <= status < 400:
        return Trouble("redirect", status=status, outage=False)
    if status in (401, 403):
        return Trouble("auth", status=status, outage=False)
    if status == 429:
        return Trouble("rate", status=status, outage=False, again=True, after=seconds_of(headers.get(b"retry-after")))
    if 400 <= status < 500:
        return Trouble("refused", status=status, outage=False)
    if status in (502, 503, 504):
        return Trouble("failing", status=status, again=True, after=seconds_of(headers.get(b"retry-after")))
    return Trouble("failing" if status >= 500 else "nonsense", status=status)


def seconds_of(told: bytes | None) -> float | None:
    """What Retry-After says, 0 to 3,600 seconds; None for nothing, a negative number, or what is neither a number nor a date."""
    if told is None or len(told) > 64:
        return None
    text = told.decode("latin-1").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), _LONGEST)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return min(max((date - datetime.now(UTC)).total_seconds(), 0.0), _LONGEST)
