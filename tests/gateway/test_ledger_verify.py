"""`manage.py ledger_verify` is silent about books that are right, and names the row that is wrong."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from budgets.models import (
    Balance,
    Budget,
    BudgetLimit,
    Entry,
    Mode,
    RateLimit,
    Reservation,
    ScopeKind,
    Window,
)
from core import audit, clock
from core.books import Finding
from portal import ledger
from tests.gateway.conftest import World, build_world
from usage.services import expire_holds


@pytest.fixture
def world(db: None) -> World:
    """Return the organisation; unlike elsewhere, the books may be wrong at the end."""
    built = build_world()
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    return built


@pytest.fixture
def busy(world: World) -> World:
    """Return the organisation after calls that ended in every way, and two that are open."""
    world.budget("key", kind=ScopeKind.KEY, limit="5")
    world.budget("team", kind=ScopeKind.TEAM, limit="50", window=Window.MONTH)
    gus = world.gus
    ids = [gus.authorize(world.token).json()["reservation"] for _ in range(7)]
    overdue(ids[0], ids[1], ids[2])
    expire_holds()
    gus.settle(ids[0])
    gus.release(ids[1])
    gus.settle(ids[3], output_tokens=5_000)
    gus.release(ids[4])
    gus.settle(ids[4])
    gus.release(ids[5])
    gus.settle(ids[6])
    RateLimit.objects.create(scope_kind="key", scope_id=world.key.pk, parallel_calls=9)
    for _ in range(2):
        gus.authorize(world.token)
    return world


def overdue(*reservations: str) -> None:
    """Let calls have been authorised and have ended long ago, still on today's windows."""
    Reservation.objects.filter(public_id__in=reservations).update(
        authorized_at=clock.now() - timedelta(minutes=30), expires_at=clock.now() - timedelta(minutes=20)
    )


def found(since: datetime | None = None) -> dict[str, Finding]:
    """Return what the verification finds, by rule."""
    return {finding.rule: finding for finding in ledger.verify(since=since).findings}


def change(statement: str, **values: Any) -> None:
    """Do what no service does: write past the guards of the tables."""
    guarded = ("budgets_entry", "budgets_budget", "budgets_ratelimit")
    with connection.cursor() as cursor:
        for table in guarded:
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        cursor.execute(statement, values)
        for table in guarded:
            cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")


def test_books_of_calls_that_ended_in_every_way_are_clean(busy: World) -> None:
    output = StringIO()
    call_command("ledger_verify", stdout=output)

    states = sorted(Reservation.objects.values_list("state", flat=True))
    assert states == ["open", "open", "released", "released", *["settled"] * 4, "unsettled"]
    assert output.getvalue() == (
        f"{len(ledger.RULES)} rules hold: 2 balances, 9 entries of ${sum_of_entries()},"
        " 9 reservations (2 open), 9 usage events\n"
    )


def sum_of_entries() -> Decimal:
    return sum(Entry.objects.values_list("amount_usd", flat=True), Decimal(0))


