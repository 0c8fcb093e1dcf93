"""No safe method changes state (I24): every page, every call of the API that reads, and what programs and the
sign-in package take, all of them from the URL configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import product
from typing import Any

import pytest
from django.db import InternalError, connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext

from core.models import AuditEvent
from teams.services.sessions import LastSeen
from tests.api import test_matrix as calls
from tests.api.routes import routes
from tests.api.world import World, make_world
from tests.browsing import writes
from tests.cast import Cast
from tests.portal import test_matrix as pages
from tests.portal import test_matrix_programs as programs
from tests.signing import sign_in

METHODS = ("get", "head", "options")
READERS = ("ada", "ben", "ann")
PARTS = 4  # of all pages, each of which takes some seconds
# A page may keep in the session of its browser how far somebody is.
OF_A_SESSION = (
    *("SAVEPOINT", "RELEASE SAVEPOINT", 'INSERT INTO "django_session"', 'UPDATE "django_session"'),
    'DELETE FROM "django_session"',
)
# The sign-in package notes when recovery codes were first shown; nothing goes by it.
SHOWN_CODES = {"/accounts/2fa/recovery-codes/", "/accounts/2fa/recovery-codes/download/"}
READS = [route for route in routes() if route.method == "GET" and route.operation in calls.CELLS]
house = programs.house


@pytest.fixture
def world(cast: Cast) -> World:
    """Make one of everything that is shown."""
    return make_world(cast)


@pytest.fixture(autouse=True)
def _not_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out when a session was used last, which each request may write."""
    monkeypatch.setattr(LastSeen, "saw", lambda *_: None)


@contextmanager
def read_only() -> Iterator[None]:
    """Let the database refuse every write inside."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL transaction_read_only = on")
        yield
        transaction.set_rollback(True)


def signed_in(world: World, role: str) -> Client:
    client = Client(raise_request_exception=True)
    sign_in(client, getattr(world.cast, role))
    return client


def writers(world: World, routes: Mapping[str, Callable[[], str]]) -> tuple[set[str], set[str]]:
    """Look at all of these in every safe way, as an engineer, a lead and an administrator.

    Returns what wrote, and what one of them could open.
    """
    clients = [signed_in(world, role) for role in READERS]
    found, opened = set(), set()
    for name, address_of in routes.items():
        with transaction.atomic():
            address = address_of()
            for client, method in product(clients, METHODS):
                status = tried(partial(getattr(client, method), address))
                if status is None:
                    found.add(name)
                elif (method, status) == ("get", 200):
                    opened.add(name)
            transaction.set_rollback(True)
    return found, opened


def tried(call: Callable[[], Any]) -> int | None:
    """Return the status of an answer, None where there was something to write."""
    try:
        with read_only():
            answer = call()
            if answer.streaming:
                b"".join(answer)
    except InternalError:
        return None
    return None if answer.status_code >= 500 else int(answer.status_code)


@pytest.mark.parametrize("part", range(PARTS))
def test_no_page_writes_when_it_is_looked_at(part: int, world: World) -> None:
    shown = sorted(pages.pages())[part::PARTS]

    found, opened = writers(world, {page: partial(pages.address, page, world) for page in shown})

    assert found == {"/prices/import/"} & set(shown)  # as price_list_read below
    assert opened | found == {page for page in shown if "200" in map(pages.CELLS[page].get, READERS)}


def test_no_program_writes_when_it_reads(house: programs.House) -> None:
    found = {
        (method, route, who)
        for method, route, who in product(
            METHODS, {route for _, route in programs.CELLS}, ("anonymous", "right")
        )
        if tried(partial(programs.call, programs.ask(method.upper(), route, house), who, house)) is None
    }
    assert found == set()


@pytest.mark.parametrize("route", programs.ACCOUNT_CELLS)
def test_no_page_of_the_sign_in_writes_more_than_its_session(route: str, cast: Cast) -> None:
    path = programs.account_path(route, cast)
    written = []
    for who, method in product(programs.VISITORS, METHODS):
        client = programs.visitor(who, cast)
        with CaptureQueriesContext(connection) as captured:
            getattr(client, method)(path)
        written += writes([each["sql"] for each in captured.captured_queries])
    left = [sql for sql in written if not sql.startswith(OF_A_SESSION)]
    noted = [sql for sql in left if sql.startswith('UPDATE "mfa_authenticator"') and '"viewed_at"' in sql]
    assert left == noted
    assert bool(noted) == (route in SHOWN_CODES)


def test_no_call_that_reads_writes(world: World) -> None:
    found, _ = writers(world, {route.operation: partial(calls.address, route, world) for route in READS})
    assert found == {"price_list_read"}  # it tries the list out, and takes it back


def test_control_a_write_is_noticed(cast: Cast) -> None:
    with pytest.raises(InternalError, match="read-only transaction"), read_only():
        AuditEvent.objects.create(
            action="x", actor_label="x", object_type="x", object_id="x", object_label="x"
        )
