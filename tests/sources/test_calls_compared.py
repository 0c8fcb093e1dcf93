"""Level 1 compares the ledger with whatever a gateway tells of its calls: journal, log or push."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from budgets.models import ScopeKind
from core import clock
from core.deadline import OverTimeError
from core.money import told_usd
from gateway.models import GatewayLog
from gateway.services import close_log
from gateway.tasks import log_of
from teams.models import Role, RoleAssignment, User
from tests.browsing import Visitor
from tests.fakes.spend_logs import SpendLogs
from tests.fakes.spend_logs import row as spend_row
from tests.gateway.conftest import World
from tests.gateway.test_pull import Journal, allowed, row, yesterday
from tests.gateway.test_push import push
from tests.gateway.test_push import row as pushed_row
from usage.models import (
    DiscrepancyClass,
    DiscrepancyState,
    GatewayCall,
    ImportCursor,
    Level,
    ReconciliationRun,
    RunState,
    UsageEvent,
)
from usage.selectors.sources import gateways_told
from usage.serializers import ReconciliationRunOut
from usage.services import pull_log, pull_source, reconcile_day
from usage.services.reconciliation import due
from usage.tasks import reconcile_recent_days


@pytest.fixture
def journal(world: World) -> Journal:
    world.budget("key", kind=ScopeKind.KEY, limit="10")
    return Journal(world.gus.gateway.public_id)


def settled(world: World, **counts: int) -> str:
    """Return a call of yesterday that was settled long enough ago to be missed at the gateway."""
    reservation = allowed(world, days_ago=1)
    world.gus.settle(reservation, **counts)
    UsageEvent.objects.update(recorded_at=clock.now() - timedelta(hours=3))
    return reservation


def told(world: World, journal: Journal, **changes: Any) -> str:
    """Return a settled call of yesterday that the journal tells of too."""
    reservation = settled(world)
    journal.rows.append(row(reservation, **changes))
    return reservation


def log_row(reservation: str, **changes: Any) -> dict[str, Any]:
    """One spend log of the figures that `settled` has, at LiteLLM's own price of them."""
    usage = {"prompt_tokens": 200, "completion_tokens": 50}
    metadata = {"spend_logs_metadata": {"purser_reservation": reservation}, "usage_object": usage}
    at = clock.now() - timedelta(seconds=2)
    return spend_row(f"chatcmpl-{reservation}", at, metadata=metadata, **{"spend": 0.0003} | changes)


def test_a_gateway_with_a_log_alone_is_compared_by_it(
    world: World, litellm: SpendLogs, spend: GatewayLog
) -> None:
    gateway = world.gus.gateway.public_id
    logged, silent = settled(world), settled(world)
    litellm.rows = [log_row(logged)]
    pull_log(source=log_of(spend))

    states = reconcile_recent_days()

    assert states[f"{gateway} {yesterday()}"] == RunState.DIFFERENT
    run = ReconciliationRun.objects.get(day=yesterday(), source=gateway, level=Level.CALLS)
    assert list(run.discrepancies.values_list("kind", "external_id")) == [
        (DiscrepancyClass.MISSING_AT_GATEWAY, silent)
    ]