TAMPERED = {
    "balance_is_its_entries_and_holds": (
        "UPDATE budgets_balance SET spent_usd = spent_usd + 0.000000000001",
        "UPDATE budgets_balance SET reserved_usd = reserved_usd + 1",
        "DELETE FROM budgets_balance WHERE budget_id = %(key_budget)s",
        "UPDATE budgets_entry SET amount_usd = amount_usd + 0.000000000001 WHERE kind = 'settle'",
    ),
    "windows_of_a_budget_do_not_overlap": (
        (
            "INSERT INTO budgets_balance (budget_id, window_start, window_end, spent_usd, "
            "reserved_usd) SELECT budget_id, window_start + interval '1 hour', window_end, 0, 0 "
            "FROM budgets_balance"
        ),
    ),
    "reservation_resolves_once": (
        "UPDATE budgets_reservation SET state = 'open', resolved_at = NULL WHERE state = 'settled'",
        "UPDATE budgets_reservation SET state = 'settled' WHERE state = 'unsettled'",
        "UPDATE budgets_reservation SET state = 'released' WHERE state = 'settled'",
        "UPDATE budgets_reservation SET state = 'unsettled' WHERE state = 'released'",
        "DELETE FROM budgets_entry WHERE kind = 'correction'",
    ),
    "rate_counts_its_open_calls": ("UPDATE budgets_ratelimit SET in_flight = 3",),
    "correction_stays_with_what_it_corrects": (
        (
            "UPDATE budgets_entry SET corrects_id = (SELECT min(id) FROM budgets_entry WHERE kind "
            "= 'settle') WHERE kind = 'correction'"
        ),
    ),
    "entry_belongs_where_its_reservation_does": (
        "UPDATE budgets_entry SET team_id = team_id + 1",
        "UPDATE budgets_entry SET budget_ids = budget_ids[2:], window_starts = window_starts[2:]",
        "UPDATE budgets_entry SET effective_at = effective_at + interval '1 microsecond'",
    ),
    "overrun_is_what_a_call_cost_above_its_hold": ("UPDATE budgets_entry SET overrun_usd = 0",),
    "usage_day_is_the_sum_of_its_events": (
        "UPDATE usage_day SET cost_usd = cost_usd + 0.000000000001",
        "UPDATE usage_day SET reasoning_tokens = reasoning_tokens + 1",
        "UPDATE usage_day SET project_id = project_id + 1",
        "DELETE FROM usage_day",
    ),
    "usage_hour_is_the_sum_of_its_events": (
        "UPDATE usage_hour SET cost_usd = cost_usd + 0.000000000001",
        "UPDATE usage_hour SET hour = hour + interval '7 hours'",
        "DELETE FROM usage_hour",
    ),
    "usage_of_a_call_is_what_its_entries_charge": (
        "UPDATE usage_event SET cost_usd = cost_usd + 1",
        "DELETE FROM usage_event",
    ),
    "usage_belongs_where_its_reservation_does": (
        "UPDATE usage_event SET owner_id = owner_id + 1",
        "UPDATE usage_event SET reservation_id = -7",
    ),
    "scope_exists": (
        "UPDATE budgets_budget SET scope_id = scope_id + 999 WHERE scope_kind = 'team'",
        "UPDATE budgets_ratelimit SET scope_id = 999",
    ),
    "budgets_reservation_names_what_exists": (
        "UPDATE budgets_reservation SET owner_id = -1",
        "UPDATE budgets_reservation SET key_id = -1",
        "UPDATE budgets_reservation SET tier_id = 99",
        "UPDATE budgets_reservation SET lease_id = 99",
        "UPDATE budgets_reservation SET budget_ids = '{-1,-2}'",
    ),
    "budgets_entry_names_what_exists": (
        "UPDATE budgets_entry SET model_id = -1",
        "UPDATE budgets_entry SET price_ids = '{-5}'",
    ),
    "usage_call_names_what_exists": (
        "UPDATE usage_call SET attribution_id = -1",
        "UPDATE usage_call SET source_id = -1",
    ),
    "usage_attribution_names_what_exists": ("UPDATE usage_event SET department_id = -1",),
    "source_is_a_gateway": (
        "UPDATE budgets_reservation SET source = 'gw_gone'",
        "UPDATE usage_event SET source = 'gw_gone'",
    ),
    "usage_hour_names_what_exists": ("UPDATE usage_hour SET team_id = -1",),
    "usage_day_names_what_exists": ("UPDATE usage_day SET key_id = -1",),
}


@pytest.mark.parametrize(
    ("rule", "statement"),
    [(rule, statement) for rule, statements in TAMPERED.items() for statement in statements],
)
def test_row_that_was_tampered_with_is_named(busy: World, rule: str, statement: str) -> None:
    assert found() == {}

    change(statement, key_budget=busy.budgets["key"].pk)

    assert rule in found()
    with pytest.raises(CommandError, match=rf"{rule}: \d+ wrong, the first is \S+") as error:
        call_command("ledger_verify")
    assert error.value.returncode == 1


def test_first_bad_row_and_the_number_of_bad_rows_are_told(busy: World) -> None:
    change("UPDATE budgets_balance SET spent_usd = spent_usd + 1")

    finding = found()["balance_is_its_entries_and_holds"]

    first = Balance.objects.order_by("window_start", "budget_id").first()
    assert first is not None
    assert finding.count == 2
    assert finding.first.subject.startswith(f"{first.budget.public_id} window {first.window_start:%Y-%m-%d}")
    assert f"spent {first.spent_usd}, entries {first.spent_usd - 1}" in finding.first.detail


def test_lease_in_use_is_part_of_what_is_reserved(busy: World) -> None:
    lease = """
        INSERT INTO budgets_lease (public_id, source, node, key_id, owner_id, project_id, team_id,
          department_id, model_id, tier_id, budget_ids, window_starts, granted_usd, held_usd, returned_usd,
          opened_at, expires_at, reclaim_at)
        SELECT 'lse_one', source, 'node-1', key_id, owner_id, project_id, team_id, department_id, model_id,
          tier_id, budget_ids, window_starts, 0.5, 0.25, 0.25, now(), now() + interval '1 minute',
          now() + interval '5 minutes' FROM budgets_reservation LIMIT 1
    """
    change(lease)
    assert "balance_is_its_entries_and_holds" in found()

    change("UPDATE budgets_balance SET reserved_usd = reserved_usd + 0.25")

    assert found() == {}


