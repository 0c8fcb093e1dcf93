"""Status: is it working, how far behind are the sources, what could not be sent."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from core import clock
from core.models import Outbox
from portal import health
from tests.browsing import Page, Visitor
from tests.cast import Cast
from tests.factories import GatewayFactory
from usage.models import ImportCursor

CHECKS = "Checks table"


@pytest.fixture
def beating() -> None:
    """Let the clockwork have worked a moment ago."""
    health.beat()


def states(page: Page) -> dict[str, tuple[str, str]]:
    """Return state and detail of each part."""
    return {row[0]: (row[1], row[2]) for row in page.rows(CHECKS)}


def source(*, minutes: int | None, error: str = "", name: str = "edge") -> ImportCursor:
    """Register a gateway that was last read so many minutes ago."""
    gateway = GatewayFactory.create(name=name)
    last = None if minutes is None else clock.now() - timedelta(minutes=minutes)
    return ImportCursor.objects.create(
        source=gateway.public_id, last_success_at=last, last_error=error, rows_read=12_840
    )


def message(**fields: object) -> Outbox:
    """Put a message into the outbox."""
    now = clock.now()
    return Outbox.objects.create(
        kind="mail", topic="test", dedupe_key=f"test {Outbox.objects.count()}", recipient="ada@example.com",
        payload={}, created_at=now, next_attempt_at=now + timedelta(hours=1), **fields,
    )  # fmt: skip


@pytest.mark.usefixtures("beating")
def test_everything_works_and_the_version_is_said(cast: Cast) -> None:
    source(minutes=1)

    page = Visitor(cast.ada).get("/status/")

    assert "Everything works" in page.words
    assert f"Purser {settings.VERSION}" in page.words
    assert {name: state for name, (state, _) in states(page).items()} == {
        "Database": "Working",
        "Migrations": "Working",
        "Queue": "Working",
        "Worker and beat": "Working",
        "Usage pull": "Working",
        "Outbox": "Working",
        "Ledger": "Working",
        "Usage roll-up": "Working",
        "Audit seal": "Working",
        "Audit": "Working",
        "Usage of edge": "Read",
        "Messages to send": "Working",
    }
    assert states(page)["Usage of edge"][1] == "12,840 rows"


@pytest.mark.usefixtures("beating")
@pytest.mark.parametrize("minutes", [11, None])
def test_source_that_lags_is_late(cast: Cast, minutes: int | None) -> None:
    source(minutes=minutes)

    page = Visitor(cast.ada).get("/status/")

    assert "Works, with a delay" in page.words
    assert states(page)["Usage of edge"][0] == "Late"


@pytest.mark.usefixtures("beating")
def test_why_a_source_fails_is_for_those_who_see_everything(cast: Cast) -> None:
    source(minutes=1, error="GET http://10.0.0.7:4000/journal answered 500")

    engineer, finance = (Visitor(who).get("/status/") for who in (cast.ada, cast.fay))

    assert states(engineer)["Usage of edge"][0] == states(finance)["Usage of edge"][0] == "Not readable"
    assert "10.0.0.7" not in engineer.words
    assert "10.0.0.7" in finance.words


@pytest.mark.usefixtures("beating")
def test_messages_that_wait_and_that_were_given_up_are_counted(cast: Cast) -> None:
    message()
    message()
    message(delivered_at=clock.now())
    message(dead_at=clock.now())

    shown = states(Visitor(cast.ada).get("/status/"))

    assert shown["Messages to send"][1] == "2 waiting"
    assert shown["Messages not delivered"] == (
        "Given up",
        "1 given up after 12 attempts. Ask an administrator.",
    )


def test_clockwork_that_stands_still_is_a_delay_and_not_a_failure(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "HEARTBEAT_KEY", "purser:never-written")

    page = Visitor(cast.ada).get("/status/")

    assert page.status == 200
    assert "Works, with a delay" in page.words
    assert states(page)["Worker and beat"][0] == "Late"


def test_missing_migration_is_a_failure(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_migrations", lambda: (False, "1 missing: run `manage.py migrate`"))

    page = Visitor(cast.ada).get("/status/")

    assert "Does not work" in page.words
    assert states(page)["Migrations"] == ("Not working", "1 missing: run `manage.py migrate`")


@pytest.mark.usefixtures("beating")
def test_migrations_that_are_missing_are_counted(cast: Cast) -> None:
    recorder = MigrationRecorder(connection)
    recorder.record_unapplied("usage", "0001_initial")
    recorder.record_unapplied("budgets", "0002_ledger")

    page = Visitor(cast.ada).get("/status/")

    assert "Does not work" in page.words
    assert states(page)["Migrations"] == ("Not working", "2 missing: run manage.py migrate")


def test_page_asks_as_often_for_twenty_sources_as_for_two(cast: Cast) -> None:
    for number in range(2):
        source(minutes=1, name=f"few-{number}")
    few = Visitor(cast.ben).queries("/status/")
    for number in range(18):
        source(minutes=1, name=f"many-{number}")

    assert len(Visitor(cast.ben).queries("/status/")) == len(few) <= 12
