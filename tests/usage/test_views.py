"""The pages of reconciliation: portal against gateways, for those who answer for the books."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from core import clock
from tests.browsing import Visitor
from tests.cast import Cast
from tests.factories import AccessRequestFactory, GatewayFactory
from usage.models import (
    Discrepancy,
    DiscrepancyClass,
    DiscrepancyState,
    ImportCursor,
    ProviderAccount,
    Quarantine,
    ReconciliationRun,
    RunState,
    SourceKind,
)

TODAY = clock.now().date()


def run(
    source: str, *, day: date = TODAY, state: RunState = RunState.MATCHED, **fields: object
) -> ReconciliationRun:
    """Write a reconciled day."""
    now = clock.now()
    counts = {"portal_calls": 48_211, "gateway_calls": 48_213, "portal_input_tokens": 1_000, "runs": 1}
    counts |= {"gateway_input_tokens": 1_040, "portal_output_tokens": 200, "gateway_output_tokens": 210}
    values = {
        **counts,
        "portal_cost_usd": Decimal("384.125"),
        "first_run_at": now,
        "last_run_at": now,
        **fields,
    }
    return ReconciliationRun.objects.create(day=day, source=source, state=state, **values)


def differ(of: ReconciliationRun, kind: DiscrepancyClass, external_id: str, **fields: object) -> Discrepancy:
    """Write a call that differs."""
    counts = {"input": 1_020, "cached": 20, "output": 33}
    detail = {
        "portal": None if kind == DiscrepancyClass.MISSING_AT_PORTAL else counts,
        "gateway": None if kind == DiscrepancyClass.MISSING_AT_GATEWAY else counts,
    }
    values = {"detail": detail, "opened_at": clock.now(), **fields}
    return Discrepancy.objects.create(run=of, kind=kind, external_id=external_id, **values)


@pytest.fixture
def edge(cast: Cast) -> str:
    """Register a gateway that was read a minute ago; return its source's name."""
    gateway = GatewayFactory.create(name="litellm-eu")
    now = clock.now()
    ImportCursor.objects.create(
        source=gateway.public_id, last_success_at=now - timedelta(minutes=1), last_row_at=now
    )
    return str(gateway.public_id)


def test_list_shows_days_and_sources_with_both_sides(cast: Cast, edge: str) -> None:
    run(edge)
    different = run(
        edge, day=TODAY - timedelta(days=1), state=RunState.DIFFERENT, drift_usd=Decimal("0.0021")
    )
    differ(different, DiscrepancyClass.TOKEN_MISMATCH, "rsv_1")
    differ(different, DiscrepancyClass.TOKEN_MISMATCH, "rsv_2")
    differ(
        different,
        DiscrepancyClass.TOKEN_MISMATCH,
        "rsv_3",
        state=DiscrepancyState.CORRECTED,
        closed_at=clock.now(),
    )
    run(edge, day=TODAY - timedelta(days=2), state=RunState.UNREADABLE)

    page = Visitor(cast.fay).get("/reconciliation/")

    assert "Calls, with the gateway 2 open differences," in page.words
    assert "Money, with the provider 0 No difference" in page.words
    [source] = page.rows("sources-h")
    assert (source[0], source[1], source[4]) == ("litellm-eu", "Read", "48,213")
    days = page.rows("days-h")
    assert days[0][0] == f"{TODAY:%-d %B %Y} litellm-eu"
    assert [row[1] for row in days] == ["Equal", "2 differences", "Gateway not read"]
    assert days[1][2:] == ["48,211", "48,213", "1,200", "1,250", "$384.12", "<$0.01"]
    assert f"/reconciliation/{edge}/{TODAY:%Y-%m-%d}/" in page.links


@pytest.mark.parametrize(
    ("fields", "state", "notice"),
    [
        ({"last_error": "answered 500"}, "Not readable", "litellm-eu: cannot be read: answered 500"),
        ({"last_success_at": None}, "Never read", "litellm-eu: was never read."),
        ({"last_success_at": datetime(2026, 1, 1, tzinfo=UTC)}, "Late", "litellm-eu: was not read for"),
    ],
)
def test_source_in_trouble_is_said_on_top(
    cast: Cast, edge: str, fields: dict[str, object], state: str, notice: str
) -> None:
    ImportCursor.objects.filter(source=edge).update(**fields)

    page = Visitor(cast.fay).get("/reconciliation/")

    assert page.rows("sources-h")[0][1] == state
    assert notice in page.words


def test_providers_are_sources_too(cast: Cast, edge: str) -> None:
    told = {"admin_credential": "env:OPENAI_ADMIN_KEY"}
    read = ProviderAccount.objects.create(provider="openai", name="org-1", **told)
    mute = ProviderAccount.objects.create(provider="anthropic", name="org-2")
    closed = ProviderAccount.objects.create(provider="openai", name="org-3", closed_at=clock.now(), **told)
    for account in (read, mute, closed):
        ImportCursor.objects.create(
            source=f"{account.public_id}:cost", kind=SourceKind.COST,
            last_success_at=clock.now() - timedelta(hours=1), closed_at=account.closed_at,
        )  # fmt: skip

    rows = Visitor(cast.fay).get("/reconciliation/").rows("sources-h")

    assert {(row[0], row[1]) for row in rows} == {
        ("litellm-eu", "Read"),
        ("OpenAI org-1, provider costs", "Read"),
        ("Anthropic org-2, provider costs", "No credential"),
    }


