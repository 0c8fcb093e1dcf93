"""Addresses of a page's other states: the query string is the state, so every link keeps the rest of it."""

from collections.abc import Collection
from urllib.parse import urlencode

from django.http import HttpRequest

PAGE_DIGITS = 6


def link(request: HttpRequest, kept: Collection[str], *, path: str = "", **changes: str) -> str:
    """Return this page's address, or another `path`, with some parameters changed; an empty value drops one.

    Only `kept` parameters stay, each value once, so that nothing foreign travels from link to link.
    """
    values = {name: dict.fromkeys(filter(None, request.GET.getlist(name))) for name in kept}
    values |= {name: dict.fromkeys([value] if value else []) for name, value in changes.items()}
    query = urlencode([(name, value) for name, found in values.items() for value in found])
    address = path or request.path
    return f"{address}?{query}" if query else address


def page_number(request: HttpRequest) -> int:
    """Return which page `?page=` asks for, from 0; what is no number of a page is the first."""
    text = request.GET.get("page", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= PAGE_DIGITS else 0


def pages(request: HttpRequest, kept: Collection[str], *, has_more: bool, path: str = "") -> tuple[str, str]:
    """Return the addresses of the page before this one and of the next; empty where there is none."""
    number = page_number(request)
    before = link(request, kept, path=path, page=str(number - 1) if number > 1 else "") if number else ""
    return before, link(request, kept, path=path, page=str(number + 1)) if has_more else ""


def choice(request: HttpRequest, name: str, known: Collection[str], default: str) -> str:
    """Return what the address says about `name` when the page knows it, else the default."""
    value = request.GET.get(name, default)
    return value if value in known else default
