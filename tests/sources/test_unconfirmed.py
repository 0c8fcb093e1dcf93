"""A booked call that the gateway's record lacks stays booked, and is marked until its row comes."""

from __future__ import annotations

import csv
from datetime import timedelta
from io import StringIO

from budgets.models import Entry
from core import clock
from teams.models import Role, RoleAssignment, User
from tests import factories
from tests.api.world import Caller
from tests.browsing import Visitor
from tests.gateway.conftest import World
from tests.gateway.test_pull import Journal, row, yesterday
from tests.sources.test_calls_compared import journal, settled
from usage.models import Discrepancy, DiscrepancyState, GatewayCall
from usage.services import accept, pull_source, reconcile_day

__all__ = ["journal"]


def compared(journal: Journal) -> dict[str, Discrepancy]:
    pull_source(source=journal)
    run = reconcile_day(source=journal.name, day=yesterday())
    return {each.external_id: each for each in run.discrepancies.all()}


def finance() -> User:
    fay: User = factories.UserFactory.create(name="Fay")
    RoleAssignment.objects.create(user=fay, role=Role.FINANCE)
    return fay


def marks(person: User, journal: Journal, call: str) -> list[bool]:
    """Return whether the call's page, the day, the list, its CSV and the API call it unconfirmed."""
    fay = Visitor(person)
    found = Discrepancy.objects.get(external_id=call)
    lines = csv.DictReader(
        StringIO(fay.client.get("/reconciliation/?state=all&format=csv").getvalue().decode())
    )
    [line] = [line for line in lines if line["what"] == call]
    days = fay.get(f"/reconciliation/{journal.name}/{yesterday()}/").rows("differences-h")
    listed = fay.get("/reconciliation/?state=all").rows("open-h")
    answer = Caller(person).get(f"reconciliation/discrepancies/{found.public_id}/").json()
    return [
        "Unconfirmed" in fay.get(f"/reconciliation/differences/{found.public_id}/").words,
        *("Unconfirmed" in " ".join(cells) for rows in (days, listed) for cells in rows if call in cells[0]),
        line["confirmation"] == "unconfirmed",
        answer["unconfirmed"],
    ]


def test_a_call_is_unconfirmed_wherever_it_is_shown_until_the_gateway_tells_of_it(
    world: World, journal: Journal
) -> None:
    fay, missing = finance(), settled(world)
    charged = Entry.objects.count()

    compared(journal)

    assert marks(fay, journal, missing) == [True] * 5
    assert Entry.objects.count() == charged

    journal.rows.append(row(missing))
    assert compared(journal)[missing].state == DiscrepancyState.CORRECTED
    assert marks(fay, journal, missing) == [False] * 5
    assert Entry.objects.count() == charged


def test_what_a_person_said_stays_and_the_mark_goes_with_the_late_row(world: World, journal: Journal) -> None:
    missing = settled(world)
    found = compared(journal)[missing]
    accept(actor=finance(), discrepancy=found, reason="The node was lost with its journal.")
    assert compared(journal)[missing].unconfirmed

    journal.rows.append(row(missing))
    late = compared(journal)[missing]

    assert (late.unconfirmed, late.state) == (False, DiscrepancyState.ACCEPTED)
    assert late.note == "The node was lost with its journal."


def test_other_differences_are_of_confirmed_calls(world: World, journal: Journal) -> None:
    missing = settled(world)
    GatewayCall.objects.create(
        source=journal.name, external_id="rsv_ghost", at=clock.now() - timedelta(days=1),
        pulled_at=clock.now(), model_name="small", finish="stop", input_tokens=5,
    )  # fmt: skip

    found = compared(journal)

    assert {call: each.unconfirmed for call, each in found.items()} == {missing: True, "rsv_ghost": False}
