"""understudy chat: turns with a model."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UnderstudyError, UsageError
from .sampling import chosen, sampling_flags

if TYPE_CHECKING:
    from ..run.chatting import Chat
    from ..run.generate.sampling import Sampling

HELP = "/reset begins anew, /save FILE keeps the conversation as JSON, /exit (or the end of input) leaves"


@click.command()
@click.argument("model")
@click.option("--system", metavar="TEXT", help="What the model is told before the first turn.")
@sampling_flags
@click.option("--json", "as_json", is_flag=True, help="One JSON object per answer.")
def command(model: str, system: str | None, as_json: bool, **given: Any) -> None:
    """Talk with a bundle made for chat, or with a .gguf: a line of input is a turn.

    Example: understudy chat my-bundle --system "You are brief."
    """
    from ..run.chatting import open_chat

    with open_chat(model, system=system, copy=bool(given["copy"])) as chat:
        base = {"stop": chat.stop} if chat.stop else {}
        sampling = chosen(given, **base)
        if sys.stdin.isatty():
            click.echo(HELP, err=True)
        while (line := _next()) is not None:
            if line.startswith("/"):
                if _ordered(chat, line):
                    return
            elif line.strip():
                _answer(chat, line, sampling, as_json)


def _next() -> str | None:
    """The next line of input, or None at its end."""
    if sys.stdin.isatty():
        click.echo("> ", nl=False, err=True)
    line = sys.stdin.readline()
    return line.rstrip("\n") if line else None


def _ordered(chat: Chat, line: str) -> bool:
    """Does what a line with a slash says; True ends the chat."""
    word, _, rest = line.partition(" ")
    if word in ("/exit", "/quit"):
        return True
    if word == "/reset":
        chat.reset()
    elif word == "/save" and rest.strip():
        try:
            Path(rest.strip()).write_text(json.dumps({"messages": chat.messages}, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        except OSError as problem:
            raise UsageError(f"{rest.strip()} cannot be written: {problem.strerror}") from None
    else:
        click.echo(HELP, err=True)
    return False


def _answer(chat: Chat, line: str, sampling: Sampling, as_json: bool) -> None:
    def told(count: int) -> None:
        click.echo(f"note: {count} earlier messages no longer fit and were left out", err=True)

    said = []
    try:
        for piece in chat.say(line, sampling, told):
            said.append(piece)
            if not as_json:
                click.echo(piece, nl=False)
    except UsageError as problem:
        if not sys.stdin.isatty():
            raise
        _shown(problem)
        return
    click.echo(json.dumps({"input": line, "text": "".join(said)}, ensure_ascii=False) if as_json else "")


def _shown(problem: UnderstudyError) -> None:
    click.echo(f"error: {problem}" + (f"\nhint: {problem.hint}" if problem.hint else ""), err=True)
