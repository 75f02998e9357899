"""/v1/models."""

from __future__ import annotations

from msgspec import Struct

from ..call import Call, Route


class Model(Struct):
    """A model that is served, under its name or an alias; `owned_by` is remote for a large one elsewhere, to which requests are passed on."""

    id: str
    created: int
    object: str = "model"
    owned_by: str = "understudy"


class Models(Struct):
    """All of them."""

    data: list[Model]
    object: str = "list"


async def models(call: Call, body: None) -> Models:
    """The names that a request may give as its model."""
    made = int(call.service.started)
    ours = [Model(name, made) for entry in call.service.fleet.entries.values() for name in (entry.name, *entry.aliases)]
    return Models(ours + _remote(call))


async def model(call: Call, body: None) -> Model:
    """One of them."""
    name = call.notes["tail"]
    for remote in _remote(call):
        if remote.id == name:
            return remote
    call.service.fleet.entry(name)
    return Model(name, int(call.service.started))


def _remote(call: Call) -> list[Model]:
    large = call.service.large
    return [] if large is None else [Model(large.model, int(call.service.started), owned_by="remote")]


ROUTES = [
    Route("GET", "/v1/models", models, "The models that are served.", Models),
    Route("GET", "/v1/models/{model}", model, "One model that is served.", Model, errors=(404,)),
]
