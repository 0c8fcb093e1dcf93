"""A charged call is corrected by an entry of its own, once, and every figure follows."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from budgets.models import Balance, Entry, EntryKind, Reservation, ScopeKind
from core import clock
from core.errors import InvalidInputError
from keys.models import ApiKey
from portal.ledger import verify
from tests.gateway.conftest import World, build_world
from tests.usage.books import count_hours
from usage.models import UsageDay, UsageEvent, UsageHour
from usage.services import Correction, correct_calls, expire_holds

WHY = "The price list was wrong."
USAGE = {"input_tokens": 200, "output_tokens": 50}


@pytest.fixture
def world(db: None) -> World:
    """Give a key with two budgets on its path."""
    made = build_world()
    made.budget("key", kind=ScopeKind.KEY, limit="10")
    made.budget("team", kind=ScopeKind.TEAM, limit="10")
    return made


def charged(world: World) -> UsageEvent:
    """Return the event of a call of $0.0003, settled now."""
    reservation = world.gus.authorize(world.token).json()["reservation"]
    world.gus.settle(reservation, **USAGE)
    return UsageEvent.objects.get(external_id=reservation)


def of(event: UsageEvent, usd: str, **changes: object) -> Correction:
    correction = Correction(
        source=event.source, external_id=event.external_id, at=event.at, amount_usd=Decimal(usd)
    )
    return replace(correction, **changes)  # type: ignore[arg-type]


def correct(*corrections: Correction, ref: str = "rpr_1") -> list[str]:
    found = correct_calls(actor=None, ref=ref, reason=WHY, corrections=corrections)
    return [each.status for each in found]


def test_entry_usage_day_and_every_balance_move_together(world: World) -> None:
    event = charged(world)

    assert correct(of(event, "-0.0001", input_tokens=-20, output_tokens=5)) == ["corrected"]

    entry = Entry.objects.get(kind=EntryKind.CORRECTION)
    settled = Entry.objects.get(kind=EntryKind.SETTLE)
    assert (entry.amount_usd, entry.corrects, entry.reason) == (Decimal("-0.0001"), settled, WHY)
    assert (entry.budget_ids, entry.effective_at) == (settled.budget_ids, settled.effective_at)
    row = UsageEvent.objects.get(external_id=f"{event.external_id}:rpr_1")
    assert (row.calls, row.cost_usd, row.input_tokens, row.at) == (0, Decimal("-0.0001"), -20, event.at)
    day = UsageDay.objects.get()
    assert (day.calls, day.cost_usd, day.input_tokens, day.output_tokens) == (1, Decimal("0.0002"), 180, 55)
    assert {balance.spent_usd for balance in Balance.objects.all()} == {Decimal("0.0002")}
    assert verify().findings == ()


def test_the_hour_of_a_call_follows_where_it_is_kept(world: World) -> None:
    event = charged(world)
    hour = event.at.replace(minute=0, second=0, microsecond=0)
    attribution = {
        name: getattr(event, name)
        for name in ("project_id", "team_id", "department_id", "model_id", "tier_id")
    }
    kept, _ = UsageHour.objects.update_or_create(
        hour=hour, **attribution, defaults={"calls": 1, "cost_usd": event.cost_usd, "input_tokens": 200}
    )

    correct(of(event, "0.5", input_tokens=1))

    kept.refresh_from_db()
    assert (kept.calls, kept.cost_usd, kept.input_tokens) == (1, Decimal("0.5003"), 201)


def test_one_run_corrects_a_call_once_and_another_run_again(world: World) -> None:
    event = charged(world)
    item = of(event, "0.0002")

    assert correct(item, item) == ["corrected", "duplicate"]
    assert correct(item) == ["duplicate"]
    assert correct(item, ref="rpr_2") == ["corrected"]

    assert UsageDay.objects.get().cost_usd == Decimal("0.0007")
    assert {balance.spent_usd for balance in Balance.objects.all()} == {Decimal("0.0007")}
    assert verify().findings == ()


def test_a_call_that_nobody_knows_is_told_and_stops_no_other(world: World) -> None:
    event = charged(world)

    assert correct(replace(of(event, "1"), external_id="nobody"), of(event, "1")) == ["unknown", "corrected"]


def test_a_call_that_never_settled_is_settled_not_corrected(world: World) -> None:
    reservation = world.gus.authorize(world.token).json()["reservation"]
    long_ago = clock.now() - timedelta(days=1)
    Reservation.objects.update(authorized_at=long_ago, expires_at=long_ago + timedelta(minutes=5))
    expire_holds()
    event = UsageEvent.objects.get(external_id=f"{reservation}:unsettled")

    assert correct(of(event, "1")) == ["unknown"]


def test_an_imported_call_is_corrected_on_the_path_that_charged_it(world: World) -> None:
    event = charged(world)
    entry = Entry.objects.get()
    Entry.objects.bulk_create(
        [
            Entry(
                kind=EntryKind.LATE, amount_usd=2, budget_ids=[], window_starts=[], key_id=event.key_id,
                project=event.project, team=event.team, department=event.department, model=event.model,
                tokens={}, effective_at=event.at - timedelta(minutes=5), recorded_at=entry.recorded_at,
            )
        ]
    )  # fmt: skip
    fields = {field.attname: getattr(event, field.attname) for field in event._meta.concrete_fields}
    imported = UsageEvent.objects.create(
        **{
            **fields,
            "external_id": "a:b",
            "at": event.at - timedelta(minutes=5),
            "reservation_id": None,
            "cost_usd": 2,
        }
    )
    UsageDay.objects.update(calls=2, cost_usd=Decimal("2.0003"), input_tokens=400, output_tokens=100)
    count_hours()
    before = Balance.objects.first()

    assert correct(of(imported, "-1.5")) == ["corrected"]

    assert Balance.objects.first().spent_usd == before.spent_usd  # type: ignore[union-attr]
    assert ApiKey.objects.get().pk == Entry.objects.get(kind=EntryKind.CORRECTION).key_id
    assert verify().findings == ()


def test_too_many_at_once_and_no_reason_are_refused(world: World) -> None:
    event = charged(world)
    with pytest.raises(InvalidInputError):
        correct_calls(actor=None, ref="r", reason=" ", corrections=[of(event, "1")])
    with pytest.raises(InvalidInputError):
        correct_calls(actor=None, ref="r", reason=WHY, corrections=[of(event, "1")] * 2_001)
