"""The demo organisation: its books balance to the last digit, and every page has something to say."""

import re
import stat
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path

import pytest
import time_machine
from django.contrib.auth import authenticate
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.db.models import Sum
from pytest_django.plugin import DjangoDbBlocker

from approvals.eligibility import who_can
from approvals.models import AccessRequest, RequestStatus
from approvals.reviews import unused_grants
from budgets.models import AlertKind, Balance, BudgetAlert, Entry, Reservation
from budgets.selectors import list_budgets, unbalanced_balances
from catalog.models import LlmModel, Price, PriceProposal, PriceSource, ProposalState
from catalog.selectors import price_rows
from core import clock
from core.models import AuditEvent
from gateway.models import Gateway
from keys.models import ApiKey, KeyState
from portal import ledger
from portal.demo.calls import Caller, Pricer, make_calls
from portal.demo.prices import CONTRACT_MODEL
from portal.demo.provider import DEARER_BY, DEARER_MODEL
from portal.demo.story import PROJECTS
from teams.models import User
from teams.selectors import roles_of
from tests import factories
from usage import selectors
from usage.models import (
    Discrepancy,
    DiscrepancyState,
    GatewayCall,
    ImportCursor,
    Level,
    ProviderAccount,
    ReconciliationRun,
    Repricing,
    RepricingState,
    RunState,
    SpendWarning,
    UsageDay,
    UsageEvent,
)
from usage.selectors.accounts import all_accounts
from usage.selectors.sources import SourceState, accounts_by_id, state_of
from usage.services import tell_of_spend

PASSWORD = "correct horse battery staple"


