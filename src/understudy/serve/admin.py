"""Managing what is served: /models, load, unload, rollback, share. Names only: no path and no address ever comes from a request."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct

from ..bundle.paths import MANIFEST
from ..errors import BundleError
from .call import Call, Route
from .problems import Problem, bad

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Share = Annotated[float, Meta(ge=0, le=1)]


class LoadRequest(Struct, forbid_unknown_fields=True):
    """`model`: a name that is served. Without `bundle` its own folder is read again; with it the folder of that name in --models takes over.

    `share` below 1 makes it a canary that gets this share of the requests. A `model` that is not served yet is added from its folder in --models.
    """

    model: Name
    bundle: Name | None = None
    share: Share = 1.0


class ModelRequest(Struct, forbid_unknown_fields=True):
    """`model`: a name that is served."""

    model: Name


class ShareRequest(Struct, forbid_unknown_fields=True):
    """`share`: how much of the requests the canary gets; 1 makes it the model, 0 takes it back."""

    model: Name
    share: Share


class ModelList(Struct):
    """All models with what they are for, whether they are loaded, and what runs and waits."""

    data: list[dict[str, Any]]
    object: str = "list"


class ModelState(Struct):
    """One model after what was asked."""

    model: dict[str, Any]


def told(entry: Any) -> dict[str, Any]:
    """What a model is for and what it does right now."""
    return {"id": entry.name, "object": "model", "about": entry.about, "status": {"value": entry.state}, **entry.status()}


async def models(call: Call, body: None) -> ModelList:
    """All models."""
    return ModelList([told(entry) for entry in call.service.fleet.entries.values()])


async def load(call: Call, body: LoadRequest) -> ModelState:
    """Loads a model, or another bundle in its place: proved first, swapped without a gap."""
    fleet = call.service.fleet
    path = _folder(call, body.bundle) if body.bundle is not None else None
    if body.model not in fleet.entries and body.bundle is None and fleet.root is not None and _NAME.fullmatch(body.model) and (fleet.root / body.model / MANIFEST).is_file():
        fleet.add(body.model, _folder(call, body.model))
    try:
        return ModelState(told(await fleet.swap(body.model, path, body.share)))
    except BundleError as problem:
        call.notes["problem"] = str(problem)
        said = str(problem).replace(f"{path or fleet.entry(body.model).path}", body.bundle or body.model)
        raise Problem(422, "bundle_refused", f"what answered before goes on; the bundle was refused: {said[:500]}", param="bundle" if body.bundle else "model") from None


async def unload(call: Call, body: ModelRequest) -> ModelState:
    """Takes a model out of memory, once what it works on is done; the next request loads it again."""
    await call.service.fleet.unload(body.model)
    return ModelState(told(call.service.fleet.entry(body.model)))


async def rollback(call: Call, body: ModelRequest) -> ModelState:
    """Brings back what answered before the last load, at once."""
    return ModelState(told(await call.service.fleet.rollback(body.model)))


async def share(call: Call, body: ShareRequest) -> ModelState:
    """Gives the canary another share of the requests."""
    return ModelState(told(await call.service.fleet.set_share(body.model, body.share)))


def _folder(call: Call, name: str) -> Path:
    root = call.service.fleet.root
    if root is None:
        raise bad("the server was started without --models, so there is no folder to load from", param="bundle")
    if not _NAME.fullmatch(name) or not (root / name / MANIFEST).is_file() or (root / name).is_symlink():
        raise bad("there is no bundle of that name in the folder of --models", param="bundle")
    return root / name


ROUTES = [
    Route("GET", "/models", models, "All models: what they are for, whether they are loaded, what runs and waits.", ModelList),
    Route("POST", "/models/load", load, "Load a model, or another bundle in its place.", ModelState, LoadRequest, scope="admin", errors=(404, 422)),
    Route("POST", "/models/unload", unload, "Take a model out of memory.", ModelState, ModelRequest, scope="admin", errors=(404,)),
    Route("POST", "/models/rollback", rollback, "Bring back what answered before the last load.", ModelState, ModelRequest, scope="admin", errors=(404,)),
    Route("POST", "/models/share", share, "Give the canary another share of the requests.", ModelState, ShareRequest, scope="admin", errors=(404,)),
]
