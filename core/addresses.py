"""Addresses of a page's other states: the query string is the state, so every link keeps the rest of it."""

from collections.abc import Collection
from urllib.parse import urlencode

from django.http import HttpRequest

PAGE_DIGITS = 6


def link(request: HttpRequest, kept: Collection[str], **changes: str) -> str:
    """Return this page's address with some parameters changed; an empty value drops one.

    Only `kept` parameters stay, each once, so that nothing foreign travels from link to link.
    """
    values = {name: request.GET.get(name, "") for name in kept} | changes
    query = urlencode({name: value for name, value in values.items() if value})
    return f"{request.path}?{query}" if query else request.path


def page_number(request: HttpRequest) -> int:
    """Return which page `?page=` asks for, from 0; what is no number of a page is the first."""
    text = request.GET.get("page", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= PAGE_DIGITS else 0


def choice(request: HttpRequest, name: str, known: Collection[str], default: str) -> str:
    """Return what the address says about `name` when the page knows it, else the default."""
    value = request.GET.get(name, default)
    return value if value in known else default