@pytest.fixture(scope="module")
def sign_ins(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """Make Northwind once for this file, and take it back at the end."""
    path = tmp_path_factory.mktemp("demo") / "private" / "sign-ins.txt"
    with django_db_blocker.unblock(), transaction.atomic():
        for number in (1, 2, 3):  # a test that commits leaves no tiers and policies behind
            tier = factories.tier(number)
            if number > 1:
                factories.policy_of(tier)
        call_command("seed_demo", password=PASSWORD, sign_ins=path, verbosity=0)
        connection.check_constraints()
        yield path
        transaction.set_rollback(True)


@pytest.fixture
def northwind(sign_ins: Path) -> Iterator[None]:
    """Let a test read Northwind, and take back what it writes."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def person(short: str) -> User:
    """Return one of the cast."""
    return User.objects.get(email=f"{short}@northwind.example")


def test_balances_are_the_sums_of_their_entries(northwind: None) -> None:
    assert Balance.objects.count() > 100
    assert ledger.verify().findings == ()


def test_ledger_events_and_roll_up_agree_to_the_last_digit(northwind: None) -> None:
    sums = {"usd": Sum("cost_usd"), "calls": Sum("calls"), "input": Sum("input_tokens")}
    events, days = UsageEvent.objects.aggregate(**sums), UsageDay.objects.aggregate(**sums)

    assert events == days
    assert events["usd"] == Entry.objects.aggregate(usd=Sum("amount_usd"))["usd"]
    assert events["calls"] == Entry.objects.count() == GatewayCall.objects.count() > 10_000


def test_every_call_costs_what_the_ledgers_own_prices_say(northwind: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), count(*) FILTER (WHERE e.cost_usd = core_round_half_even("
            " (e.input_tokens - e.cached_tokens) * r.input_usd + e.cached_tokens * r.cached_usd"
            " + (e.output_tokens - e.reasoning_tokens) * r.output_usd"
            " + e.reasoning_tokens * r.reasoning_usd, 12))"
            " FROM (SELECT * FROM usage_event WHERE NOT cache_hit ORDER BY external_id LIMIT 400) e,"
            " catalog_card(e.model_id, 'standard', e.at, e.input_tokens) r"
        )
        assert cursor.fetchone() == (400, 400)
    assert set(UsageEvent.objects.filter(cache_hit=True).values_list("cost_usd", flat=True)) == {Decimal(0)}


def test_each_entry_posts_on_every_budget_of_its_path(northwind: None) -> None:
    production = ApiKey.objects.get(name="support-bot production")

    [path] = Counter(len(entry.budget_ids) for entry in Entry.objects.filter(key_id=production.pk))

    assert path == 6  # organisation, department, team, project by month and by day, and the key's own cap


def test_nothing_is_held_and_nothing_is_in_the_future(northwind: None) -> None:
    now = clock.now()
    assert not Reservation.objects.exists()
    assert not UsageEvent.objects.filter(recorded_at__gt=now).exists()
    assert UsageEvent.objects.filter(at__gt=now - timedelta(hours=6)).exists()
    assert UsageEvent.objects.earliest("at").at > now - timedelta(days=62)


def test_one_project_nears_its_budget_and_one_is_over(northwind: None) -> None:
    page = selectors.overview(selectors.scope_for(person("fay")))
    rows = {row.code: row for row in page.projects}

    near, over = rows["search-rank"], rows["invoice-ocr"]
    assert near.spent_percent is not None
    assert over.spent_percent is not None
    assert 80 < near.spent_percent < 100
    assert 100 < over.spent_percent < 115
    assert over.status.text == "Blocked (429)"
    assert {row.status.text for row in page.projects} >= {"On track", "No budget", "Blocked (429)"}
    assert page.figures.blocked_today >= 0
    assert page.figures.limit_usd is not None
    assert page.figures.limit_usd > page.figures.spent_usd > 0


def test_no_other_budget_is_over_its_limit_today(northwind: None) -> None:
    over = [row.name for row in list_budgets(person("fay")) if row.left_usd is not None and row.left_usd < 0]

    assert over == ["Invoice reading"]


def test_budgets_have_passed_shares_of_their_limits_and_the_job_finds_no_more(northwind: None) -> None:
    passed = BudgetAlert.objects.filter(kind=AlertKind.SPENT)
    assert passed.filter(is_told=True).exists()
    assert not passed.filter(passed_at__gt=clock.now()).exists()
    assert all(alert.spent_usd * 100 >= alert.limit_usd * alert.percent for alert in passed)
    assert tell_of_spend() == 0
    warning = SpendWarning.objects.get()
    assert warning.usd_per_hour > warning.usual_usd_per_hour


def test_offices_work_less_on_weekends(northwind: None) -> None:
    days = UsageDay.objects.filter(project__code="fraud-notes").values("day").annotate(all_calls=Sum("calls"))
    _, *whole, _ = days.order_by("day")  # the demo begins and ends in the middle of a day

    office = [row["all_calls"] for row in whole if row["day"].weekday() < 5]
    weekend = [row["all_calls"] for row in whole if row["day"].weekday() >= 5]

    assert len(office) > len(weekend) > 8
    assert min(office) > max(weekend)


def test_the_cast_signs_in_with_one_password_and_has_its_roles(northwind: None) -> None:
    ben, cleo = roles_of(person("ben")), roles_of(person("cleo"))

    assert authenticate(None, email="ada@northwind.example", password=PASSWORD) == person("ada")
    assert len(ben.leads) == len(cleo.directs) == 1
    assert roles_of(person("fay")).sees_everything
    assert roles_of(person("dan")).works_in.isdisjoint(ben.works_in)


def test_requests_wait_for_ben_and_for_cleo_and_others_are_decided(northwind: None) -> None:
    waiting = AccessRequest.objects.filter(status=RequestStatus.PENDING).order_by("tier")

    assert [(str(one.requester), one.tier_id, [str(who) for who in who_can(one)]) for one in waiting] == [
        ("Ada Moreno", 2, ["Ben Okafor"]),
        ("Ivo Petrov", 3, ["Cleo Hart"]),
    ]
    statuses = Counter(AccessRequest.objects.values_list("status", flat=True))
    assert statuses[RequestStatus.DENIED] == 1
    assert statuses[RequestStatus.APPROVED] == 11


def test_keys_are_in_every_state(northwind: None) -> None:
    states = Counter(key.state for key in ApiKey.objects.all())

    others = (KeyState.AWAITING_REVEAL, KeyState.SUSPENDED, KeyState.REVOKED)
    assert states == {KeyState.LIVE: 15, **dict.fromkeys(others, 1)}


def test_the_gateways_journal_matches(northwind: None) -> None:
    gateway = Gateway.objects.get(name="local")

    assert (gateway.kind, gateway.live_versions) == ("litellm", [1])
    runs = ReconciliationRun.objects.filter(level=Level.CALLS)
    assert set(runs.values_list("state", flat=True)) == {"matched"}
    fresh = selectors.freshness()
    assert fresh.unmatched == 0
    assert fresh.usage_at is not None


def test_providers_are_read_and_differ_in_three_ways(northwind: None) -> None:
    states = {state_of(cursor, accounts_by_id(all_accounts())) for cursor in ImportCursor.objects.all()}
    found = Discrepancy.objects.filter(state=DiscrepancyState.OPEN)
    runs = ReconciliationRun.objects.exclude(level=Level.CALLS)

    assert states == {SourceState.READ, SourceState.CLOSED}
    assert ProviderAccount.objects.count() == 3
    assert Counter(runs.values_list("source", "level").values_list("level", flat=True)) == {2: 9, 3: 9}
    assert not runs.filter(state=RunState.UNREADABLE).exists()
    assert set(found.values_list("kind", flat=True)) >= {
        "bypass_unknown_key", "bypass_shared_key", "price_change",
    }  # fmt: skip


def test_a_contract_is_in_the_events_and_a_price_that_rose_waits_to_be(northwind: None) -> None:
    since = (
        Price.objects.filter(model__name=CONTRACT_MODEL, source=PriceSource.CONTRACT)
        .earliest("pk")
        .valid_from
    )
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT e.at >= %s, count(*), bool_and(e.cost_usd = core_round_half_even("
            " (e.input_tokens - e.cached_tokens) * r.input_usd + e.cached_tokens * r.cached_usd"
            " + (e.output_tokens - e.reasoning_tokens) * r.output_usd"
            " + e.reasoning_tokens * r.reasoning_usd, 12)), count(DISTINCT r.input_usd)"
            " FROM usage_event e JOIN catalog_llmmodel m ON m.id = e.model_id,"
            " catalog_card(e.model_id, 'standard', e.at, e.input_tokens) r"
            " WHERE m.name = %s AND NOT e.cache_hit GROUP BY 1 ORDER BY 1",
            [since, CONTRACT_MODEL],
        )
        before, after = cursor.fetchall()
    assert not PriceProposal.objects.filter(state=ProposalState.WAITING).exists()
    waiting = Repricing.objects.get()

    assert before[1] > 100
    assert after[1] > 100
    assert before[2]
    assert after[2]
    assert (waiting.model.name, waiting.state) == (DEARER_MODEL, RepricingState.WAITING)
    assert waiting.new_usd == pytest.approx(waiting.old_usd * DEARER_BY)


def test_what_was_set_up_is_in_the_audit_under_the_administrators_name(northwind: None) -> None:
    ann = person("ann")
    actions = Counter(AuditEvent.objects.filter(actor_id=ann.pk).values_list("action", flat=True))

    assert actions["project.created"] == 9
    assert actions["model.added"] == LlmModel.objects.count()
    assert AuditEvent.objects.filter(action="budget.limit_changed", actor_id=person("ben").pk).count() == 1


def test_the_same_moment_makes_the_same_calls(northwind: None) -> None:
    story = next(story for story in PROJECTS if story.code == "fraud-notes")
    caller = Caller(
        story=story,
        keys=list(ApiKey.objects.filter(name="fraud-notes")),
        models={model.name: model for model in LlmModel.objects.all()},
        pricer=Pricer(price_rows()),
    )
    moment = datetime(2026, 11, 23, 12, tzinfo=UTC)

    first, again = (make_calls(caller, until=moment) for _ in range(2))

    assert first == again
    assert len(first) > 500
    assert max(call.at for call in first) <= moment


def test_sign_ins_are_private_and_say_the_password(sign_ins: Path) -> None:
    text = sign_ins.read_text()

    assert stat.S_IMODE(sign_ins.stat().st_mode) == 0o600
    assert PASSWORD in text
    for short in ("ada", "ben", "cleo", "fay", "audrey", "ann"):
        assert f"{short}@northwind.example" in text


def test_a_second_run_leaves_everything_as_it_is(northwind: None, tmp_path: Path) -> None:
    before = list(UsageDay.objects.values_list("pk", "cost_usd").order_by("pk")[:50])

    call_command("seed_demo", if_empty=True, sign_ins=tmp_path / "none")

    assert not (tmp_path / "none").exists()
    assert list(UsageDay.objects.values_list("pk", "cost_usd").order_by("pk")[:50]) == before
    with pytest.raises(CommandError, match="There are people in this database already"):
        call_command("seed_demo", sign_ins=tmp_path / "none")


@pytest.mark.full
@pytest.mark.django_db
def test_the_first_minutes_of_a_month_are_a_fine_time_too(tmp_path: Path) -> None:
    today = datetime.now(UTC).date()
    next_month = (today.replace(day=1) + timedelta(days=32)).replace(day=1)
    output = StringIO()
    with time_machine.travel(
        datetime.combine(next_month, datetime.min.time(), tzinfo=UTC) + timedelta(minutes=9)
    ):
        call_command("seed_demo", sign_ins=tmp_path / "sign-ins", stdout=output)
        spent = selectors.month_to_date(selectors.organisation_scope())

    assert unbalanced_balances() == []
    assert spent < 5
    assert re.search(r"password \S{16}\n", output.getvalue())


@pytest.mark.parametrize(
    ("who", "listed"),
    [
        ("ben", [("search-rank prototype", True)]),
        ("grace", [("support-bot load tests", False)]),
        ("cleo", [("search-rank prototype", True), ("support-bot load tests", False)]),
    ],
)
def test_access_review_lists_what_is_never_or_hardly_used(
    northwind: None, who: str, listed: list[tuple[str, bool]]
) -> None:
    rows = unused_grants(person(who))
    assert [(row.grant.key.name, row.calls == 0) for row in rows] == listed
