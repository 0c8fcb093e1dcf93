"""The pull: whatever a settlement lost is found in the gateway's journal and booked once; both sides are
compared by day.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from budgets.models import Balance, Entry, Lease, Reservation, ScopeKind
from core import clock
from tests.gateway.conftest import World
from usage.models import (
    Discrepancy,
    DiscrepancyClass,
    DiscrepancyState,
    GatewayCall,
    ImportCursor,
    Quarantine,
    RunState,
    SourceKind,
    UsageDay,
    UsageEvent,
)
from usage.ports import SourceUnavailableError, UsagePage
from usage.services import ingest_page, pull_source, reconcile_day
from usage.services.cursors import open_cursor


@dataclass
class Journal:
    """A source whose journal is a list; the cursor is a position in it."""

    name: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    page_size: int = 100
    down: bool = False

    def page(self, cursor: str, *, limit: int) -> UsagePage:
        if self.down:
            raise SourceUnavailableError("connection refused")
        start = int(cursor or 0)
        end = min(start + min(limit, self.page_size), len(self.rows))
        return UsagePage(rows=self.rows[start:end], next_cursor=str(end), has_more=end < len(self.rows))


def row(reservation: str, **changes: Any) -> dict[str, Any]:
    """One line of a journal: 200 input and 50 output tokens, $0.0003."""
    return {
        "id": reservation,
        "request_id": "r",
        "at": clock.now().isoformat(),
        "key_id": "key_x",
        "model": "small",
        "usage": {"input_tokens": 200, "output_tokens": 50},
        "served_model": "small",
        "finish": "stop",
        "estimated": False,
        "cache_hit": False,
        "provider_id": "",
    } | changes


@pytest.fixture
def journal(world: World) -> Journal:
    world.budget("key", kind=ScopeKind.KEY, limit="10")
    return Journal(world.gus.gateway.public_id)


def allowed(world: World, *, days_ago: int = 0, **changes: Any) -> str:
    """Return a reservation; one of yesterday makes a test mean the same at every hour of the day."""
    reservation: str = world.gus.authorize(world.token, **changes).json()["reservation"]
    if days_ago:
        Reservation.objects.filter(public_id=reservation).update(
            authorized_at=clock.now() - timedelta(days=days_ago)
        )
    return reservation


def yesterday() -> date:
    return (clock.now() - timedelta(days=1)).date()


def test_a_lost_settlement_is_booked_by_the_pull_and_never_again(world: World, journal: Journal) -> None:
    journal.rows = [row(allowed(world))]
    assert pull_source(source=journal).booked == 1
    assert pull_source(source=journal).read == 0
    ImportCursor.objects.update(position="")
    assert pull_source(source=journal).known == 1
    assert Entry.objects.get().amount_usd == Decimal("0.0003")
    assert UsageDay.objects.get().calls == 1


def test_the_pull_goes_page_by_page_and_its_cursor_remembers(world: World, journal: Journal) -> None:
    journal.rows, journal.page_size = [row(allowed(world)) for _ in range(5)], 2
    assert pull_source(source=journal).booked == 5
    cursor = ImportCursor.objects.get()
    assert (cursor.position, cursor.rows_read, cursor.last_error) == ("5", 5, "")
    assert cursor.last_row_at is not None


def test_a_source_that_is_down_keeps_its_cursor_and_shows_its_error(world: World, journal: Journal) -> None:
    journal.rows = [row(allowed(world))]
    pull_source(source=journal)
    journal.down = True
    journal.rows.append(row(allowed(world)))
    pull_source(source=journal)
    assert "connection refused" in ImportCursor.objects.get().last_error
    journal.down = False
    assert pull_source(source=journal).booked == 1
    assert ImportCursor.objects.get().last_error == ""


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"usage": {"input_tokens": -5}}, "bad_tokens"),
        ({"usage": {"input_tokens": 10**12}}, "bad_tokens"),
        ({"usage": {"input_tokens": 1, "cached_tokens": 2}}, "bad_tokens"),
        ({"usage": {"output_tokens": 1, "reasoning_tokens": 2}}, "bad_tokens"),
        ({"usage": None}, "malformed"),
        ({"at": "yesterday"}, "malformed"),
        ({"at": "2026-01-01T00:00:00"}, "malformed"),
        ({"finish": "exploded"}, "malformed"),
        ({"model": ""}, "malformed"),
        ({"id": "rsv_never_seen"}, "unknown_call"),
    ],
)
def test_a_poisonous_row_goes_to_quarantine_and_stops_nothing(
    world: World, journal: Journal, changes: dict[str, Any], reason: str
) -> None:
    first, last = allowed(world), allowed(world)
    journal.rows = [row(first), row(allowed(world), **changes), row(last)]
    counts = pull_source(source=journal)
    assert (counts.booked, counts.quarantined) == (2, 1)
    assert Quarantine.objects.get().reason == reason
    ImportCursor.objects.update(position="")
    pull_source(source=journal)
    assert Quarantine.objects.count() == 1


def test_other_figures_than_were_settled_are_a_conflict(world: World, journal: Journal) -> None:
    reservation = allowed(world)
    world.gus.settle(reservation)
    journal.rows = [row(reservation, usage={"input_tokens": 999, "output_tokens": 50})]
    assert pull_source(source=journal).quarantined == 1
    assert Quarantine.objects.get().reason == "conflict"
    assert UsageEvent.objects.get().cost_usd == Decimal("0.0003")


def test_a_release_in_the_journal_frees_a_hold_whose_release_was_lost(world: World, journal: Journal) -> None:
    journal.rows = [row(allowed(world), kind="release", usage=None)]
    assert pull_source(source=journal).released == 1
    assert Balance.objects.get().reserved_usd == 0
    assert Entry.objects.count() == 0


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), pages=st.lists(st.integers(1, 7), min_size=1, max_size=5))
def test_any_replay_shuffle_and_page_size_give_the_same_totals(
    world: World, journal: Journal, seed: int, pages: list[int]
) -> None:
    dice = random.Random(seed)  # noqa: S311  a repeatable shuffle
    before = _spent()
    rows = [row(allowed(world)) for _ in range(6)]
    for size in pages:
        shuffled = dice.sample(rows, len(rows))
        for start in range(0, len(shuffled), size):
            ingest_page(source=journal.name, rows=shuffled[start : start + size])
    ingest_page(source=journal.name, rows=rows)
    assert _spent() - before == 6 * Decimal("0.0003")


def _spent() -> Decimal:
    return sum(Balance.objects.values_list("spent_usd", flat=True), start=Decimal(0))


def test_two_equal_sides_match(world: World, journal: Journal) -> None:
    for _ in range(3):
        reservation = allowed(world, days_ago=1)
        world.gus.settle(reservation)
        journal.rows.append(row(reservation))
    pull_source(source=journal)
    run = reconcile_day(source=journal.name, day=yesterday())
    assert (run.state, run.portal_calls, run.gateway_calls, run.drift_usd) == (RunState.MATCHED, 3, 3, 0)
    assert (run.portal_input_tokens, run.gateway_output_tokens, run.portal_cost_usd) == (
        600,
        150,
        Decimal("0.0009"),
    )


def test_a_source_that_was_not_read_is_red_and_never_no_difference(world: World, journal: Journal) -> None:
    open_cursor(source=journal.name, kind=SourceKind.JOURNAL)
    assert reconcile_day(source=journal.name, day=clock.now().date()).state == RunState.UNREADABLE
    pull_source(source=journal)
    ImportCursor.objects.update(last_success_at=clock.now() - timedelta(hours=1))
    assert reconcile_day(source=journal.name, day=clock.now().date()).state == RunState.UNREADABLE


def test_each_class_of_difference_is_found_by_its_rule(world: World, journal: Journal) -> None:
    long_ago = clock.now() - timedelta(hours=3)
    kept, differing = allowed(world, days_ago=1), allowed(world, days_ago=1)
    for reservation in (kept, differing):
        world.gus.settle(reservation)
    UsageEvent.objects.filter(external_id=kept).update(recorded_at=long_ago)
    day = yesterday()
    pull_source(source=journal)
    GatewayCall.objects.create(
        source=journal.name,
        external_id="rsv_ghost",
        at=day_start(day),
        pulled_at=clock.now(),
        model_name="small",
        finish="stop",
        input_tokens=5,
    )
    event = UsageEvent.objects.get(external_id=differing)
    GatewayCall.objects.create(
        source=journal.name,
        external_id=differing,
        at=event.at,
        pulled_at=clock.now(),
        model_name="small",
        finish="stop",
        input_tokens=1,
        output_tokens=50,
    )
    run = reconcile_day(source=journal.name, day=day)
    assert run.state == RunState.DIFFERENT
    assert set(run.discrepancies.values_list("kind", "external_id")) == {
        (DiscrepancyClass.MISSING_AT_PORTAL, "rsv_ghost"),
        (DiscrepancyClass.MISSING_AT_GATEWAY, kept),
        (DiscrepancyClass.TOKEN_MISMATCH, differing),
    }


def day_start(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def test_running_again_changes_nothing_and_closes_what_was_corrected(world: World, journal: Journal) -> None:
    reservation = allowed(world, days_ago=1)
    world.gus.settle(reservation)
    UsageEvent.objects.update(recorded_at=clock.now() - timedelta(hours=3))
    pull_source(source=journal)
    day = yesterday()
    for _ in range(2):
        reconcile_day(source=journal.name, day=day)
    assert Discrepancy.objects.get().state == DiscrepancyState.OPEN
    journal.rows = [row(reservation)]
    pull_source(source=journal)
    run = reconcile_day(source=journal.name, day=day)
    assert Discrepancy.objects.get().state == DiscrepancyState.CORRECTED
    assert (run.runs, run.state, run.drift_usd) == (3, RunState.MATCHED, 0)


def leased_row(world: World, **changes: Any) -> dict[str, Any]:
    """One line of a call that the gateway's node decided itself a while ago."""
    wish = {"node": "node-1", "key": world.token, "model": "small", "route": "/v1/chat/completions"}
    lease = world.gus.post("/gateway/v1/leases", wish | {"want_usd": "1"}).json()["lease"]
    Lease.objects.update(opened_at=clock.now() - timedelta(seconds=20))
    told = {
        "request_id": "a-call-of-the-node",
        "route": "/v1/chat/completions",
        "context": "standard",
        "n": 1,
        "input_tokens": 1000,
        "max_output_tokens": 100,
        "held_usd": "0.001200000000",
        "authorized_at": (clock.now() - timedelta(seconds=10)).isoformat(),
    }
    return row(f"rsv_{'5' * 28}", lease=lease, call=told) | changes


