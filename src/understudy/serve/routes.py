"""Every route of the service, documented and of the page, and finding the one of a request."""

from __future__ import annotations

from . import admin, libre, openapi, own, page, status, tei
from .call import Route
from .openai import chat, completions, embeddings, models
from .problems import Problem

ROUTES: tuple[Route, ...] = (
    *status.ROUTES, *own.ROUTES, *models.ROUTES, *chat.ROUTES, *completions.ROUTES, *embeddings.ROUTES, *tei.ROUTES, *libre.ROUTES, *admin.ROUTES,
    *page.ROUTES, *openapi.ROUTES)


class Router:
    """Finds routes by exact path; a path that ends in {name} takes one more part."""

    def __init__(self, routes: tuple[Route, ...] = (*ROUTES, *page.PAGES)) -> None:
        self.routes = routes
        self._exact = {(route.method, route.path): route for route in routes if "{" not in route.path}
        self._open = [(route.method, route.path[:route.path.index("{")], route) for route in routes if "{" in route.path]
        self._exact |= {("HEAD", path): route for (method, path), route in self._exact.items() if method == "GET"}

    def find(self, method: str, path: str) -> tuple[Route, str]:
        """The route, and what stood in place of {name}. Raises 404 and 405."""
        route = self._exact.get((method, path))
        if route is not None:
            return route, ""
        for its, begin, route in self._open:
            if path.startswith(begin) and len(path) > len(begin) and (its == method or (method == "HEAD" and its == "GET")):
                return route, path[len(begin):]
        allowed = self.methods(path)
        if allowed:
            raise Problem(405, "method_not_allowed", f"this path answers {', '.join(allowed)}", headers=((b"allow", ", ".join(allowed).encode()),), close=True)
        raise Problem(404, "not_found", "there is nothing here; /openapi.json lists what there is", close=method not in ("GET", "HEAD"))

    def methods(self, path: str) -> list[str]:
        """The methods that a path answers."""
        found = {method for method, known in self._exact if known == path}
        found |= {method for method, begin, _ in self._open if path.startswith(begin) and len(path) > len(begin)}
        return sorted(found)
