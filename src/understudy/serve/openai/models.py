"""/v1/models."""

from __future__ import annotations

from msgspec import Struct

from ..call import Call, Route


class Model(Struct):
    """A model that is served, under its name or an alias."""

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
    return Models([Model(name, made) for entry in call.service.fleet.entries.values() for name in (entry.name, *entry.aliases)])


async def model(call: Call, body: None) -> Model:
    """One of them."""
    name = call.notes["tail"]
    call.service.fleet.entry(name)
    return Model(name, int(call.service.started))


ROUTES = [
    Route("GET", "/v1/models", models, "The models that are served.", Models),
    Route("GET", "/v1/models/{model}", model, "One model that is served.", Model, errors=(404,)),
]
