"""No safe method changes state (I24): each page of approvals, each call of the API that reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import product

import pytest
from django.db import InternalError, connection, transaction
from django.test import Client

from core.models import AuditEvent
from teams.services.sessions import LastSeen
from tests.api import test_matrix as calls
from tests.api.routes import routes
from tests.api.world import World, make_world
from tests.cast import Cast
from tests.portal import test_matrix as pages
from tests.signing import sign_in

METHODS = ("get", "head", "options")
READS = [route for route in routes() if route.method == "GET" and route.operation in calls.CELLS]


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


def writers(world: World, routes: Mapping[str, Callable[[], str]]) -> set[str]:
    """Look at all of these in every safe way, as the lead and as an administrator; return what wrote."""
    clients = [signed_in(world, role) for role in ("ben", "ann")]
    found = set()
    for name, address_of in routes.items():
        with transaction.atomic():
            address = address_of()
            for client, method in product(clients, METHODS):
                try:
                    with read_only():
                        answer = getattr(client, method)(address)
                        if answer.streaming:
                            b"".join(answer)
                    assert answer.status_code < 500, f"{method} {address}"
                except InternalError:
                    found.add(name)
            transaction.set_rollback(True)
    return found


def test_no_page_writes_when_it_is_looked_at(world: World) -> None:
    shown = [page for page in pages.CELLS if page.startswith("/approvals/")]
    assert writers(world, {page: partial(pages.address, page, world) for page in shown}) == set()


def test_no_call_that_reads_writes(world: World) -> None:
    found = writers(world, {route.operation: partial(calls.address, route, world) for route in READS})
    assert found == {"price_list_read"}  # it tries the list out, and takes it back


def test_control_a_write_is_noticed(cast: Cast) -> None:
    with pytest.raises(InternalError, match="read-only transaction"), read_only():
        AuditEvent.objects.create(
            action="x", actor_label="x", object_type="x", object_id="x", object_label="x"
        )
