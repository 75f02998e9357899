"""From messages to a prompt: chat templates in a sandbox, user text that can never become a control token, turns that fit."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from ...errors import BundleError, UsageError
from .chat_templates import CHAT_TEMPLATES
from .rendering import TemplateProblem, run_template
from .sampling import check_text

Message = Mapping[str, str]
Tokenize = Callable[[str, bool], list[int]]

ROLES = ("system", "user", "assistant")
_MOST_MESSAGES, _LONGEST_CONTENT, _LONGEST_SOURCE = 2000, 2 << 20, 1 << 18


def render(messages: Sequence[Message], template: str, *, bos: str = "", eos: str = "", add_generation_prompt: bool = True,
           timeout: float = 10.0) -> str:  # fmt: skip
    """The prompt of a chat as text.

    `messages`: dicts with `role` ('system', 'user', 'assistant') and `content`. `template`: the name of one of ours
    (`CHAT_TEMPLATES`), or Jinja source, which is rendered in a process of its own that `timeout` seconds end. The text may hold
    what looks like a control token in what a user wrote: prefer `encode_chat`. Raises UsageError for messages, BundleError
    for a template that is broken, reaches out of the sandbox or does not end.
    """
    checked = checked_messages(messages)
    variables = {"messages": checked, "bos_token": bos, "eos_token": eos, "add_generation_prompt": add_generation_prompt}
    try:
        if template in CHAT_TEMPLATES:
            return run_template(CHAT_TEMPLATES[template], variables)
        return _in_child(template, variables, timeout)
    except TemplateProblem as problem:
        if problem.of_messages:
            raise UsageError(f"the chat template refuses the messages: {problem}") from None
        raise BundleError(f"the chat template cannot be rendered: {problem}",
                          hint=f"use one of {', '.join(CHAT_TEMPLATES)}") from None


def encode_chat(messages: Sequence[Message], template: str, tokenize: Tokenize, *, control: Set[int] = frozenset(), bos: str = "",
                eos: str = "", add_generation_prompt: bool = True) -> list[int]:  # fmt: skip
    """The prompt of a chat as ids, in which control tokens come from the template alone.

    `tokenize(text, special)` gives ids, reading control tokens only where `special` is true; `control` are the ids of control
    tokens (`GgufInfo.control`). Where no message spells a control token the ids are those of the whole text, as the
    model was trained; otherwise each content is tokenised by itself, without control tokens. Raises as `render`, and
    BundleError for a template that drops or repeats a content.
    """
    checked = checked_messages(messages)
    nonce = secrets.token_hex(8)
    marks = [{"role": one["role"], "content": f"\ue000{nonce}:{at}\ue001"} for at, one in enumerate(checked)]
    text = render(marks, template, bos=bos, eos=eos, add_generation_prompt=add_generation_prompt)
    pieces = re.split(f"\ue000{nonce}:(\\d+)\ue001", text)
    order = [int(one) for one in pieces[1::2]]
    if sorted(order) != list(range(len(checked))):
        raise BundleError("the chat template drops or repeats a message, so user text in it cannot be told apart",
                          hint=f"use one of {', '.join(CHAT_TEMPLATES)}")
    parts = [(checked[int(piece)]["content"], False) if at % 2 else (piece, True) for at, piece in enumerate(pieces)]
    apart = [one for part, special in parts if part for one in tokenize(part, special)]
    if not control or any(control & set(tokenize(part, True)) for part, special in parts if part and not special):
        return apart
    whole = tokenize("".join(part for part, _ in parts), True)
    # A control token may also be spelled by a content together with what stands around it.
    return whole if [one for one in whole if one in control] == [one for one in apart if one in control] else apart


def fit_messages(messages: Sequence[Message], count: Callable[[list[dict[str, str]]], int], limit: int) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """(kept, dropped): the oldest turns go until `count(kept)` tokens are at most `limit`.

    The system prompt and the last user turn with what follows it always stay; an answer goes together with the turn it
    answers. Raises UsageError where even those do not fit.
    """
    checked = checked_messages(messages)
    head = 1 if checked[0]["role"] == "system" else 0
    last = max((at for at, one in enumerate(checked) if one["role"] == "user"), default=len(checked) - 1)
    starts = [at for at in range(head, last + 1) if at in (head, last) or checked[at]["role"] == "user"]
    low, high = 0, len(starts) - 1
    # Fewer turns are never more tokens, so the first start that fits is found by halving.
    if count(checked[:head] + checked[starts[high]:]) > limit:
        raise UsageError(f"the system prompt and the last turn have {count(checked[:head] + checked[starts[high]:])} tokens "
                         f"and {limit} fit", hint="shorten them, allow a shorter answer, or take a model with a larger context")
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if count(checked[:head] + checked[starts[middle]:]) <= limit else (middle + 1, high)
    return checked[:head] + checked[starts[low]:], checked[head : starts[low]]


def checked_messages(messages: Sequence[Message]) -> list[dict[str, str]]:
    """The role and content of every message. Raises UsageError for what is no conversation: no list, unknown roles, contents that are no text."""
    if isinstance(messages, str | bytes) or not isinstance(messages, Sequence) or not messages:
        raise UsageError("messages is not a list of messages", hint='[{"role": "user", "content": "…"}]')
    if len(messages) > _MOST_MESSAGES:
        raise UsageError(f"{len(messages)} messages", hint=f"at most {_MOST_MESSAGES}")
    checked = []
    for at, one in enumerate(messages):
        role, content = (one.get("role"), one.get("content")) if isinstance(one, Mapping) else (None, None)
        if role not in ROLES:
            raise UsageError(f"message {at} has the role {role!r}", hint=f"one of {', '.join(ROLES)}")
        if role == "system" and at:
            raise UsageError(f"message {at} is a system message", hint="a system message stands first")
        if not isinstance(content, str) or len(content) > _LONGEST_CONTENT:
            raise UsageError(f"the content of message {at} is no text, or one of more than {_LONGEST_CONTENT} characters")
        check_text(content, f"message {at}")
        checked.append({"role": str(role), "content": content})
    if len(checked) == 1 and checked[0]["role"] == "system":
        raise UsageError("there is a system message and nothing else", hint="add a user message")
    return checked


def _in_child(source: str, variables: dict[str, Any], timeout: float) -> str:
    if len(source) > _LONGEST_SOURCE:
        raise TemplateProblem(f"it has {len(source)} characters, at most {_LONGEST_SOURCE} are sane")
    root = str(Path(__file__).parents[3])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
    request = json.dumps({"source": source, "variables": variables}).encode("ascii")
    try:
        done = subprocess.run([sys.executable, "-P", "-m", "understudy.run.generate.rendering"], input=request, capture_output=True,
                              env=environment, timeout=timeout, check=False)  # fmt: skip
    except subprocess.TimeoutExpired:
        raise TemplateProblem(f"it does not end within {timeout:g} seconds") from None
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        raise TemplateProblem(f"its process ended with status {done.returncode}: it does not end, or asks for too much memory") from None
    if "problem" in answer:
        raise TemplateProblem(answer["problem"], of_messages=answer["of_messages"])
    return str(answer["text"])
