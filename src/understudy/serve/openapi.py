"""OpenAPI 3.1, written from the routes and their shapes."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

from .._version import __version__
from .call import Call, Raw, Route

_SAYS = {400: "The request is off; asking again will not help.", 401: "A key is needed.", 403: "The key may not do that, or another site's page asks.",
         404: "No such model.", 405: "Another method is needed.", 408: "The request took too long to arrive.", 413: "The body is too large.",
         415: "The body is no JSON.", 421: "This server is not called by that name.", 422: "The bundle was refused; what answered before goes on.",
         429: "This key or address asks too often, and Retry-After says when to ask again; or the large model's budget is used up.", 424: "The model is of another kind.", 502: "The large model failed.", 503: "As much to do as may be, or the model cannot be loaded; Retry-After says when to ask again.",
         504: "The answer was not ready in time."}
_REF = "#/components/schemas/{name}"


class ErrorDetail(msgspec.Struct):
    """What went wrong: a sentence, a type, the field that is to blame, and a code for programs."""

    message: str
    type: str
    param: str | None
    code: str | None


class Error(msgspec.Struct):
    """The shape of every error of ours and of OpenAI's routes."""

    error: ErrorDetail


class TeiError(msgspec.Struct):
    """The shape of text-embeddings-inference's errors."""

    error: str
    error_type: str


class LibreError(msgspec.Struct):
    """The shape of LibreTranslate's errors."""

    error: str


_ERRORS: dict[str, Any] = {"openai": Error, "tei": TeiError, "libre": LibreError}


@cache
def document(routes: tuple[Route, ...]) -> bytes:
    """The document as JSON."""
    shapes = list(dict.fromkeys(shape for route in routes for shape in (route.body, route.answer, _ERRORS[route.shape]) if shape not in (None, str, bytes)))
    schemas, parts = msgspec.json.schema_components(shapes, ref_template=_REF)
    by_shape = dict(zip(shapes, schemas, strict=True))
    paths: dict[str, Any] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, by_shape)
    security = {"bearer": {"type": "http", "scheme": "bearer"}}
    told = {"openapi": "3.1.0", "info": {"title": "Understudy", "version": __version__, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
            "paths": paths, "components": {"schemas": parts, "securitySchemes": security}, "security": [{}, {"bearer": []}]}
    return msgspec.json.encode(told)


def _operation(route: Route, by_shape: dict[Any, Any]) -> dict[str, Any]:
    name = f"{route.method.lower()}{route.path}".replace("/", "_").replace("{", "").replace("}", "").replace(".", "_").rstrip("_")
    told: dict[str, Any] = {"operationId": name, "summary": route.says, "responses": _responses(route, by_shape)}
    if "{" in route.path:
        part = route.path[route.path.index("{") + 1:route.path.index("}")]
        told["parameters"] = [{"name": part, "in": "path", "required": True, "schema": {"type": "string"}}]
    if route.body is not None:
        told["requestBody"] = {"required": True, "content": {"application/json": {"schema": by_shape[route.body]}}}
    if route.scope == "open":
        told["security"] = []
    return told


def _responses(route: Route, by_shape: dict[Any, Any]) -> dict[str, Any]:
    content = {"application/json": {"schema": by_shape[route.answer]}} if route.answer in by_shape else {"text/plain" if route.answer is str else "text/html": {}}
    if route.streams:
        content["text/event-stream"] = {}
    usual = (400, 401, 403, 408, 413, 415, 421, 429, 503, 504) if route.body is not None else (400, 401, 403, 421, 429)
    return {"200": {"description": "The answer.", "content": content},
            **{str(status): {"description": _SAYS[status], "content": {"application/json": {"schema": by_shape[_ERRORS[route.shape]]}}}
               for status in sorted({*usual, *route.errors})}}


async def openapi(call: Call, body: None) -> Raw:
    """This document."""
    from .routes import ROUTES

    return Raw(document(ROUTES), "application/json")


ROUTES = [Route("GET", "/openapi.json", openapi, "What this service answers, as OpenAPI 3.1.", dict[str, Any])]
