"""Every operation of the API, from the URL configuration: what nobody lists here cannot be forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.urls import URLPattern, URLResolver

from portal.api_urls import urlpatterns

ROOT = "/api/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One method of one address; `{id}` stands for the id of an object."""

    operation: str
    method: str
    path: str
    view_name: str


def routes() -> list[Route]:
    """Return every operation."""
    return list(_walk(urlpatterns, ROOT))


def _walk(patterns: list[URLPattern | URLResolver], prefix: str) -> Iterator[Route]:
    for entry in patterns:
        path = prefix + _plain(str(entry.pattern))
        if isinstance(entry, URLResolver):
            yield from _walk(entry.url_patterns, path)
            continue
        actions = getattr(entry.callback, "actions", None)
        if actions is None:
            name = str(entry.name or getattr(entry.callback, "__name__", ""))
            yield Route(operation=name, method="GET", path=path, view_name=name)
            continue
        basename = entry.callback.initkwargs["basename"]  # type: ignore[attr-defined]  # the router's view
        for method, action in actions.items():
            if method != "head":
                yield Route(
                    operation=f"{basename}_{action}",
                    method=method.upper(),
                    path=path,
                    view_name=f"api:{entry.name}",
                )


def _plain(pattern: str) -> str:
    start, _, rest = pattern.removeprefix("^").removesuffix("$").removesuffix(r"\Z").partition("(?P<id>")
    if not rest:
        return start
    depth = 1
    for index, character in enumerate(rest):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0:
            return f"{start}{{id}}{rest[index + 1 :]}"
    raise ValueError(pattern)