def test_days_that_there_was_no_time_for_come_first_in_the_next_run(
    world: World, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull_source(source=journal)
    monkeypatch.setattr(clock, "time_left", lambda: iter([True, False, False]).__next__)
    compared = [day for _ in range(3) for day in reconcile_recent_days()]
    assert len(set(compared)) == len(compared) == 3


def test_a_day_that_is_too_much_for_a_job_is_red_and_holds_up_no_other(
    world: World, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull_source(source=journal)

    def slow(*, source: str, day: date) -> ReconciliationRun:
        if day == yesterday():
            raise OverTimeError("canceling statement due to statement timeout")
        return reconcile_day(source=source, day=day)

    monkeypatch.setattr(due, "reconcile_day", slow)

    outcomes = [reconcile_recent_days() for _ in range(2)]

    assert f"{journal.name} {yesterday()}" not in outcomes[0]  # there was less than a job's time for it
    run = ReconciliationRun.objects.get(day=yesterday(), source=journal.name)
    assert (run.state, run.notice) == (RunState.UNREADABLE, due.TOO_LARGE)
    assert len({*outcomes[0], *outcomes[1]}) == 3


def test_a_log_that_is_not_read_makes_the_gateway_red_until_it_is_closed(
    world: World, litellm: SpendLogs, spend: GatewayLog
) -> None:
    journal = Journal(world.gus.gateway.public_id)
    pull_source(source=journal)
    pull_log(source=log_of(spend))
    assert gateways_told() == [journal.name]
    ImportCursor.objects.filter(source=spend.public_id).update(last_success_at=None)
    assert reconcile_day(source=journal.name, day=yesterday()).state == RunState.UNREADABLE
    close_log(actor=None, log=spend)
    assert reconcile_day(source=journal.name, day=yesterday()).state == RunState.MATCHED


def test_a_price_that_a_log_tells_is_compared(world: World, litellm: SpendLogs, spend: GatewayLog) -> None:
    right, wrong = settled(world), settled(world)
    litellm.rows = [log_row(right), log_row(wrong, spend=0.0005)]
    pull_log(source=log_of(spend))
    assert GatewayCall.objects.get(external_id=wrong).provider_call_id == f"chatcmpl-{wrong}"

    found = reconcile_day(source=world.gus.gateway.public_id, day=yesterday()).discrepancies.get()

    assert (found.kind, found.external_id) == (DiscrepancyClass.PRICE_MISMATCH, wrong)
    assert found.amount_usd == Decimal("0.0002")


def test_a_price_that_a_journal_tells_is_compared(world: World, journal: Journal) -> None:
    told(world, journal, cost_usd="0.000300000000")
    told(world, journal, cost_usd=None)
    wrong = told(world, journal, cost_usd="0.0004")
    pull_source(source=journal)

    found = reconcile_day(source=journal.name, day=yesterday()).discrepancies.get()

    assert (found.kind, found.external_id) == (DiscrepancyClass.PRICE_MISMATCH, wrong)


def test_prices_of_two_calls_that_changed_places_are_both_found(world: World, journal: Journal) -> None:
    dear, cheap = told(world, journal), told(world, journal)
    UsageEvent.objects.filter(external_id=dear).update(cost_usd=Decimal("0.0009"))
    costs = {dear: "0.0003", cheap: "0.0009"}
    journal.rows = [line | {"cost_usd": costs[line["id"]]} for line in journal.rows]
    pull_source(source=journal)
    run = reconcile_day(source=journal.name, day=yesterday())
    assert set(run.discrepancies.values_list("kind", "external_id")) == {
        (DiscrepancyClass.PRICE_MISMATCH, dear),
        (DiscrepancyClass.PRICE_MISMATCH, cheap),
    }


def test_a_pushed_call_is_the_gateways_own_telling_and_missing_nowhere(
    world: World, journal: Journal
) -> None:
    told(world, journal)
    at = (clock.now() - timedelta(days=1)).isoformat()
    push(world.gus, [pushed_row(world, "a", at=at), pushed_row(world, "b", at=at)])
    UsageEvent.objects.update(recorded_at=clock.now() - timedelta(hours=3))
    pull_source(source=journal)

    run = reconcile_day(source=journal.name, day=yesterday())

    assert (run.state, run.portal_calls, run.gateway_calls) == (RunState.MATCHED, 3, 3)
    assert (run.portal_input_tokens, run.portal_output_tokens) == (2_200, 250)
    assert (run.gateway_input_tokens, run.gateway_output_tokens) == (2_200, 250)
    assert GatewayCall.objects.count() == 1  # nothing is kept twice


def test_a_pushed_call_that_costs_nothing_or_came_twice_is_found(world: World, journal: Journal) -> None:
    at = (clock.now() - timedelta(days=1)).isoformat()
    twins = [pushed_row(world, name, at=at, provider_id="resp-1") for name in ("a", "b")]
    push(world.gus, [*twins, pushed_row(world, "free", at=at)])
    UsageEvent.objects.filter(external_id="free").update(cost_usd=0)
    pull_source(source=journal)
    run = reconcile_day(source=journal.name, day=yesterday())
    assert set(run.discrepancies.values_list("kind", "external_id")) == {
        (DiscrepancyClass.DUPLICATE, "b"),
        (DiscrepancyClass.ZERO_COST, "free"),
    }


def alone_pushes(world: World) -> ReconciliationRun:
    """Push twins, a free call and a good one to a gateway without a record, beside a call that it decided."""
    world.budget("key", kind=ScopeKind.KEY, limit="10")
    settled(world)
    at = (clock.now() - timedelta(days=1)).isoformat()
    twins = [pushed_row(world, name, at=at, provider_id="resp-1") for name in ("a", "b")]
    push(world.gus, [*twins, pushed_row(world, "free", at=at), pushed_row(world, "good", at=at)])
    UsageEvent.objects.filter(external_id="free").update(cost_usd=0)
    UsageEvent.objects.update(recorded_at=clock.now() - timedelta(hours=3))
    assert reconcile_recent_days() == {f"{world.gus.gateway.public_id} {yesterday()}": RunState.DIFFERENT}
    return ReconciliationRun.objects.get()


def test_a_gateway_without_a_record_has_no_other_side_and_its_own_faults_are_found(world: World) -> None:
    run = alone_pushes(world)
    assert (run.alone, run.portal_calls, run.gateway_calls) == (True, 5, 0)
    assert set(run.discrepancies.values_list("kind", "external_id")) == {
        (DiscrepancyClass.DUPLICATE, "b"),
        (DiscrepancyClass.ZERO_COST, "free"),
    }
    run.discrepancies.update(state=DiscrepancyState.ACCEPTED, closed_at=clock.now())
    assert reconcile_recent_days() == {f"{run.source} {run.day}": RunState.ALONE}


def test_a_gateway_that_gets_a_journal_is_compared_by_it_from_then_on(world: World) -> None:
    run = alone_pushes(world)
    pull_source(source=Journal(run.source))
    states = reconcile_recent_days()
    run.refresh_from_db()
    assert (run.alone, states[f"{run.source} {run.day}"]) == (False, RunState.DIFFERENT)
    assert (DiscrepancyClass.MISSING_AT_GATEWAY,) in run.discrepancies.values_list("kind")


def test_a_day_that_was_compared_with_a_log_stays_when_the_log_is_closed(
    world: World, litellm: SpendLogs, spend: GatewayLog
) -> None:
    settled(world)
    pull_log(source=log_of(spend))
    assert reconcile_recent_days()[f"{world.gus.gateway.public_id} {yesterday()}"] == RunState.DIFFERENT
    close_log(actor=None, log=spend)
    assert reconcile_recent_days() == {}


def test_pages_and_api_say_that_there_is_no_other_side(world: World) -> None:
    run = alone_pushes(world)
    run.discrepancies.update(state=DiscrepancyState.ACCEPTED, closed_at=clock.now())
    reconcile_recent_days()
    fay = User.objects.create(email="fay@example.com", name="Fay")
    RoleAssignment.objects.create(user=fay, role=Role.FINANCE)
    fay_sees = Visitor(fay)

    [row] = fay_sees.get("/reconciliation/").rows("days-h")
    page = fay_sees.get(f"/reconciliation/{run.source}/{run.day}/")

    assert (row[1], row[2], row[3]) == ("No other side", "5", "—")
    assert "keeps no journal or log that Purser reads" in page.words
    assert page.rows("sums-h")[0] == ["Calls", "5", "—", "—"]
    assert ReconciliationRunOut(ReconciliationRun.objects.get()).data["state"] == "alone"
    assert ReconciliationRunOut(ReconciliationRun.objects.get()).data["alone"] is True


@pytest.mark.parametrize(
    ("value", "amount"),
    [
        (0.0003, "0.0003"),
        ("1.2e-05", "0.000012"),
        (0, None),
        (None, None),
        (-1, None),
        ("free", None),
        (float("nan"), None),
    ],
)
def test_what_a_gateway_says_it_cost_is_read_where_it_says_anything(
    value: object, amount: str | None
) -> None:
    assert told_usd(value) == (amount and Decimal(amount))
