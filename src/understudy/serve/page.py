"""The page for people at /, and the receipts it shows. Plain files without a build step, under a policy that lets them load nothing else."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from ..bundle.reader import open_bundle
from .call import Call, Handler, Raw, Route
from .problems import Problem

_KINDS = {"html": "text/html; charset=utf-8", "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
_COMMON = ((b"referrer-policy", b"no-referrer"), (b"cross-origin-opener-policy", b"same-origin"), (b"cross-origin-resource-policy", b"same-origin"))
_OURS = (*_COMMON, (b"cache-control", b"no-cache"), (b"content-security-policy",
         b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"))
# A receipt comes with a bundle, and a bundle may come from anywhere: it is shown as a picture of itself, without scripts, forms or an origin.
_THEIRS = (*_COMMON, (b"content-security-policy", b"sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"))


@cache
def _file(name: str) -> Raw:
    return Raw((files(__package__) / "ui" / name).read_bytes(), _KINDS[name.rpartition(".")[2]], _OURS)


def _serving(name: str) -> Handler:
    async def handler(call: Call, body: None) -> Raw:
        return _file(name)

    return handler


async def receipt(call: Call, body: None) -> Raw:
    """The receipt of a model as JSON, or as a page where its name is followed by .html."""
    entries, asked = call.service.fleet.entries, call.notes["tail"]
    as_page = asked not in entries and asked.endswith(".html")
    entry = call.service.fleet.entry(asked.removesuffix(".html") if as_page else asked)
    bundle, name = open_bundle(entry.path), "receipt.html" if as_page else "receipt.json"
    if name not in bundle.files():
        raise Problem(404, "no_receipt", "that bundle has no receipt")
    return Raw(bundle.read(name), _KINDS["html"], _THEIRS) if as_page else Raw(bundle.read(name), "application/json")


PAGES = [Route("GET", path, _serving(name), says, str, scope="open") for path, name, says in (
    ("/", "index.html", "The page for people."), ("/ui/app.css", "app.css", "How the page looks."),
    ("/ui/app.js", "app.js", "What the page does."), ("/ui/icon.svg", "icon.svg", "The page's icon."))]
"""What a browser asks for; no part of the documented interface."""
ROUTES = [Route("GET", "/receipts/{model}", receipt, "A model's receipt; as a page where its name is followed by .html.", dict[str, Any], errors=(404,))]
