"""What is done about differences, and how months are closed: who may, what moves, what stays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO

import pytest
import time_machine
from django.core.management import CommandError, call_command

import portal.ledger
from budgets.models import Balance, Entry
from catalog.models import Price, PriceProposal, PriceSource, ProposalState
from core import clock
from core.errors import AlreadyDoneError, InvalidInputError, NotAllowedError
from teams.errors import RoleNeededError
from tests.browsing import Visitor
from tests.cast import Cast
from tests.usage.faults import Planted, plant
from tests.walk.usage import closed, differing, long_past
from usage.models import (
    Discrepancy,
    DiscrepancyState,
    ImportCursor,
    LedgerCorrection,
    Level,
    PeriodClose,
    PeriodState,
    ProviderAccount,
    ProviderUsage,
    RunState,
    UsageDay,
    UsageEvent,
)
from usage.services import (
    accept,
    assign,
    close_period,
    confirm_price,
    correct,
    explain,
    reconcile_costs,
    reconcile_day,
    reconcile_volumes,
    reopen_period,
    soft_close_period,
)

WHY = "The gateway is right."


@pytest.fixture
def planted(cast: Cast) -> Planted:
    return plant(cast, days=1, calls_a_day=300, change_on=5)


def of(kind: str, level: Level) -> Discrepancy:
    found = Discrepancy.objects.filter(kind=kind, run__level=level, state=DiscrepancyState.OPEN)
    one = found.order_by("external_id").first()
    assert one is not None
    return one


@pytest.mark.parametrize("kind", ["token_mismatch", "price_mismatch", "zero_cost", "duplicate"])
def test_ledger_follows_a_call_in_every_book_at_once(cast: Cast, planted: Planted, kind: str) -> None:
    source, day = planted.sources[0], planted.first_day
    reconcile_day(source=source, day=day)
    one = of(kind, Level.CALLS)
    spent, used = Balance.objects.get().spent_usd, sum(UsageDay.objects.values_list("cost_usd", flat=True))

    correct(actor=cast.fay, discrepancy=one, reason=WHY)

    assert Balance.objects.get().spent_usd == spent + one.amount_usd
    assert sum(UsageDay.objects.values_list("cost_usd", flat=True)) == used + one.amount_usd
    [made] = one.corrections.all()
    assert (made.entry.kind, made.entry.reason, made.entry.actor) == ("correction", WHY, cast.fay)
    assert not portal.ledger.verify().findings
    reconcile_day(source=source, day=day)
    one.refresh_from_db()
    assert one.state == DiscrepancyState.CORRECTED
    with pytest.raises(AlreadyDoneError):
        correct(actor=cast.fay, discrepancy=one, reason=WHY)


def test_volume_that_nobody_saw_is_charged_to_who_used_the_model(cast: Cast, planted: Planted) -> None:
    account, day = planted.accounts[0], planted.first_day
    for source in planted.sources:
        reconcile_day(source=source, day=day)
    reconcile_volumes(account=account, day=day)
    one = of("token_mismatch", Level.VOLUMES)

    correct(actor=cast.fay, discrepancy=one, reason=WHY)

    assert sum(made.amount_usd for made in one.corrections.all()) == one.amount_usd
    assert {made.entry.project for made in one.corrections.all()} == {cast.ranking, cast.fraud}
    assert not portal.ledger.verify().findings
    reconcile_volumes(account=account, day=day)
    one.refresh_from_db()
    assert one.state == DiscrepancyState.CORRECTED
    # Calls agree as before: what nobody saw is no call.
    assert not Discrepancy.objects.filter(run__level=Level.CALLS, external_id__startswith="volume").exists()


def test_units_beside_tokens_are_compared_and_the_ledger_follows(cast: Cast, planted: Planted) -> None:
    account, day = planted.accounts[0], planted.first_day
    told = ProviderUsage.objects.get(
        account=account, day=day, upstream_key="key_eu", model_name__contains="large"
    )
    ProviderUsage.objects.filter(pk=told.pk).update(units={"second": 90, "input_audio_tokens": 7})
    call = UsageEvent.objects.filter(source=planted.sources[0], model__name="large", at__date=day).first()
    assert call is not None
    UsageEvent.objects.filter(pk=call.pk).update(units={"second": 60, "image": 1})
    Price.objects.create(
        model_id=call.model_id, unit="second", usd_per_unit=Decimal("0.1"), source=PriceSource.MANUAL,
        valid_from=clock.now() - timedelta(days=90),
    )  # fmt: skip

    run = reconcile_volumes(account=account, day=day)

    one = run.discrepancies.get(external_id="key_eu large")
    assert (one.kind, round(one.amount_usd, 1)) == ("token_mismatch", 3)  # and what faults differ in
    assert (one.detail["portal"]["units"], one.detail["provider"]["units"]) == (
        {"image": "1", "second": "60"},
        {"second": "90"},
    )
    correct(actor=cast.fay, discrepancy=one, reason=WHY)
    reconcile_volumes(account=account, day=day)
    one.refresh_from_db()
    assert one.state == DiscrepancyState.CORRECTED


def test_what_is_about_a_closed_month_is_booked_in_the_open_one(cast: Cast) -> None:
    one = differing(cast)
    assert one.at is not None
    month = one.at.date().replace(day=1)
    PeriodClose.objects.create(
        month=month, state=PeriodState.CLOSED, closed_at=clock.now(), closed_by=cast.ann
    )

    correct(actor=cast.fay, discrepancy=one, reason=WHY)

    [made] = LedgerCorrection.objects.all()
    assert made.prior_period == month
    entry = Entry.objects.get(pk=made.entry_id)
    assert (entry.kind, entry.corrects) == ("adjust", None)
    assert entry.reason == f"Prior period {month:%Y-%m}: {WHY}"
    assert entry.effective_at > clock.now() - timedelta(minutes=5)
    assert UsageEvent.objects.get(calls=0).at == entry.effective_at


@pytest.mark.parametrize("who", ["ada", "ben", "cleo", "audrey"])
def test_only_finance_and_administrators_act(cast: Cast, who: str) -> None:
    person, one = getattr(cast, who), differing(cast)
    for act in (explain, accept, correct):
        with pytest.raises(RoleNeededError, match="Ask Ann Keller or Fay Tanaka"):
            act(actor=person, discrepancy=one, reason=WHY)
    with pytest.raises(RoleNeededError):
        soft_close_period(actor=person, month=long_past())


def test_closing_a_difference_needs_a_reason_and_happens_once(cast: Cast) -> None:
    one = differing(cast)
    with pytest.raises(InvalidInputError, match="Enter a reason"):
        explain(actor=cast.fay, discrepancy=one, reason="  ")

    explain(actor=cast.fay, discrepancy=one, reason=WHY)

    with pytest.raises(AlreadyDoneError, match="explained"):
        accept(actor=cast.ann, discrepancy=one, reason=WHY)


def test_a_difference_is_looked_after_by_who_answers_for_the_books(cast: Cast) -> None:
    one = differing(cast)
    with pytest.raises(InvalidInputError, match="neither of finance"):
        assign(actor=cast.fay, discrepancy=one, owner=cast.ada)

    assert assign(actor=cast.ann, discrepancy=one, owner=cast.fay).owner == cast.fay


def test_a_source_that_was_not_read_is_red(cast: Cast, planted: Planted) -> None:
    account, day = planted.accounts[0], planted.first_day
    ImportCursor.objects.create(
        source=account.public_id, last_success_at=clock.now(), last_error="answered 401"
    )

    for run in (reconcile_volumes(account=account, day=day), reconcile_costs(account=account, day=day)):
        assert run.state == RunState.UNREADABLE
        assert "answered 401" in run.notice
    bare = ProviderAccount.objects.create(provider="google", name="bare")
    assert "No credential is set" in reconcile_volumes(account=bare, day=day).notice
    ImportCursor.objects.update(last_success_at=clock.now() - timedelta(days=9), last_error="")
    assert reconcile_day(source=planted.sources[0], day=day).state == RunState.UNREADABLE


def test_two_runs_of_a_day_are_one(cast: Cast, planted: Planted) -> None:
    source, day = planted.sources[0], planted.first_day
    first = reconcile_day(source=source, day=day)
    found = set(first.discrepancies.values_list("public_id", "state"))

    second = reconcile_day(source=source, day=day)

    assert (second.pk, second.runs) == (first.pk, 2)
    assert set(second.discrepancies.values_list("public_id", "state")) == found


def test_calls_count_as_missing_only_after_their_time(cast: Cast) -> None:
    noon = datetime(2026, 11, 12, 12, tzinfo=UTC)
    one = differing(cast)
    UsageEvent.objects.filter(external_id="rsv_walk").update(at=noon, recorded_at=noon)
    ImportCursor.objects.create(source="gw_walk", last_success_at=noon + timedelta(days=2))
    one.run.discrepancies.all().delete()
    with time_machine.travel(noon + timedelta(hours=2), tick=False):
        assert reconcile_day(source="gw_walk", day=noon.date()).state == RunState.MATCHED
    with time_machine.travel(noon + timedelta(hours=2, seconds=1), tick=False):
        run = reconcile_day(source="gw_walk", day=noon.date())
    assert [each.kind for each in run.discrepancies.all()] == ["missing_at_gateway"]


def test_a_month_is_closed_after_its_checks_and_reopened_by_another(cast: Cast) -> None:
    month = long_past()
    with pytest.raises(InvalidInputError, match="can be softly closed from"):
        soft_close_period(actor=cast.fay, month=clock.now().date().replace(day=1))
    with pytest.raises(InvalidInputError, match="softly first"):
        close_period(actor=cast.fay, month=month)
    soft_close_period(actor=cast.fay, month=month)
    account = ProviderAccount.objects.create(
        provider="openai", name="acme", created_at=clock.now() - timedelta(days=200)
    )
    with pytest.raises(InvalidInputError, match="No bill for the month from OpenAI acme"):
        close_period(actor=cast.fay, month=month)
    account.invoices.create(
        number="1", period_start=month, period_end=(month + timedelta(days=40)).replace(day=1),
        total_usd=Decimal(1), document_hash="x",
    )  # fmt: skip

    period = close_period(actor=cast.fay, month=month)

    assert period.state == PeriodState.CLOSED
    with pytest.raises(NotAllowedError, match="You closed"):
        reopen_period(actor=cast.fay, month=month, reason=WHY)
    assert reopen_period(actor=cast.ann, month=month, reason=WHY).state == PeriodState.REOPENED


def test_pages_lead_from_a_difference_to_what_was_done(cast: Cast, planted: Planted) -> None:
    for source in planted.sources:
        reconcile_day(source=source, day=planted.first_day)
    reconcile_volumes(account=planted.accounts[0], day=planted.first_day)
    reconcile_costs(account=planted.accounts[0], day=planted.first_day)
    visitor = Visitor(cast.fay)
    page = visitor.get("/reconciliation/", kind="zero_cost")
    assert {row[1] for row in page.rows("open-h")} == {"Tokens that cost nothing Calls, with the gateway"}
    assert page.rows("drift-h")
    one = of("zero_cost", Level.CALLS)
    csv = visitor.client.get("/reconciliation/", {"format": "csv", "kind": "zero_cost"})
    assert csv.getvalue().decode().count("dsc_") == 3

    answer = visitor.post(f"/reconciliation/differences/{one.public_id}/resolve/", act="correct", reason=WHY)

    assert answer.status == 302
    shown = visitor.get(f"/reconciliation/differences/{one.public_id}/")
    assert "How the ledger followed" in shown.words
    assert "Corrected" in shown.words
    empty = visitor.post(f"/reconciliation/differences/{of('zero_cost', Level.CALLS).public_id}/resolve/")
    assert empty.status == 422
    assert "Enter why" in empty.words


def test_month_page_shows_its_checks(cast: Cast) -> None:
    period = closed(cast)
    name = f"{period.month:%Y-%m}"

    mine = Visitor(cast.fay).get(f"/reconciliation/periods/{name}/")
    others = Visitor(cast.ann).get(f"/reconciliation/periods/{name}/")

    assert [row[1] for row in mine.rows("checks-h")] == ["Holds"] * 5
    assert f"/reconciliation/periods/{name}/reopen/" not in mine.links
    assert f"/reconciliation/periods/{name}/reopen/" in others.links


def test_command_compares_a_day_and_says_what_came_of_it(cast: Cast, planted: Planted) -> None:
    out = StringIO()
    call_command("reconcile", day=planted.first_day, level=(1, 2), stdout=out)
    assert f"{planted.first_day} level 2 {planted.accounts[0].public_id}: differences found" in out.getvalue()
    with pytest.raises(CommandError, match="nothing to compare"):
        call_command("reconcile", source="gw_nobody")


def test_a_call_that_was_not_charged_is_no_change_of_price(cast: Cast, planted: Planted) -> None:
    """Nothing is put right at level 1 here: the ledger is wrong, and units cost there what they do here."""
    for account in planted.accounts:
        reconcile_costs(account=account, day=planted.first_day)

    found = Discrepancy.objects.filter(run__level=Level.MONEY)

    assert found.exists()
    assert not found.filter(kind="price_change").exists()


def test_confirmed_price_is_entered_from_the_day_it_began_and_a_large_move_waits(cast: Cast) -> None:
    started = clock.now().date() - timedelta(days=1)
    prices = {
        "input": {"before": "0.0000025", "after": "0.00000265"},
        "output": {"before": "0.00001", "after": "0.00003"},
    }
    proposal = {"prices": prices, "from": started.isoformat()}
    change = differing(cast, kind="price_change", model_name=cast.large.name, proposal=proposal)

    assert confirm_price(actor=cast.ann, discrepancy=change, reason=WHY).state == DiscrepancyState.ACCEPTED

    entered = Price.objects.get(model=cast.large, source=PriceSource.CONTRACT)
    assert (entered.unit, entered.usd_per_unit) == ("input", Decimal("0.00000265"))
    assert entered.valid_from == datetime.combine(started, datetime.min.time(), tzinfo=UTC)
    assert PriceProposal.objects.get(state=ProposalState.WAITING).proposed_by == cast.ann
    with pytest.raises(AlreadyDoneError):
        confirm_price(actor=cast.ann, discrepancy=change, reason=WHY)
