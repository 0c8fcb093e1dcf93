"""What still works when a part of the house does not: a database that only reads, and no Valkey."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
import time_machine
from celery.app.task import Task
from django.conf import settings as real_settings
from django.db import connection, transaction
from django.test import Client
from pytest_django import Settings

from budgets.models import Reservation
from core import clock, outbox
from core.models import Outbox
from keys.models import ApiKey
from portal.celery import app
from portal.news.senders import SENDERS
from tests.api.routes import routes
from tests.api.test_tokens import call, program
from tests.api.world import World, make_world
from tests.browsing import Visitor
from tests.cast import Cast
from tests.gateway.conftest import build_world
from tests.portal.test_matrix import CELLS, IDS, QUERIES
from tests.signing import sign_in

# A comparison says when, and how often, it was run; the watch of spend, how far it has read.
ROW = "to_jsonb(t) - '{last_run_at,runs,through}'::text[]"


@pytest.fixture
def world(cast: Cast) -> World:
    """Make one of everything."""
    return make_world(cast)


@contextmanager
def only_reading() -> Iterator[None]:
    """Let the database refuse every write, as one does whose disk is full or that is a standby."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")
        yield
        transaction.set_rollback(True)


@pytest.fixture
def without_valkey(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Valkey be gone, and Celery unable to send."""

    def gone(*arguments: object, **options: object) -> None:
        raise redis.ConnectionError("stopped")

    monkeypatch.setattr(redis.connection.AbstractConnection, "connect", gone)
    monkeypatch.setattr(Task, "apply_async", gone)


def everything_that_ann_reads(world: World) -> Iterator[str]:
    """Give every page and every list of the API that answers an administrator with 200."""
    ids = {name: made(world) for name, made in IDS.items()}
    for page, cells in CELLS.items():
        query = QUERIES.get(page)
        if cells["ann"] == "200":
            yield f"{page.format(**ids)}{query(world) if query else ''}"
    yield from (route.path for route in routes() if route.operation.endswith("_list"))


def test_pages_are_read_while_the_database_only_reads(world: World) -> None:
    client = Client(raise_request_exception=False)
    sign_in(client, world.cast.ann)
    addresses = list(everything_that_ann_reads(world))
    client.get("/status/")  # when a session was last used is written now and then
    with only_reading():
        answered = {path: client.get(path).status_code for path in addresses}
    refused = {path: status for path, status in answered.items() if status != 200}
    assert refused == {"/prices/import/": 503}  # it tries the list out, and takes it back


def test_a_token_reads_while_the_database_only_reads(world: World) -> None:
    """Also one whose use would be noted now."""
    client = program(world.cast.ada, ["keys:read"])
    with only_reading():
        assert call(client, "keys/").status_code == 200


def test_an_act_is_refused_while_the_database_only_reads(world: World) -> None:
    client = Client(raise_request_exception=False)
    sign_in(client, world.cast.ada)
    path = f"/keys/{world.key.public_id}/revoke/"
    with only_reading():
        page = client.post(path, {"reason": "Lost."})
    with only_reading():
        api = client.post(f"/api/v1{path}", {"reason": "Lost."}, content_type="application/json")
    assert [answer.status_code for answer in (page, api)] == [503, 503]
    assert [answer["Retry-After"] for answer in (page, api)] == ["10", "10"]
    assert ApiKey.objects.get(pk=world.key.pk).revoked_at is None


@pytest.mark.django_db
def test_decisions_are_refused_while_the_database_only_reads() -> None:
    world = build_world()
    with only_reading():
        refused = world.gus.authorize(world.token)
    assert refused.status_code == 503
    assert refused["Retry-After"]
    assert world.gus.authorize(world.token).status_code == 200
    assert Reservation.objects.count() == 1


@pytest.mark.usefixtures("without_valkey")
def test_without_valkey_pages_work_sessions_live_and_news_wait_for_the_next_scan(world: World) -> None:
    ada, ben = Visitor(world.cast.ada), Visitor(world.cast.ben)
    for page in ("/", "/keys/", "/budgets/", "/approvals/", "/status/"):
        assert ben.get(page).status == 200
    assert "not reachable" in ben.get("/status/").words

    assert ben.post(f"/keys/{world.key.public_id}/revoke/", reason="Lost.").status == 302

    told = Outbox.objects.get(topic="key.revoked", recipient=world.cast.ada.email)
    assert told.delivered_at is None
    assert ada.get("/keys/").status == 200
    outbox.drain(senders=SENDERS)
    told.refresh_from_db()
    assert told.delivered_at is not None


def rows_of_every_table() -> dict[str, list[str]]:
    """Return every row of every table, as text."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = current_schema()")
        tables = [table for (table,) in cursor.fetchall()]
        found = {}
        for table in tables:
            cursor.execute(f"SELECT ({ROW})::text FROM {table} t ORDER BY 1")  # noqa: S608  of the catalogue
            found[table] = [row for (row,) in cursor.fetchall()]
    return found


def with_a_deadline(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
    """Hold that the database ends every statement of a job some time."""
    result = execute(sql, params, many, context)
    found = context["connection"].connection.execute("SHOW statement_timeout").fetchone()
    assert found != ("0",), sql
    return result


@pytest.mark.parametrize(
    "name", sorted({each["task"] for each in real_settings.CELERY_BEAT_SCHEDULE.values()})
)
def test_every_scheduled_task_may_run_twice(
    name: str, world: World, settings: Settings, tmp_path: Path
) -> None:
    """Two beats, or a task that a killed worker left behind and another does again: one effect."""
    settings.AUDIT_ANCHOR_DIR = str(tmp_path)
    app.loader.import_default_modules()
    task = app.tasks[name]
    with time_machine.travel(clock.now(), tick=False), connection.execute_wrapper(with_a_deadline):
        task.run()
        once = rows_of_every_table()
        task.run()
        twice = rows_of_every_table()
    assert {table: rows for table, rows in twice.items() if rows != once[table]} == {}
