"""understudy chat: turns with a model."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from .files import put
from .sampling import chosen, sampling_flags

if TYPE_CHECKING:
    from ..run.chatting import Chat
    from ..run.generate.sampling import Sampling

HELP = "/reset begins anew, /save FILE keeps the conversation as JSON, /load FILE goes on with one, /exit (or the end of input) leaves"
_MOST = 64 << 20


@click.command()
@click.argument("model")
@click.option("--system", metavar="TEXT", help="What the model is told before the first turn.")
@click.option("--from", "source", metavar="FILE", help="Go on with a conversation that /save kept.")
@sampling_flags
@click.option("--json", "as_json", is_flag=True, help="One JSON object per answer: text, token ids, finish reason, timings.")
def command(model: str, system: str | None, source: str | None, as_json: bool, **given: Any) -> None:
    """Talk with a bundle made for chat, a .gguf or a Hugging Face folder: a line of input is a turn.

    Example: understudy chat my-bundle --system "You are brief."
    """
    from ..recipes.text.engines import chat as opened

    with opened(model, system=system, copy=bool(given["copy"])) as chat:
        base = {"stop": chat.stop} if chat.stop else {}
        sampling = chosen(given, **base, max_tokens=chat.max_tokens)
        if source:
            _resumed(chat, source)
        if sys.stdin.isatty():
            click.echo(HELP, err=True)
        while (line := _next()) is not None:
            if line.startswith("/"):
                if _ordered(chat, line):
                    return
            elif line.strip():
                _guarded(partial(_answer, chat, line, sampling, as_json))


def _next() -> str | None:
    """The next line of input, or None at its end."""
    if sys.stdin.isatty():
        click.echo("> ", nl=False, err=True)
    line = sys.stdin.readline()
    return line.rstrip("\n") if line else None


def _ordered(chat: Chat, line: str) -> bool:
    """Does what a line with a slash says; True ends the chat."""
    word, _, rest = line.partition(" ")
    place = rest.strip()
    if word in ("/exit", "/quit"):
        return True
    if word == "/reset":
        chat.reset()
    elif word == "/save" and place:
        _guarded(lambda: put(place, (json.dumps({"messages": chat.messages}, ensure_ascii=False, indent=1) + "\n").encode()))
    elif word == "/load" and place:
        _guarded(lambda: _resumed(chat, place))
    else:
        click.echo(HELP, err=True)
    return False


def _resumed(chat: Chat, source: str) -> None:
    """Goes on with a saved conversation: {"messages": [{"role": …, "content": …}, …]}."""
    try:
        with open(source, "rb") as file:
            told: Any = json.loads(file.read(_MOST))
    except OSError as problem:
        raise UsageError(f"{source} cannot be read: {problem.strerror}") from None
    except (ValueError, RecursionError) as problem:
        raise UsageError(f"{source} is not JSON: {problem}", hint="a file that /save wrote") from None
    messages = told.get("messages") if isinstance(told, dict) else None
    if messages is None:
        raise UsageError(f"{source} holds no conversation", hint='a file that /save wrote: {"messages": [{"role": "user", "content": "…"}]}')
    chat.resume(messages)
    click.echo(f"note: going on after {len(chat.messages):,} messages", err=True)


def _guarded(work: Callable[[], None]) -> None:
    """Does it; on a terminal a mistake is said and the chat goes on."""
    try:
        work()
    except UsageError as problem:
        if not sys.stdin.isatty():
            raise
        click.echo(f"error: {problem}" + (f"\nhint: {problem.hint}" if problem.hint else ""), err=True)


def _answer(chat: Chat, line: str, sampling: Sampling, as_json: bool) -> None:
    def told(count: int) -> None:
        click.echo(f"note: {count} earlier messages no longer fit and were left out", err=True)

    if as_json:
        said = chat.answer(line, sampling, told)
        click.echo(json.dumps({"input": line, "text": said.text, "finish": said.finish, "ids": list(said.ids), "prompt_tokens": said.prompt_tokens,
                               "tokens": said.tokens, "seconds_first": said.seconds_first, "tokens_per_second": said.tokens_per_second},
                              ensure_ascii=False))
        return
    for piece in chat.say(line, sampling, told):
        click.echo(piece, nl=False)
    click.echo("")
    if chat.finish == "length":
        click.echo("note: the answer was cut at its longest; --max-tokens allows more", err=True)
