"""Addresses of a page's other states: the query string is the state, so every link keeps the rest of it."""

from collections.abc import Collection

from django.http import HttpRequest


def link(request: HttpRequest, kept: Collection[str], **changes: str) -> str:
    """Return this page's address with some parameters changed; an empty value drops one.

    Only `kept` parameters stay, each once, so that nothing foreign travels from link to link.
    """
    query = request.GET.copy()
    for name in list(query):
        if name not in kept or name in changes or not query[name]:
            del query[name]
        else:
            query[name] = query[name]
    query.update({name: value for name, value in changes.items() if value})
    return f"{request.path}?{query.urlencode()}" if query else request.path


def choice(request: HttpRequest, name: str, known: Collection[str], default: str) -> str:
    """Return what the address says about `name` when the page knows it, else the default."""
    value = request.GET.get(name, default)
    return value if value in known else default
