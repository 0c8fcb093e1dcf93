"""Every money flow stopped at every step: nothing is half done, and the retry has one effect."""

from __future__ import annotations

import contextlib
import secrets as random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError, connection

from budgets.models import Balance, Budget, Entry, Lease, Reservation, ScopeKind, Window
from core import clock
from keys.models import ApiKey
from portal import ledger
from tests import factories
from tests.gateway.conftest import World, build_world
from tests.gateway.failpoints import How, failpoints, stop_at
from tests.gateway.test_leases import leased, take
from usage.models import BlockedHour, Quarantine, UsageDay, UsageEvent
from usage.services import expire_holds, ingest_page, reclaim_leases

pytestmark = pytest.mark.django_db(transaction=True)

MOST_STEPS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A key with a budget of its own, so that each stop finds books that no other has touched."""

    world: World
    token: str
    key: ApiKey
    request_id: str

    def authorize(self, **changes: Any) -> str:
        """Make one call and return its reservation."""
        reservation: str = self.world.gus.authorize(self.token, **changes).json()["reservation"]
        return reservation

    def overdue(self) -> str:
        """Make one call whose time is long over, and return its reservation."""
        reservation = self.authorize()
        old = clock.now() - timedelta(hours=2)
        Reservation.objects.filter(public_id=reservation).update(
            authorized_at=old, expires_at=old + timedelta(minutes=1)
        )
        return reservation


# An act may be repeated; it is true when the portal said that it was done.
Act = Callable[[], bool]


def authorize(caller: Caller) -> Act:
    ask = {"request_id": caller.request_id}
    return lambda: caller.world.gus.authorize(caller.token, **ask).status_code == 200


def refuse(caller: Caller) -> Act:
    ask = {"request_id": caller.request_id, "model": "large"}
    return lambda: caller.world.gus.authorize(caller.token, **ask).status_code == 403


def settle(caller: Caller) -> Act:
    reservation = caller.authorize()
    return lambda: caller.world.gus.settle(reservation).status_code == 200


def settle_above_the_hold(caller: Caller) -> Act:
    reservation = caller.authorize()
    return lambda: caller.world.gus.settle(reservation, output_tokens=5_000).status_code == 200


def settle_a_batch(caller: Caller) -> Act:
    items = [
        {
            "reservation": caller.authorize(),
            "usage": {"input_tokens": 9, "output_tokens": 9},
            "finish": "stop",
        }
        for _ in range(3)
    ]
    return lambda: caller.world.gus.post("/gateway/v1/settle", {"items": items}).status_code == 200


def settle_with_other_figures(caller: Caller) -> Act:
    reservation = caller.authorize()
    caller.world.gus.settle(reservation)
    return lambda: caller.world.gus.settle(reservation, output_tokens=51).status_code == 409


def settle_what_was_charged_as_lost(caller: Caller) -> Act:
    reservation = caller.overdue()
    expire_holds()
    return lambda: caller.world.gus.settle(reservation).status_code == 200


def release(caller: Caller) -> Act:
    reservation = caller.authorize()
    return lambda: caller.world.gus.release(reservation).status_code == 200


def release_what_was_charged_as_lost(caller: Caller) -> Act:
    reservation = caller.overdue()
    expire_holds()
    return lambda: caller.world.gus.release(reservation).status_code == 200


def expire(caller: Caller) -> Act:
    for _ in range(2):
        caller.overdue()
    return lambda: expire_holds() >= 0


def lend(caller: Caller) -> Act:
    wish = {"key": caller.token, "node": f"node-{caller.key.pk}", "lease": f"wish-{caller.key.pk}"}
    return lambda: take(caller.world, **wish).status_code == 200


def lent(caller: Caller) -> str:
    """Return a lease of the caller's."""
    lease: str = take(caller.world, key=caller.token, node=f"node-{caller.key.pk}").json()["lease"]
    return lease


def settle_under_a_lease(caller: Caller) -> Act:
    items = [leased(lent(caller)), leased(lent(caller))]
    return lambda: caller.world.gus.post("/gateway/v1/settle", {"items": items}).status_code == 200


def die_with_a_call_in_flight(caller: Caller) -> Act:
    item = leased(lent(caller))
    line = item | {"id": item["reservation"], "kind": "allowed", "model": "small"}
    rows = [line | {"at": clock.now().isoformat()}]
    source = caller.world.gus.gateway.public_id
    return lambda: ingest_page(source=source, rows=rows).quarantined == 0


def give_back(caller: Caller, keep_usd: str = "0.2") -> Act:
    body = {"lease": lent(caller), "keep_usd": keep_usd}
    return lambda: caller.world.gus.post("/gateway/v1/leases/return", body).status_code == 200


def close(caller: Caller) -> Act:
    return give_back(caller, "0")


def recall(caller: Caller) -> Act:
    lent(caller)
    ApiKey.objects.filter(pk=caller.key.pk).update(suspended_at=clock.now(), suspended_reason="runaway")
    body = {"node": f"node-{caller.key.pk}"}
    return lambda: caller.world.gus.post("/gateway/v1/leases/poll", body).status_code == 200


