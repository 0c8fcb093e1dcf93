"""The audit over the API: event by event, narrowed down, as a file, and whether it is as it was sealed."""

from __future__ import annotations

import csv
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.db import connection
from pytest_django.fixtures import Settings

from core import audit, clock
from core.models import AuditEvent
from portal.audit import lines
from portal.tasks import seal_audit, verify_audit
from tests.api.test_errors import problem
from tests.api.world import Caller, World
from tests.cast import Cast

EVENTS = "audit-events/"


@pytest.fixture(autouse=True)
def apart(settings: Settings, tmp_path: Path) -> None:
    """Keep the anchors apart from those of other tests."""
    settings.AUDIT_ANCHOR_DIR = str(tmp_path)


@pytest.fixture
def audrey(cast: Cast) -> Caller:
    """Let the auditor call."""
    return Caller(cast.audrey)


def record(cast: Cast, **values: Any) -> AuditEvent:
    """Let Ben rename team Search, for Cleo, unless said otherwise."""
    fields: dict[str, Any] = {
        "actor": cast.ben, "on_behalf_of": cast.cleo, "action": "team.renamed", "subject": cast.search,
        "team_id": cast.search.pk, "department_id": cast.product.pk, "before": {"name": "Search"},
        "after": {"name": "Find"}, "reason": "Shorter.",
    }  # fmt: skip
    return audit.record(**fields | values)


def found(caller: Caller, **query: object) -> set[str]:
    return {row["id"] for row in caller.get(EVENTS, **query).json()["results"]}


def test_event_says_who_did_what_for_whom_and_why(audrey: Caller, cast: Cast) -> None:
    with audit.origin(request_id="abc123", ip_address="192.0.2.7"):
        event = record(cast, policy_version=4)
    shown = audrey.get(f"{EVENTS}{event.public_id}/").json()
    assert shown == {
        "id": event.public_id,
        "at": event.at.isoformat().replace("+00:00", "Z"),
        "action": "team.renamed",
        "actor": "Ben Okafor <ben@example.com>",
        "actor_id": cast.ben.public_id,
        "on_behalf_of": {"id": cast.cleo.public_id, "name": "Cleo Hart"},
        "object": {"type": "teams.team", "id": cast.search.public_id, "name": "Search"},
        "team": {"id": cast.search.public_id, "name": "Search"},
        "before": {"name": "Search"},
        "after": {"name": "Find"},
        "reason": "Shorter.",
        "policy_version": 4,
        "api_token": "",
        "request_id": "abc123",
        "ip_address": "192.0.2.7",
        "sealed": False,
    }


def test_where_it_came_from_is_for_who_sees_everything(ben: Caller, cast: Cast) -> None:
    with audit.origin(request_id="abc123", ip_address="192.0.2.7"):
        event = record(cast)
    shown = ben.get(f"{EVENTS}{event.public_id}/").json()
    assert (shown["request_id"], shown["ip_address"]) == ("", None)


def test_events_can_be_narrowed_down_as_on_the_page(audrey: Caller, cast: Cast) -> None:
    with time_machine.travel("2026-03-01T12:00Z", tick=False):
        renamed = record(cast)
    with time_machine.travel("2026-03-02T12:00Z", tick=False):
        archived = record(
            cast, actor=None, on_behalf_of=None, action="project.archived", subject=cast.ranking, team_id=None
        )
    for query, events in (
        ({"actor": "okafor"}, {renamed}),
        ({"actor": "cleo@"}, {renamed}),
        ({"actor": "purser"}, {archived}),
        ({"action": "team."}, {renamed}),
        ({"object": cast.ranking.public_id}, {archived}),
        ({"object": "rank"}, {archived}),
        ({"team": cast.search.public_id}, {renamed}),
        ({"to": "2026-03-01"}, {renamed}),
        ({"from": "2026-03-02", "to": "9999-12-31"}, {archived}),
        ({"from": "0001-01-01"}, {renamed, archived}),
        ({"actor": "ben", "action": "project."}, set()),
    ):
        assert found(audrey, **query) == {event.public_id for event in events}, query


@pytest.mark.parametrize("query", [{"from": "2026-02-30"}, {"team": "search"}, {"who": "ben"}])
def test_parameter_that_cannot_be_is_refused(audrey: Caller, query: dict[str, str]) -> None:
    for path in (EVENTS, f"{EVENTS}export/"):
        assert list(problem(audrey.get(path, **query), 400, "invalid_request")["errors"]) == [*query]


def test_export_has_every_row_that_is_asked_for_and_runs_nothing(
    audrey: Caller, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "EVENTS_A_FETCH", 2)
    for number in range(5):
        record(cast, reason=f"={number}")
    record(cast, action="team.moved")
    answer = audrey.get(f"{EVENTS}export/", action="team.renamed")
    assert answer.streaming
    assert answer["Content-Disposition"].startswith('attachment; filename="audit-')
    rows = list(csv.DictReader(answer.getvalue().decode().splitlines()))
    assert [row["reason"] for row in rows] == [f"'={number}" for number in (4, 3, 2, 1, 0)]


def test_export_has_only_what_the_person_may_read(dan: Caller, cast: Cast) -> None:
    record(cast)
    [head] = dan.get(f"{EVENTS}export/").getvalue().decode().splitlines()
    assert head.startswith("id,at,action,actor")


def test_verification_says_up_to_where_the_audit_is_as_it_was_sealed(ada: Caller, cast: Cast) -> None:
    event = record(cast)
    fresh = ada.get(f"{EVENTS}verification/").json()
    assert (fresh["state"], fresh["verified_at"], fresh["last_seal"]) == ("unknown", None, None)
    assert fresh["oldest_unsealed_at"] == event.at.isoformat().replace("+00:00", "Z")
    sealed = seal_audit()
    verify_audit()
    intact = ada.get(f"{EVENTS}verification/").json()
    assert (intact["state"], intact["broken"], intact["oldest_unsealed_at"]) == ("intact", 0, None)
    assert (intact["last_seal"]["number"], intact["last_seal"]["events"]) == (1, sealed)
    assert ada.get(EVENTS, object=cast.search.public_id).json()["results"] == []
    with time_machine.travel(clock.now() + timedelta(hours=27)):
        assert Caller(cast.ada).get(f"{EVENTS}verification/").json()["state"] == "stale"


def test_verification_tells_of_an_edited_row(audrey: Caller, world: World) -> None:
    seal_audit()
    assert audrey.get(f"{EVENTS}{world.event.public_id}/").json()["sealed"] is True
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE core_auditevent DISABLE TRIGGER USER")
        cursor.execute("UPDATE core_auditevent SET reason = 'Other.' WHERE id = %s", [world.event.pk])
        cursor.execute("ALTER TABLE core_auditevent ENABLE TRIGGER USER")
    verify_audit()
    told = audrey.get(f"{EVENTS}verification/").json()
    assert (told["state"], told["broken"]) == ("broken", 1)
