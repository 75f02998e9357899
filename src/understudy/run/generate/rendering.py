"""Runs one Jinja template in a sandbox. As a program (`python -m …rendering`) it does so under limits on memory and time.

The sandbox keeps a template away from Python; it does not keep it from looping or from asking for a gigabyte, so
templates that are not ours are rendered in a process that can be ended.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from ...errors import missing_extra

LONGEST_OUTPUT = 4 << 20
_MEMORY, _CPU_SECONDS = 1 << 30, 5


class TemplateProblem(Exception):
    """Why a template gave no text; `of_messages` where the template itself refused the messages."""

    def __init__(self, message: str, *, of_messages: bool = False) -> None:
        super().__init__(message)
        self.of_messages = of_messages


def run_template(source: str, variables: dict[str, Any]) -> str:
    """The text of a template, in this process. Raises TemplateProblem, MissingExtraError without jinja2."""
    try:
        import jinja2
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError:
        raise missing_extra("rendering a chat template", "generate") from None

    def refuse(message: object = "") -> None:
        raise TemplateProblem(str(message)[:300], of_messages=True)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
                                                extensions=["jinja2.ext.loopcontrols"])
    environment.globals["raise_exception"] = refuse
    parts, length = [], 0
    try:
        for part in environment.from_string(source).generate(**variables):
            length += len(part)
            if length > LONGEST_OUTPUT:
                raise TemplateProblem(f"it writes more than {LONGEST_OUTPUT} characters")
            parts.append(part)
    except TemplateProblem:
        raise
    except MemoryError:
        raise TemplateProblem("it asks for too much memory") from None
    except (jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError) as problem:
        raise TemplateProblem(f"{type(problem).__name__}: {str(problem)[:300]}") from None
    return "".join(parts)


def main() -> None:
    """One request on standard input, one answer on standard output."""
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    request = json.load(sys.stdin.buffer)
    try:
        answer: dict[str, Any] = {"text": run_template(request["source"], request["variables"])}
    except TemplateProblem as problem:
        answer = {"problem": str(problem), "of_messages": problem.of_messages}
    except MemoryError:
        answer = {"problem": "it asks for too much memory", "of_messages": False}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
