"""The command line: one file per verb, loaded when it is asked for. Parse, call, print."""

from __future__ import annotations

import errno
import json
import os
import re
import sys
from importlib import import_module

import click

from .._version import __version__
from ..errors import UnderstudyError

VERBS = {"train": "Make a bundle from data files.", "predict": "Answer texts, a file or standard input.",
         "score": "The likeliest next words, perplexity, bits per byte.",
         "prove": "Measure a bundle on new labelled data.", "show": "Say what is in a bundle, and check it.",
         "chat": "Talk with a model, turn by turn.", "trim": "Cut a decoder's vocabulary to your texts.",
         "quantize": "Write a decoder with fewer bits a weight.", "export": "Write a model as another program opens it.",
         "serve": "Answer over HTTP: many models, one process.", "load-test": "Latency against rate, of a server of its own.",
         "bench": "Measure latency, memory and cold start here.", "doctor": "Say what would fail on this machine."}
_INTERRUPTED = 130
_HINTS = {errno.ENOSPC: "free some space on the disk", errno.EMFILE: "raise the limit of open files: ulimit -n", errno.ENOMEM: "free some memory",
          errno.EACCES: "check the permissions", errno.EROFS: "choose a place that can be written",
          errno.EFBIG: "raise the limit of a file's size: ulimit -f"}
_BELOW = re.compile(r"\(os error (\d+)\)")
"""How libraries in Rust, of tensors and tokenizers, pass on what the system refused."""


class _Verbs(click.Group):
    """Lists every verb without importing any."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        command: click.Command = import_module(f".{name.replace('-', '_')}", __name__).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="understudy")
def group() -> None:
    """Small language models that you own: trained, distilled, shrunk, proved and run on an ordinary CPU.

    Every verb: --json for machines; exit 0, 2 (usage), 3 (a quality gate failed), 1 (anything else).
    """


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and exits: the one place where errors become words and exit codes."""
    given = sys.argv[1:] if arguments is None else arguments
    sys.exit(_run(given, as_json="--json" in given))


def _run(arguments: list[str], *, as_json: bool) -> int:
    try:
        code = group.main(args=arguments, prog_name="understudy", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as shown:
        shown.show()
        return 2
    except click.ClickException as problem:
        message = problem.format_message()
        return _tell({"error": "UsageError", "message": message, "hint": _help_hint(problem), "exit_code": 2}, as_json)
    except (click.Abort, KeyboardInterrupt):
        return _tell({"error": "Interrupted", "message": "interrupted", "hint": None, "exit_code": _INTERRUPTED}, as_json)
    except BrokenPipeError:
        # Nobody reads any more. Python would complain once more while it closes standard output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except UnderstudyError as problem:
        return _tell(problem.as_dict(), as_json)
    except OSError as problem:
        return _refused(problem, as_json)
    except Exception as problem:
        if below := _BELOW.search(str(problem)):
            return _refused(OSError(int(below[1]), os.strerror(int(below[1]))), as_json)
        if os.environ.get("UNDERSTUDY_DEBUG"):
            raise
        return _tell({"error": type(problem).__name__, "message": f"{type(problem).__name__}: {problem}".strip(),
                      "hint": "UNDERSTUDY_DEBUG=1 shows where; if it is not the disk or the memory, this is a bug", "exit_code": 1}, as_json)


def _refused(problem: OSError, as_json: bool) -> int:
    return _tell({"error": type(problem).__name__, "message": _from_the_system(problem), "hint": _HINTS.get(problem.errno or 0), "exit_code": 1}, as_json)


def _from_the_system(problem: OSError) -> str:
    """What the system refused, in its words, with the file where it names one; most often standard output on a full disk."""
    if os.environ.get("UNDERSTUDY_DEBUG"):
        raise problem
    said = (problem.strerror or str(problem) or type(problem).__name__).lower()
    return f"{problem.filename}: {said}" if problem.filename else f"the output cannot be written: {said}" if problem.errno in (errno.ENOSPC, errno.EFBIG) else said


def _help_hint(problem: click.ClickException) -> str | None:
    context = getattr(problem, "ctx", None)
    return f"{context.command_path} --help shows the flags" if context else None


def _tell(problem: dict, as_json: bool) -> int:
    if as_json:
        click.echo(json.dumps(problem, ensure_ascii=False), err=True)
    else:
        click.echo(f"error: {problem['message']}", err=True)
        if problem["hint"]:
            click.echo(f"hint: {problem['hint']}", err=True)
    code: int = problem["exit_code"]
    return code
