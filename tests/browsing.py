"""Reads pages as a person does: words, tables, links; and counts what a page asks the database."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext

from teams.models import User
from tests.signing import sign_in

# What a request of somebody who is signed in asks besides its view: the session, its person, and in the first
# one of a minute that the session was used, in a savepoint (tests/sign_in/test_sessions.py counts that).
SIGN_IN = (
    'FROM "django_session"',
    'FROM "teams_user" WHERE "teams_user"."id" =',
    'UPDATE "usersessions_usersession" SET "last_seen_at"',
    'SAVEPOINT "',
)


@dataclass
class _Reader(HTMLParser):
    """Collects the words, the tables by the id that labels them, and the links of a page."""

    words: list[str] = field(default_factory=list)
    tables: dict[str, list[list[str]]] = field(default_factory=dict)
    links: list[str] = field(default_factory=list)
    label: str = ""
    skipped: bool = False
    cell: list[str] | None = None

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.skipped = tag in {"script", "style"}
        if "tbl-wrap" in (given.get("class") or ""):
            self.label = given.get("aria-labelledby") or given.get("aria-label") or ""
            self.tables[self.label] = []
        elif tag == "tr":
            self.tables[self.label].append([])
        elif tag in {"th", "td"}:
            self.cell = []
        elif tag == "a":
            self.links.append(given.get("href") or "")

    def handle_endtag(self, tag: str) -> None:
        if tag in {"th", "td"} and self.cell is not None:
            self.tables[self.label][-1].append(" ".join(self.cell))
            self.cell = None

    def handle_data(self, data: str) -> None:
        if self.skipped or not data.strip():
            return
        text = " ".join(data.split())
        self.words.append(text)
        if self.cell is not None:
            self.cell.append(text)


def writes(statements: list[str]) -> list[str]:
    """Return the statements that do more than read."""
    return [sql for sql in statements if not sql.lstrip(" (\n").startswith(("SELECT", "WITH"))]


def own_queries(captured: CaptureQueriesContext) -> list[str]:
    """Return the statements of a request but those that come from being signed in."""
    statements = [each["sql"] for each in captured.captured_queries]
    return [sql for sql in statements if not any(part in sql for part in SIGN_IN)]


class Page:
    """One answer."""

    def __init__(self, response: Any) -> None:
        self.response: HttpResponse = response
        self.status = response.status_code
        self._reader = _Reader()
        self._reader.feed(response.getvalue().decode())

    @property
    def words(self) -> str:
        """Return everything that can be read, with single spaces."""
        return " ".join(self._reader.words)

    @property
    def links(self) -> list[str]:
        """Return where the page leads."""
        return self._reader.links

    def rows(self, label: str) -> list[list[str]]:
        """Return the cells of a table, its head left out; none where there is no such table."""
        return self._reader.tables.get(label, [[]])[1:]


class Visitor:
    """Somebody with a browser, signed in unless `user` is None."""

    def __init__(self, user: User | None) -> None:
        self.client = Client(raise_request_exception=False)
        if user is not None:
            sign_in(self.client, user)

    def get(self, path: str, *, htmx_target: str = "", **query: str) -> Page:
        """Open a page."""
        headers = {"HX-Request": "true", "HX-Target": htmx_target} if htmx_target else {}
        return Page(self.client.get(path, query, headers=headers))

    def post(self, path: str, **entered: Any) -> Page:
        """Send a form, without following where it leads."""
        return Page(self.client.post(path, entered))

    def queries(self, path: str, **query: str) -> list[str]:
        """Open a page and return the statements that are its own."""
        with CaptureQueriesContext(connection) as captured:
            page = self.get(path, **query)
        assert page.status == 200, page.words
        return own_queries(captured)