def reclaim(caller: Caller) -> Act:
    lent(caller)
    ago = clock.now() - timedelta(hours=2)
    ends = {"expires_at": ago + timedelta(seconds=30), "reclaim_at": ago + timedelta(seconds=60)}
    Lease.objects.filter(key_id=caller.key.pk).update(opened_at=ago, **ends)
    return lambda: reclaim_leases() >= 0


# Each flow with the fewest rows that it changes on a path of two budgets.
FLOWS: dict[Callable[[Caller], Act], int] = {
    authorize: 6,
    refuse: 2,
    settle: 7,
    settle_above_the_hold: 7,
    settle_a_batch: 18,
    settle_with_other_figures: 2,
    settle_what_was_charged_as_lost: 11,
    release: 4,
    release_what_was_charged_as_lost: 7,
    expire: 12,
    lend: 10,
    settle_under_a_lease: 25,
    die_with_a_call_in_flight: 4,
    give_back: 6,
    close: 6,
    recall: 3,
    reclaim: 5,
}


@pytest.fixture
def world(transactional_db: None) -> Iterator[World]:
    built = build_world()
    built.budget("team", kind=ScopeKind.TEAM, limit="100", window=Window.MONTH)
    with failpoints():
        yield built


def new_caller(world: World) -> Caller:
    """Give a key of its own, whose balance does not exist yet."""
    key = factories.ApiKeyFactory.create(project=world.project, owner=world.ada)
    budget = Budget.objects.create(
        scope_kind=ScopeKind.KEY, scope_id=key.pk, department=world.team.department, window=Window.DAY
    )
    world.limit(budget, "5")
    return Caller(world=world, token=factories.revealed(key), key=key, request_id=random.token_hex(8))


def effect(caller: Caller) -> dict[str, list[Any]]:
    """Return what a key's calls left in every book."""
    key = {"key_id": caller.key.pk}
    budget = Budget.objects.get(scope_kind=ScopeKind.KEY, scope_id=caller.key.pk)
    sources = Reservation.objects.filter(**key).values("public_id")
    return {
        "reservations": sorted(Reservation.objects.filter(**key).values_list("state", "held_usd")),
        "entries": sorted(Entry.objects.filter(**key).values_list("kind", "amount_usd", "overrun_usd")),
        "events": sorted(UsageEvent.objects.filter(**key).values_list("calls", "cost_usd", "finish")),
        "days": sorted(UsageDay.objects.filter(**key).values_list("calls", "cost_usd", "input_tokens")),
        "blocked": sorted(BlockedHour.objects.filter(**key).values_list("code", "calls")),
        "balances": sorted(budget.balances.values_list("spent_usd", "reserved_usd")),
        "leases": sorted(
            (each.granted_usd, each.held_usd, each.returned_usd, bool(each.closed_at), bool(each.recalled_at))
            for each in Lease.objects.filter(**key)
        ),
        "conflicts": sorted(Quarantine.objects.filter(external_id__in=sources).values_list("reason")),
    }


@pytest.mark.parametrize("how", [How.RAISE, pytest.param(How.TERMINATE, marks=pytest.mark.full)])
@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.__name__)
def test_flow_stopped_at_any_step_did_nothing_and_its_retry_has_one_effect(
    world: World, flow: Callable[[Caller], Act], how: How
) -> None:
    undisturbed = new_caller(world)
    assert flow(undisturbed)()
    expected = effect(undisturbed)

    for step in range(1, MOST_STEPS):
        caller = new_caller(world)
        act = flow(caller)
        before = effect(caller)
        with stop_at(step, how) as stop:
            done = attempt(act)
        assert done is not stop.happened, f"step {step}"
        if not stop.happened:
            break
        assert effect(caller) == before, f"stopped at step {step}, it did something"
        assert ledger.verify().findings == (), f"stopped at step {step}"
        assert act()
        assert effect(caller) == expected, f"the retry after step {step}"
    else:
        pytest.fail("it never ended")

    assert step > FLOWS[flow], "the sweep saw too few steps"
    assert ledger.verify().findings == ()
    if flow is not refuse:  # each refusal is counted
        assert act()
        assert effect(caller) == expected, "an answer that was lost is asked for again"


def attempt(act: Act) -> bool:
    """Act, and say whether it was done; a job that is stopped raises, a gateway is told 503."""
    with contextlib.suppress(DatabaseError):
        return act()
    return False


def test_flow_of_two_statements_would_be_caught(world: World) -> None:
    """The control: a hold taken in two transactions is half done when it is stopped between them."""
    caller = new_caller(world)
    caller.authorize()

    def hold_in_two_statements() -> bool:
        with connection.cursor() as cursor:
            cursor.execute("UPDATE budgets_balance SET reserved_usd = reserved_usd + 0.5")
            cursor.execute("UPDATE budgets_reservation SET held_usd = held_usd + 0.5")
        return True

    steps_of_the_first = Balance.objects.count() * 2
    with stop_at(steps_of_the_first + 1, How.RAISE) as stop:
        assert not attempt(hold_in_two_statements)

    assert stop.happened
    [finding] = ledger.verify().findings
    assert finding.rule == "balance_is_its_entries_and_holds"
    assert Balance.objects.get(
        budget__scope_id=caller.key.pk, budget__scope_kind="key"
    ).reserved_usd > Decimal("0.5")
