"""Past calls are priced again as corrections: seen first, approved by another, booked once, in batches."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from budgets.models import Balance, Entry, EntryKind, Reservation, ScopeKind
from catalog.models import Price, PriceSource
from core import clock
from core.errors import AlreadyDoneError, InvalidInputError, NotAllowedError, StaleError
from portal.ledger import verify
from teams.errors import RoleNeededError
from teams.models import Role, User
from tests.factories import RoleAssignmentFactory, UserFactory
from tests.gateway.conftest import World, build_world
from tests.racing import at_once, losers, winners
from usage import services
from usage.models import Repricing, RepricingState, UsageDay, UsageEvent
from usage.services import Correction, correct_calls, expire_holds, repricing

WHY = "The provider's price of November."
USAGE = {"input_tokens": 200, "output_tokens": 50}


def administrator(name: str) -> User:
    person: User = UserFactory.create(name=name)
    RoleAssignmentFactory.create(user=person, role=Role.ADMIN)
    return person


@pytest.fixture
def world(db: None) -> World:
    made = build_world()
    made.budget("key", kind=ScopeKind.KEY, limit="10")
    return made


def called(world: World, number: int, **changes: object) -> list[UsageEvent]:
    """Make settled calls of $0.0003 on the cheap model."""
    found = []
    for _ in range(number):
        reservation = world.gus.authorize(world.token, **changes).json()["reservation"]
        world.gus.settle(reservation, **USAGE)
        found.append(UsageEvent.objects.get(external_id=reservation))
    return found


def contract(world: World, usd: str, unit: str = "input", **changes: object) -> Price:
    """Enter a contract price that holds since yesterday."""
    fields = {"valid_from": clock.now() - timedelta(days=1), "source_version": "x", **changes}
    return Price.objects.create(
        model=world.small, unit=unit, usd_per_unit=Decimal(usd), source=PriceSource.CONTRACT, **fields
    )


def propose(world: World, actor: User) -> Repricing:
    now = clock.now()
    return services.propose_repricing(
        actor=actor, model=world.small, starts_at=now - timedelta(days=2), ends_at=now + timedelta(days=1),
        reason=WHY,
    )  # fmt: skip


def run() -> int:
    return services.run_repricings(until=clock.now() + timedelta(minutes=5))


def spent() -> set[Decimal]:
    return {balance.spent_usd for balance in Balance.objects.all()}


def test_calls_get_corrections_with_reason_and_every_figure_follows(world: World) -> None:
    events = called(world, 3)
    price = contract(world, "0.0000005")
    ann, bea = administrator("Ann"), administrator("Bea")

    mine = propose(world, ann)
    assert (mine.calls, mine.old_usd, mine.new_usd) == (3, Decimal("0.0009"), Decimal("0.0006"))
    assert mine.teams == [
        {"team": "Search", "calls": 3, "old_usd": "0.000900000000", "new_usd": "0.000600000000"}
    ]
    assert run() == 0
    services.approve_repricing(actor=bea, repricing=mine)
    assert run() == 3

    mine.refresh_from_db()
    assert (mine.state, mine.booked_calls, mine.booked_usd) == ("done", 3, Decimal("-0.0003"))
    corrections = Entry.objects.filter(kind=EntryKind.CORRECTION)
    assert {(entry.amount_usd, entry.reason, entry.actor) for entry in corrections} == {
        (Decimal("-0.0001"), WHY, bea)
    }
    assert all(price.pk in entry.price_ids and entry.corrects is not None for entry in corrections)
    assert {row.external_id for row in UsageEvent.objects.filter(calls=0)} == {
        f"{event.external_id}:{mine.public_id}" for event in events
    }
    assert UsageDay.objects.get().cost_usd == Decimal("0.0006")
    assert spent() == {Decimal("0.0006")}
    assert verify().findings == ()


def test_it_is_booked_once_whatever_runs_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repricing, "BATCH_CALLS", 2)
    called(world, 5)
    contract(world, "0.0000005")
    mine = propose(world, administrator("Ann"))
    services.approve_repricing(actor=administrator("Bea"), repricing=mine)

    assert run() == 5
    assert run() == 0
    Repricing.objects.update(state=RepricingState.RUNNING, reached_at=mine.starts_at, done_at=None)
    assert run() == 0
    with pytest.raises(InvalidInputError, match="charged by the prices of its time"):
        propose(world, administrator("Cid"))
    assert spent() == {Decimal("0.001")}


def test_it_goes_on_where_it_was_stopped(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repricing, "BATCH_CALLS", 2)
    called(world, 5)
    contract(world, "0.0000005")
    mine = propose(world, administrator("Ann"))
    services.approve_repricing(actor=administrator("Bea"), repricing=mine)

    batches = []
    while (calls := repricing._book_batch(mine.pk)) is not None:
        batches.append(calls)

    assert [calls for calls in batches if calls] == [2, 2, 1]
    assert verify().findings == ()


def test_context_steps_parts_and_former_corrections_count(world: World) -> None:
    [batch] = called(world, 1, context="batch")
    [plain] = called(world, 1)
    correct_calls(
        actor=None,
        ref="rec_1",
        reason="The provider counted more.",
        corrections=[
            Correction(
                source=plain.source, external_id=plain.external_id, at=plain.at, amount_usd=Decimal("0.0001"),
                input_tokens=100,
            )
        ],
    )  # fmt: skip
    contract(world, "0.0000005", context="batch")
    contract(world, "0.000003")

    mine = propose(world, administrator("Ann"))
    services.approve_repricing(actor=administrator("Bea"), repricing=mine)
    assert run() == 2

    costs = {
        event.external_id: sum(
            row.cost_usd for row in UsageEvent.objects.filter(external_id__startswith=event.external_id)
        )
        for event in (batch, plain)
    }
    # 200 in at half a millionth and 50 out at two; 300 in at three millionths and 50 out at two
    assert costs == {batch.external_id: Decimal("0.0002"), plain.external_id: Decimal("0.001")}
    assert verify().findings == ()


def test_what_was_never_settled_or_came_from_a_cache_stays(world: World) -> None:
    answered = world.gus.authorize(world.token).json()["reservation"]
    world.gus.settle(answered, cache_hit=True, **USAGE)
    world.gus.authorize(world.token)
    long_ago = clock.now() - timedelta(hours=3)
    Reservation.objects.filter(state="open").update(
        authorized_at=long_ago, expires_at=long_ago + timedelta(minutes=5)
    )
    expire_holds()
    contract(world, "0.0000005")

    with pytest.raises(InvalidInputError, match="charged by the prices of its time"):
        propose(world, administrator("Ann"))


def test_a_second_administrator_decides_and_nobody_else(world: World) -> None:
    called(world, 1)
    contract(world, "0.0000005")
    ann = administrator("Ann")
    with pytest.raises(RoleNeededError):
        propose(world, world.ada)
    mine = propose(world, ann)

    with pytest.raises(NotAllowedError):
        services.approve_repricing(actor=ann, repricing=mine)
    for act in (services.approve_repricing, lambda **fields: services.reject_repricing(reason=WHY, **fields)):
        with pytest.raises(RoleNeededError):
            act(actor=world.ada, repricing=mine)
    with pytest.raises(AlreadyDoneError, match="already"):
        propose(world, administrator("Bea"))
    services.reject_repricing(actor=ann, repricing=mine, reason="A mistake.")
    assert run() == 0
    with pytest.raises(AlreadyDoneError):
        services.approve_repricing(actor=administrator("Cid"), repricing=mine)


def test_figures_that_changed_since_are_refused(world: World) -> None:
    called(world, 1)
    contract(world, "0.0000005")
    mine = propose(world, administrator("Ann"))
    contract(world, "0.000009", unit="output")

    with pytest.raises(StaleError):
        services.approve_repricing(actor=administrator("Bea"), repricing=mine)


def test_calls_that_came_later_are_left_for_another_time(world: World) -> None:
    called(world, 1)
    contract(world, "0.0000005")
    mine = propose(world, administrator("Ann"))
    called(world, 1)  # charged by the contract already
    services.approve_repricing(actor=administrator("Bea"), repricing=mine)

    assert run() == 1


@pytest.mark.parametrize("days", [(0, 0), (-120, 0), (1, 2)])
def test_impossible_periods_are_refused(world: World, days: tuple[int, int]) -> None:
    now: datetime = clock.now()
    with pytest.raises(InvalidInputError):
        services.propose_repricing(
            actor=administrator("Ann"), model=world.small, starts_at=now + timedelta(days=days[0]),
            ends_at=now + timedelta(days=days[1]), reason=WHY,
        )  # fmt: skip


@pytest.mark.django_db(transaction=True)
def test_two_approvers_and_two_workers_at_once_book_once(transactional_db: None) -> None:
    world = build_world()
    world.budget("key", kind=ScopeKind.KEY, limit="10")
    called(world, 4)
    contract(world, "0.0000005")
    bea, cid = administrator("Bea"), administrator("Cid")
    mine = propose(world, administrator("Ann"))

    def approve(who: User) -> Repricing:
        return services.approve_repricing(actor=who, repricing=mine)

    outcomes = at_once(lambda: approve(bea), lambda: approve(cid))
    assert len(winners(outcomes)) == 1
    assert [type(error) for error in losers(outcomes)] == [AlreadyDoneError]

    counts = at_once(run, run, run)

    run()
    assert sum(counts) <= 4
    assert Entry.objects.filter(kind=EntryKind.CORRECTION).count() == 4
    assert spent() == {Decimal("0.0008")}
    assert verify().findings == ()
