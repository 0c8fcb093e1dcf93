"""A call that is told twice with two figures alarms administrators, whichever way it is told."""

from __future__ import annotations

from datetime import timedelta

import pytest

from budgets.models import ScopeKind
from core import clock
from core.models import Outbox
from tests.gateway.conftest import World
from tests.gateway.test_pull import row as journal_row
from tests.gateway.test_push import push
from tests.gateway.test_push import row as pushed_row
from tests.usage.test_repricing import administrator
from usage.models import Quarantine, QuarantineOutcome
from usage.services import ingest_page, tell_of_conflicts
from usage.tasks import reconcile_recent_days


@pytest.fixture
def settled(world: World) -> str:
    administrator("Ann")
    world.budget("key", kind=ScopeKind.KEY, limit="10")
    reservation: str = world.gus.authorize(world.token).json()["reservation"]
    world.gus.settle(reservation)
    return reservation


def mails() -> list[tuple[str, str]]:
    return list(
        Outbox.objects.filter(topic="usage.conflict").values_list("payload__subject", "payload__body")
    )


@pytest.mark.parametrize("how", ["settlement", "journal"])
def test_other_figures_of_a_settlement_or_a_journal_alarm_once_a_day(
    world: World, settled: str, how: str
) -> None:
    gateway = world.gus.gateway.public_id
    if how == "settlement":
        world.gus.settle(settled, input_tokens=9_999)
    else:
        ingest_page(source=gateway, rows=[journal_row(settled, usage={"input_tokens": 9_999})])
    assert Quarantine.objects.get().reason == "conflict"

    for _ in range(2):
        reconcile_recent_days()

    [(subject, body)] = mails()
    assert subject == f"{gateway} tells other figures than were booked"
    assert "told again with other figures than were booked: 1." in body
    Quarantine.objects.update(seen_at=clock.now() - timedelta(days=1))
    assert (tell_of_conflicts(), tell_of_conflicts()) == (1, 0)  # of another day


def test_what_a_push_told_of_is_not_told_again(world: World) -> None:
    administrator("Ann")
    push(world.gus, [pushed_row(world, "a")])
    push(world.gus, [pushed_row(world, "a", usage={"output_tokens": 7})])
    assert len(mails()) == 1

    assert tell_of_conflicts() == 0


def test_what_somebody_looked_at_or_what_is_old_alarms_nobody(world: World, settled: str) -> None:
    world.gus.settle(settled, input_tokens=9_999)
    row = Quarantine.objects.all()
    row.update(seen_at=clock.now() - timedelta(days=8))
    assert tell_of_conflicts() == 0

    row.update(
        seen_at=clock.now(), resolved_at=clock.now(), outcome=QuarantineOutcome.DISMISSED, resolution="Known."
    )
    assert tell_of_conflicts() == 0
