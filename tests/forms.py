"""Reads what a form of a page would send by itself."""

from __future__ import annotations

from html.parser import HTMLParser

from tests.browsing import Page


class _Hidden(HTMLParser):
    """Collects the hidden fields of one form."""

    def __init__(self, form_id: str) -> None:
        super().__init__()
        self.form_id = form_id
        self.inside = False
        self.fields: dict[str, list[str]] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "form":
            self.inside = given.get("id") == self.form_id
        elif self.inside and tag == "input" and given.get("type") == "hidden":
            self.fields.setdefault(given.get("name") or "", []).append(given.get("value") or "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self.inside = False


def hidden_fields(page: Page, form_id: str) -> dict[str, list[str]]:
    """Return the hidden fields of a form by name, each with all its values."""
    reader = _Hidden(form_id)
    reader.feed(page.response.content.decode())
    return reader.fields
