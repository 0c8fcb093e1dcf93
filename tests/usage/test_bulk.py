"""Bulk ingest: rows of a gateway's log, booked once, in every book, whatever they hold."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from budgets.models import Balance, Entry, EntryKind
from catalog.models import Unit
from core.models import Outbox
from tests.factories import LlmModelFactory, PriceFactory
from tests.usage.telling import Telling, books, telling, wrong
from usage.models import Quarantine, UsageDay, UsageEvent, UsageHour
from usage.services import import_rows

__all__ = ["telling"]

pytestmark = pytest.mark.django_db


def told(telling: Telling, *rows: Any, **terms: Any) -> dict[str, int]:
    counts = import_rows(source=telling.gateway.public_id, rows=rows, **terms)
    return {name: getattr(counts, name) for name in ("read", "booked", "known", "quarantined")}


def test_call_is_in_every_book_with_one_cost(telling: Telling) -> None:
    assert told(telling, telling.row(1)) == {"read": 1, "booked": 1, "known": 0, "quarantined": 0}

    [event] = UsageEvent.objects.all()
    # 1037 in, of which 345 cached and 148 written to the cache; 11 out: at 2.50 and 10 a million.
    cost = (
        Decimal(1037 - 345) * Decimal("0.0000025")
        + 345 * Decimal("0.000000033333333")
        + 11 * Decimal("0.00001")
    )
    assert event.cost_usd == cost.quantize(Decimal("1e-12"))
    assert (event.late, event.tier_id, event.team.code, event.reservation_id) == (True, 2, "cards", None)
    [entry] = Entry.objects.all()
    assert (entry.kind, entry.reason) == (EntryKind.LATE, f"Imported from {telling.gateway.public_id}.")
    assert (
        UsageDay.objects.get().cost_usd
        == UsageHour.objects.get().cost_usd
        == entry.amount_usd
        == event.cost_usd
    )
    assert set(Balance.objects.values_list("spent_usd", flat=True)) == {event.cost_usd}
    assert wrong() == []


def test_books_agree_and_entries_are_sums(telling: Telling) -> None:
    assert told(telling, *telling.rows(200))["booked"] == 200
    assert wrong() == []
    assert Entry.objects.count() < 60
    assert {len(ids) for ids in Entry.objects.values_list("budget_ids", flat=True)} == {2}


def test_second_telling_changes_nothing(telling: Telling) -> None:
    rows = telling.rows(50)
    told(telling, *rows)
    before = books()
    assert told(telling, *reversed(rows), page_rows=7) == {
        "read": 50,
        "booked": 0,
        "known": 50,
        "quarantined": 0,
    }
    assert books() == before


@pytest.mark.parametrize(
    "other",
    [
        {"input_tokens": 9_999},
        {"model": "large"},
        {"cache_hit": True},
        {"units": {"second": 3}},
        {"hours": 5},
    ],
)
@pytest.mark.parametrize("together", [True, False])
def test_other_figures_are_a_conflict_and_an_alarm(
    telling: Telling, other: dict[str, Any], together: bool
) -> None:
    row = telling.row(0)
    changed = {**row, **other}
    if "hours" in other:
        changed["at"] = (telling.start + timedelta(hours=5)).isoformat()
    for rows in [(row, changed)] if together else [(row,), (changed,)]:
        told(telling, *rows)
    told(telling, changed)

    assert UsageEvent.objects.count() == 1
    [kept] = Quarantine.objects.all()
    assert (kept.reason, kept.external_id) == ("conflict", "call-000000")
    [mail] = Outbox.objects.filter(topic="usage.conflict")
    assert mail.recipient == telling.cast.ann.email
    assert wrong() == []


POISON: list[tuple[dict[str, Any], str]] = [
    ({"input_tokens": -1}, "negative"),
    ({"units": {"second": -1}}, "negative"),
    ({"input_tokens": float("nan")}, "not_a_number"),
    ({"units": {"second": float("nan")}}, "not_a_number"),
    ({"output_tokens": float("inf")}, "infinite"),
    ({"output_tokens": "1e309"}, "infinite"),
    ({"input_tokens": 10**12}, "absurd_tokens"),
    ({"input_tokens": 10**400}, "absurd_tokens"),
    ({"cached_tokens": 5_000}, "parts_exceed"),
    ({"reasoning_tokens": 5_000}, "parts_exceed"),
    ({"key": "key_nobody"}, "unknown_key"),
    ({"model": "gpt-nobody"}, "unknown_model"),
    ({"project": "nowhere"}, "unknown_project"),
    ({"project": "fraud"}, "unknown_project"),
    ({"model": "unpriced"}, "unpriced"),
    ({"external_id": "bad-\udcff"}, "bad_utf8"),
    ({"model": b"\xff\xfe"}, "bad_utf8"),
    ({"provider_call_id": "x" * 101}, "oversize"),
    ({"at": "2019-01-01T00:00:00Z"}, "bad_time"),
    ({"at": "2999-01-01T00:00:00Z"}, "bad_time"),
    ({"at": "yesterday"}, "malformed"),
    ({"at": "2026-01-01T00:00:00"}, "malformed"),
    ({"input_tokens": "12"}, "malformed"),
    ({"input_tokens": True}, "malformed"),
    ({"finish": "exploded"}, "malformed"),
    ({"units": {"hogshead": 1}}, "malformed"),
    ({"external_id": "nul\x00"}, "malformed"),
    ({"external_id": None}, "malformed"),
    ({"key": ""}, "malformed"),
]


@pytest.mark.parametrize(("fields", "reason"), POISON)
def test_poison_goes_to_quarantine_and_stops_nobody(
    telling: Telling, fields: dict[str, Any], reason: str
) -> None:
    LlmModelFactory.create(name="unpriced")
    rows = [telling.row(0), telling.row(2, **fields), telling.row(4)]
    for _ in range(2):
        counts = told(telling, *rows)
        assert counts["quarantined"] == 1

    assert UsageEvent.objects.count() == 2
    [kept] = Quarantine.objects.all()
    assert kept.reason == reason
    assert kept.detail
    assert wrong() == []


@pytest.mark.parametrize("raw", [None, 7, "text", [1], b"\xff", {"x": "y" * 100_000}])
def test_anything_at_all_can_be_quarantined(telling: Telling, raw: Any) -> None:
    assert told(telling, raw, telling.row(0))["quarantined"] == 1
    assert UsageEvent.objects.count() == 1


def test_call_is_priced_at_its_own_moment_step_and_context(telling: Telling) -> None:
    model = LlmModelFactory.create(name="stepped")
    change = telling.start + timedelta(hours=2)
    for unit in (Unit.INPUT, Unit.OUTPUT):
        for start, end, usd in ((telling.start - timedelta(days=9), change, "1"), (change, None, "2")):
            PriceFactory.create(
                model=model, unit=unit, valid_from=start, valid_until=end, usd_per_unit=Decimal(usd) / 1_000
            )
        PriceFactory.create(
            model=model, unit=unit, tier_start=500, valid_from=change, usd_per_unit=Decimal("0.01")
        )
        PriceFactory.create(model=model, unit=unit, context="batch", usd_per_unit=Decimal("0.0005"))
    call = {
        "model": "stepped",
        "cached_tokens": 0,
        "cache_write_tokens": 0,
        "output_tokens": 0,
        "reasoning_tokens": 0,
    }
    cases = [
        (-1, 100, "standard", "0.1"),
        (0, 100, "standard", "0.2"),
        (0, 499, "standard", "0.998"),
        (0, 500, "standard", "5"),
        (-1, 500, "standard", "0.5"),
        (0, 100, "batch", "0.05"),
        (0, 100, "turbo", "0.2"),  # nobody knows it: the dearest of what is priced
    ]
    rows = [
        telling.row(
            number, **call, at=(change + timedelta(microseconds=later)), input_tokens=tokens, context=context
        )
        for number, (later, tokens, context, _) in enumerate(cases)
    ]
    told(telling, *rows)
    costs = UsageEvent.objects.order_by("external_id").values_list("cost_usd", "estimated")
    assert list(costs) == [(Decimal(usd), context == "turbo") for _, _, context, usd in cases]
    assert wrong() == []


def test_free_and_cached_calls_cost_nothing_and_units_are_priced(telling: Telling) -> None:
    LlmModelFactory.create(name="free", declared_free=True)
    heard = LlmModelFactory.create(name="heard", mode="transcription", max_output_tokens=None)
    PriceFactory.create(model=heard, unit=Unit.SECOND, usd_per_unit=Decimal("0.0001"))
    none = dict.fromkeys(
        ("input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens"), 0
    )
    told(
        telling,
        telling.row(0, model="free"),
        telling.row(2, cache_hit=True),
        telling.row(4, model="heard", units={"second": 61.5}, **none),
        telling.row(6, model="heard", units={"second": 30}, **none),
    )
    assert list(UsageEvent.objects.order_by("external_id").values_list("cost_usd", flat=True)) == [
        0, 0, Decimal("0.00615"), Decimal("0.003"),
    ]  # fmt: skip
    assert Entry.objects.get(model=heard).tokens["second"] == 91.5
    assert wrong() == []
