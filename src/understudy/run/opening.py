"""`understudy.load`: a bundle that sorts, one that summarises, or one that writes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..bundle import Bundle, open_bundle
from .answer import Understudy

if TYPE_CHECKING:
    from .generate.starting import Start
    from .summarising import Summariser
    from .writing import Writer

    Opened = Understudy | Summariser | Writer


def load(path: str | os.PathLike[str], *, threads: int | None = None, verify: bool = True, copy: bool = False) -> Understudy | Summariser | Writer:
    """Opens a bundle: an Understudy where its task is to classify, a Summariser where it chooses sentences, else a Writer.

    `threads`: cores; where not given one, and all for a large Writer. `verify=False` looks at sizes now and at the hash of each file when
    it is first read, which answers sooner. `copy` lets a Writer guess ahead from its prompt (`Sampling(copy=True)`). Raises BundleError for
    a bundle that is broken or hostile.
    """
    return answering(open_bundle(path, verify="full" if verify else "sizes"), threads=threads, copy=copy)


def answering(bundle: Bundle, *, threads: int | None = None, copy: bool = False, slots: int | None = None,
              start: Start | None = None, beside: bool = False) -> Understudy | Summariser | Writer:
    """What answers from an opened bundle, by its task and the kind of its last rung. `slots`: requests that a Writer works on at once;
    `start`: what starts its worker; `beside`: whether others write beside it."""
    if bundle.manifest.task == "classify":
        return Understudy(bundle, threads=threads or 1)
    if bundle.manifest.rungs[-1].kind == "extract":
        from .summarising import Summariser

        return Summariser(bundle, threads=threads or 1)
    from .generate.starting import spawned
    from .writing import SLOTS, Writer

    return Writer(bundle, threads=threads, copy=copy, slots=slots or SLOTS, start=start or spawned, beside=beside)
