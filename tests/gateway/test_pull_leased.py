"""Calls under a lease that their gateway died in: its journal says that they were allowed, and no more."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from budgets.models import Balance, Entry, EntryKind, Lease, Reservation, ReservationState
from core import clock
from portal import ledger
from tests.gateway.conftest import World
from tests.gateway.test_pull import Journal, journal, leased_row
from usage.models import GatewayCall, Quarantine, UsageEvent
from usage.services import expire_holds, ingest_page, pull_source, reclaim_leases

__all__ = ["journal"]

HELD = Decimal("0.0012")
INPUT_BOUND = Decimal("0.001")  # 1,000 bytes at 1 µ$


def in_flight(world: World) -> dict[str, object]:
    return leased_row(world, kind="allowed", usage=None)


def an_hour_passes() -> None:
    """Let every lease and every call have begun and ended an hour ago."""
    ago = clock.now() - timedelta(hours=1)
    ends = {"expires_at": ago + timedelta(seconds=30), "reclaim_at": ago + timedelta(seconds=60)}
    Lease.objects.update(opened_at=ago, **ends)
    Reservation.objects.update(authorized_at=ago, expires_at=ago + timedelta(seconds=60))


def test_a_call_that_was_allowed_and_never_ended_is_charged_its_input_bound(
    world: World, journal: Journal
) -> None:
    journal.rows = [in_flight(world)]
    assert pull_source(source=journal).quarantined == 0
    held = Reservation.objects.get()
    assert (held.state, held.held_usd, Lease.objects.get().held_usd) == ("open", HELD, 1 - HELD)
    assert Balance.objects.get().reserved_usd == 1
    assert not GatewayCall.objects.exists()
    an_hour_passes()
    assert (expire_holds(), reclaim_leases()) == (1, 1)
    assert Reservation.objects.get().state == ReservationState.UNSETTLED
    assert (Balance.objects.get().spent_usd, Balance.objects.get().reserved_usd) == (INPUT_BOUND, 0)
    assert UsageEvent.objects.get().estimated
    assert ledger.verify().findings == ()


def test_it_is_charged_all_the_same_when_its_lease_was_reclaimed_before_anybody_told(
    world: World, journal: Journal
) -> None:
    row = in_flight(world)
    an_hour_passes()
    reclaim_leases()
    journal.rows = [row]
    pull_source(source=journal)
    assert expire_holds() == 1
    entry = Entry.objects.get()
    assert (entry.kind, entry.amount_usd, entry.overrun_usd) == (
        EntryKind.UNSETTLED, INPUT_BOUND, INPUT_BOUND,
    )  # fmt: skip
    assert ledger.verify().findings == ()


@pytest.mark.parametrize("pages", [[0, 1, 2], [0, 2], [2], [1], [1, 0]])
def test_a_call_that_ended_is_booked_once_whatever_is_read_of_it(
    world: World, journal: Journal, pages: list[int]
) -> None:
    allowed = in_flight(world)
    settled = {name: value for name, value in allowed.items() if name != "kind"} | {
        "usage": {"input_tokens": 200, "output_tokens": 50}
    }
    rows = {0: [allowed], 1: [allowed, settled], 2: [settled]}
    for page in pages:
        ingest_page(source=journal.name, rows=rows[page])
    assert Entry.objects.get().amount_usd == Decimal("0.0003")
    assert Lease.objects.get().held_usd == 1 - HELD
    assert GatewayCall.objects.count() == 1
    assert ledger.verify().findings == ()


def test_a_call_that_consumed_nothing_is_charged_nothing(world: World, journal: Journal) -> None:
    allowed = in_flight(world)
    released = allowed | {"kind": "release"}
    ingest_page(source=journal.name, rows=[allowed])
    ingest_page(source=journal.name, rows=[released])
    ingest_page(source=journal.name, rows=[allowed, released])
    assert Reservation.objects.get().state == ReservationState.RELEASED
    assert Balance.objects.get().reserved_usd == Lease.objects.get().held_usd == 1 - HELD
    assert ledger.verify().findings == ()


def test_only_a_call_under_a_lease_is_allowed_by_a_gateway(world: World, journal: Journal) -> None:
    row = in_flight(world)
    del row["lease"], row["call"]
    assert ingest_page(source=journal.name, rows=[row]).quarantined == 1
    assert Quarantine.objects.get().reason == "malformed"
    unknown = in_flight(world) | {"lease": "lse_never_given"}
    ingest_page(source=journal.name, rows=[unknown])
    assert not Reservation.objects.exists()