def admit(world: World, budget: Budget, *, held: str, ago: timedelta = timedelta(0)) -> None:
    """Hold money on a budget without asking its limit, as a broken decision would."""
    change(
        """
        INSERT INTO budgets_reservation (public_id, source, request_id, request_hash, key_id, owner_id,
          project_id, team_id, department_id, model_id, tier_id, context, route, input_bound_tokens, choices,
          held_usd, input_floor_usd, budget_ids, window_starts, warnings, state, authorized_at, expires_at)
        SELECT 'rsv_' || %(id)s, source, %(id)s, request_hash, key_id, owner_id, project_id, team_id,
          department_id, model_id, tier_id, context, route, 1, 1, %(held)s, 0, ARRAY[b.budget_id],
          ARRAY[b.window_start], '[]', 'open', clock_timestamp() - %(ago)s,
          clock_timestamp() + interval '1 hour'
        FROM budgets_reservation r, budgets_balance b WHERE b.budget_id = %(budget)s ORDER BY r.id LIMIT 1
        """,
        id=f"admitted-{Reservation.objects.count()}",
        held=Decimal(held),
        budget=budget.pk,
        ago=ago,
    )
    change(
        "UPDATE budgets_balance SET reserved_usd = reserved_usd + %(held)s WHERE budget_id = %(budget)s",
        held=Decimal(held),
        budget=budget.pk,
    )


FITS = "hold_fits_the_limit_of_its_moment"


def test_hold_above_a_hard_limit_is_named(busy: World) -> None:
    admit(busy, busy.budgets["key"], held="4")
    assert found() == {}

    admit(busy, busy.budgets["key"], held="1.01")

    [finding] = found().values()
    assert (finding.rule, finding.count) == (FITS, 1)
    assert "above its limit of 5.000000000000" in finding.first.detail


def test_limit_lowered_afterwards_explains_what_is_above_it(busy: World) -> None:
    admit(busy, busy.budgets["key"], held="4")
    busy.limit(busy.budgets["key"], "1")
    assert found() == {}

    admit(busy, busy.budgets["key"], held="0.01", ago=timedelta(minutes=-1))

    assert list(found()) == [FITS]


def test_overrun_explains_what_is_above_the_limit_and_the_next_hold_does_not(world: World) -> None:
    budget = world.budget("key", kind=ScopeKind.KEY, limit="0.0013")
    reservation = world.gus.authorize(world.token).json()["reservation"]
    world.gus.settle(reservation, input_tokens=1_000, output_tokens=5_000)
    assert Balance.objects.get(budget=budget).spent_usd > Decimal("0.0013")
    assert found() == {}

    admit(world, budget, held="0.0000001", ago=timedelta(minutes=-1))

    assert list(found()) == [FITS]


def test_what_a_settlement_freed_is_there_for_the_next_call(world: World) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="0.0018")
    for _ in range(3):
        world.gus.settle(world.gus.authorize(world.token).json()["reservation"], output_tokens=1)
    assert Reservation.objects.count() == 3

    assert found() == {}


def test_top_up_lets_through_while_it_is_valid(busy: World) -> None:
    BudgetLimit.objects.create(
        budget=busy.budgets["key"], kind="top_up", amount_usd=3, reason="A launch.",
        valid_from=clock.now() - timedelta(minutes=10), valid_until=clock.now() + timedelta(minutes=10),
    )  # fmt: skip
    admit(busy, busy.budgets["key"], held="7")
    assert found() == {}

    admit(busy, busy.budgets["key"], held="0.5", ago=timedelta(minutes=-11))

    assert list(found()) == [FITS]


def test_budget_that_was_soft_is_not_blamed_for_what_passed_then(busy: World) -> None:
    budget = busy.budgets["key"]
    admit(busy, budget, held="9")
    assert list(found()) == [FITS]

    audit.record(
        actor=None, action="budget.rules_changed", subject=budget,
        before={"mode": Mode.SOFT.value}, after={"mode": Mode.HARD.value},
    )  # fmt: skip

    assert found() == {}


def test_since_leaves_old_rows_alone_and_recomputes_what_was_touched(busy: World) -> None:
    tomorrow = clock.now() + timedelta(days=1)
    Reservation.objects.filter(state="open").update(state="released", resolved_at=clock.now(), rate_ids=[])
    RateLimit.objects.update(in_flight=0)
    Balance.objects.update(reserved_usd=0)
    assert found() == {}

    change("UPDATE budgets_balance SET spent_usd = spent_usd + 1")
    change("UPDATE usage_day SET calls = calls + 1")
    assert found(since=tomorrow) == {}
    expected = {"balance_is_its_entries_and_holds", "usage_day_is_the_sum_of_its_events"}
    assert set(found(since=clock.now() - timedelta(hours=1))) == expected

    change(
        "UPDATE budgets_entry SET recorded_at = recorded_at + interval '2 days'"
        " WHERE id = (SELECT max(id) FROM budgets_entry)"
    )
    assert set(found(since=tomorrow)) == {"balance_is_its_entries_and_holds"}


def test_since_reads_days_and_moments(busy: World) -> None:
    for text in ("2026-11-24", "2026-11-24T10:00", "2026-11-24T10:00+02:00"):
        call_command("ledger_verify", f"--since={text}", stdout=StringIO())
    with pytest.raises(CommandError, match="neither a day such as"):
        call_command("ledger_verify", "--since=yesterday")