def test_day_shows_what_differs_with_model_and_moment(cast: Cast, edge: str) -> None:
    noon = datetime(TODAY.year, TODAY.month, TODAY.day, 12, tzinfo=UTC) - timedelta(days=1)
    mine = run(edge, day=noon.date(), state=RunState.DIFFERENT, drift_usd=Decimal("0.25"))
    differ(mine, DiscrepancyClass.MISSING_AT_PORTAL, "rsv_gateway", at=noon, model_name="small")
    differ(mine, DiscrepancyClass.MISSING_AT_GATEWAY, "rsv_portal", at=noon, model_name="large")
    differ(
        mine, DiscrepancyClass.TOKEN_MISMATCH, "rsv_agrees_now", state=DiscrepancyState.CORRECTED,
        closed_at=clock.now(), note="The two sides agree since then.",
    )  # fmt: skip
    page = Visitor(cast.audrey).get(f"/reconciliation/{edge}/{noon:%Y-%m-%d}/")

    rows = {row[0]: row[1:] for row in page.rows("differences-h")}
    counted, moment = "1,020 in (20 cached), 33 out", f"{noon:%-d %B %Y}, 12:00 UTC"
    assert "with litellm-eu" in page.words
    assert rows["rsv_gateway"][1:] == ["small", moment, "—", counted, "Open"]
    assert rows["rsv_portal"][1:] == ["large", moment, counted, "—", "Open"]
    assert rows["rsv_agrees_now"][1:] == ["—", "not known", counted, counted, "Corrected"]
    assert "The two sides agree since then." in rows["rsv_agrees_now"][0]
    assert page.rows("sums-h") == [
        ["Calls", "48,211", "48,213", "2"],
        ["Input tokens", "1,000", "1,040", "40"],
        ["Output tokens", "200", "210", "10"],
        ["Cost", "$384.12", "—", "$0.25"],
    ]


def test_day_shows_the_rows_that_could_not_be_booked(cast: Cast, edge: str) -> None:
    run(edge)
    for number, (source, seen_at) in enumerate(
        [(edge, clock.now()), ("gw_other", clock.now()), (edge, clock.now() - timedelta(days=2))]
    ):
        Quarantine.objects.create(
            source=source, external_id=f"rsv_{number}", reason="unknown_call", row={}, row_hash=str(number),
            detail="The portal never authorised this call.", seen_at=seen_at,
        )  # fmt: skip

    [row] = Visitor(cast.ann).get(f"/reconciliation/{edge}/{TODAY:%Y-%m-%d}/").rows("quarantine-h")

    assert row[:3] == ["rsv_0", "No authorisation is known for it", "The portal never authorised this call."]
    assert row[4] == "Open"


def test_equal_day_says_so(cast: Cast, edge: str) -> None:
    run(edge)

    page = Visitor(cast.fay).get(f"/reconciliation/{edge}/{TODAY:%Y-%m-%d}/")

    assert "Everything of the day is in both books with the same figures." in page.words
    assert page.rows("quarantine-h") == []


@pytest.mark.parametrize("who", ["ada", "ben", "cleo", "dan"])
def test_books_of_all_are_not_for_teams(cast: Cast, edge: str, who: str) -> None:
    run(edge)
    visitor = Visitor(getattr(cast, who))

    for path in ("/reconciliation/", f"/reconciliation/{edge}/{TODAY:%Y-%m-%d}/"):
        assert visitor.get(path).status == 403


@pytest.mark.parametrize(
    "path", ["gw_unknown/2026-01-01/", "{edge}/2026-01-01/", "{edge}/2026-13-01/", "{edge}/x/"]
)
def test_day_that_is_not_there(cast: Cast, edge: str, path: str) -> None:
    run(edge)

    assert Visitor(cast.fay).get(f"/reconciliation/{path.format(edge=edge)}").status == 404


def test_nothing_to_compare_says_when_there_will_be(cast: Cast) -> None:
    page = Visitor(cast.fay).get("/reconciliation/")

    assert "An administrator registers a gateway" in page.words
    assert "Nothing to compare yet" in page.words


def test_unmatched_calls_lead_to_the_page_for_those_who_may_open_it(cast: Cast, edge: str) -> None:
    differ(run(edge, state=RunState.DIFFERENT), DiscrepancyClass.TOKEN_MISMATCH, "rsv_1")

    assert "1 call not matched" in Visitor(cast.fay).get("/").words
    assert "not matched" not in Visitor(cast.ben).get("/").words


def test_pages_ask_as_often_for_fifty_as_for_five(cast: Cast, edge: str) -> None:
    AccessRequestFactory.create(requester=cast.ada, project=cast.ranking, tier=cast.tier3)
    first = run(edge, state=RunState.DIFFERENT)
    address = f"/reconciliation/{edge}/{TODAY:%Y-%m-%d}/"

    def grow(number: int, start: int) -> None:
        for count in range(start, start + number):
            gateway = GatewayFactory.create(name=f"gateway {count}")
            ImportCursor.objects.create(source=gateway.public_id)
            run(gateway.public_id)
            differ(first, DiscrepancyClass.TOKEN_MISMATCH, f"rsv_{count}")

    grow(5, 0)
    visitor = Visitor(cast.ann)
    few = len(visitor.queries("/reconciliation/")), len(visitor.queries(address))
    grow(45, 5)
    many = len(visitor.queries("/reconciliation/")), len(visitor.queries(address))

    assert few == many
    assert many[0] <= 8
    assert many[1] <= 10
