"""A bundle is tried in a child process with limits before the service touches it: `python -m understudy.fleet.trial DIR`.

The child may take so much memory and processor time, opens every rung, answers the bundle's own checks and says so in one line
of JSON. Whatever it dies of, the service goes on.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from ..errors import BundleError

_SECONDS, _CPU = 120, 60
_SPARE = 512 << 20
_SAID = 4000
_running: set[subprocess.Popen[bytes]] = set()


def tried(path: Path, file_bytes: int) -> dict[str, Any]:
    """What the child said: `id`, and how many checks were answered. Raises BundleError; for a thread, because it waits.

    The child gets three times the size of the files and 512 MiB, 60 seconds of processor time, and two minutes in all.
    """
    root = str(Path(__file__).parents[2])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("UNDERSTUDY_")}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, environment.get("PYTHONPATH")]))
    limit = 3 * file_bytes + _SPARE
    command = [sys.executable, "-P", "-m", "understudy.fleet.trial", str(path), str(limit)]
    try:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, start_new_session=True, stdin=subprocess.DEVNULL)
    except OSError as problem:
        raise BundleError(f"{path} cannot be tried: {problem.strerror or problem}") from None
    _running.add(child)
    try:
        said_last, _ = child.communicate(timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        raise BundleError(f"{path} was not ready after {_SECONDS} seconds in its trial, and was ended") from None
    finally:
        _running.discard(child)
        _end(child)
    return _told(path, child.returncode, said_last, limit)


def end_trials() -> None:
    """Ends the trials that run, where nobody waits for them any more."""
    for child in list(_running):
        _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    # The child leads a session of its own: what it started goes with it.
    with contextlib.suppress(OSError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _told(path: Path, code: int, said_last: bytes, limit: int) -> dict[str, Any]:
    lines = said_last.decode("utf-8", "replace").strip().splitlines()
    with contextlib.suppress(ValueError, IndexError):
        said = json.loads(lines[-1])
        if isinstance(said, dict) and "problem" in said:
            raise BundleError(str(said["problem"])[:_SAID])
        if isinstance(said, dict) and "id" in said and code == 0:
            return said
    how = f"signal {-code}" if code < 0 else f"exit status {code}"
    raise BundleError(f"{path} ended its trial with {how}", hint=f"the trial allows {limit >> 20} MiB of memory and {_CPU} seconds of processor time")


def _limited(limit: int) -> None:
    # RLIMIT_DATA counts private writable memory; RLIMIT_AS would count the mapped libraries too.
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU, _CPU))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    """The child: loads the bundle, answers its checks, prints one line."""
    path, limit = sys.argv[1:]
    # Imported before the limits count: what the libraries take is no fault of the bundle.
    import onnxruntime  # noqa: F401
    import tokenizers  # noqa: F401

    from ..run.checks import answer_checks
    from .loading import load_bundle

    try:
        _limited(int(limit))
        loaded = load_bundle(path, slots=1)
        try:
            said: dict[str, Any] = {"id": loaded.id, "checks": answer_checks(loaded.model)}
        finally:
            loaded.close()
    except Exception as problem:
        # A library that is loaded late fails in its own words where there is no memory left for it.
        short = isinstance(problem, MemoryError) or "failed to map segment" in str(problem)
        said = {"problem": f"{path} wants more memory than its trial allows" if short else str(problem) or type(problem).__name__}
    print(json.dumps(said), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