def test_a_call_under_a_lease_that_was_never_delivered_is_booked_by_the_pull(
    world: World, journal: Journal
) -> None:
    journal.rows = [leased_row(world)]
    assert pull_source(source=journal).booked == 1
    ImportCursor.objects.update(position="")
    assert pull_source(source=journal).known == 1
    assert Entry.objects.get().amount_usd == Decimal("0.0003")
    reservation = Reservation.objects.get()
    assert reservation.lease == Lease.objects.get()
    assert Lease.objects.get().held_usd == Decimal("0.9988")
    assert GatewayCall.objects.get().at == reservation.authorized_at
    assert reconcile_day(source=journal.name, day=reservation.authorized_at.date()).state == RunState.MATCHED


def test_a_call_under_a_lease_that_consumed_nothing_draws_nothing(world: World, journal: Journal) -> None:
    journal.rows = [leased_row(world, kind="release", usage=None)]
    counts = pull_source(source=journal)
    assert (counts.released, counts.quarantined) == (1, 0)
    assert not Reservation.objects.exists()
    assert Lease.objects.get().held_usd == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"lease": "lse_never_given"}, "unknown_call"),
        ({"lease": "lse_never_given", "kind": "release"}, "unknown_call"),
        ({"lease": 7}, "malformed"),
        ({"id": "rsv_UPPER"}, "malformed"),
        ({"call": None}, "malformed"),
        ({"call": {"context": "lunch"}}, "malformed"),
        ({"call": {"request_id": "short"}}, "malformed"),
        ({"call": {"route": ""}}, "malformed"),
        ({"call": {"n": 129}}, "malformed"),
        ({"call": {"input_tokens": -1}}, "malformed"),
        ({"call": {"held_usd": "1e9"}}, "malformed"),
        ({"call": {"authorized_at": "2026-11-24T09:30:00"}}, "malformed"),
        ({"call": {"authorized_at": None}}, "malformed"),
    ],
)
def test_a_leased_call_that_cannot_be_believed_goes_to_quarantine(
    world: World, journal: Journal, changes: dict[str, Any], reason: str
) -> None:
    good = leased_row(world)
    if isinstance(changes.get("call"), dict):
        changes = {"call": good["call"] | changes["call"]}
    journal.rows = [good | changes]
    assert pull_source(source=journal).quarantined == 1
    assert Quarantine.objects.get().reason == reason
    assert not Entry.objects.exists()
