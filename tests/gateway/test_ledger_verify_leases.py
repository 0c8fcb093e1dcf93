"""The verification recomputes what a lease holds, and names the lease or the call that does not fit."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command

from budgets.models import Lease, Reservation, ScopeKind
from tests.gateway.conftest import World
from tests.gateway.test_leases import leased, take
from tests.gateway.test_ledger_verify import change, found, world

__all__ = ["world"]

HOLDS = "lease_is_what_it_holds_gave_back_and_its_calls_drew"
BELONGS = "leased_call_belongs_where_its_lease_does"


@pytest.fixture
def lending(world: World) -> str:
    """Return a lease that was drawn from and partly given back, beside one that was closed."""
    world.budget("key", kind=ScopeKind.KEY, limit="50")
    closed, lease = take(world, node="node-2").json()["lease"], take(world).json()["lease"]
    items = [leased(lease), leased(lease), leased(closed)]
    world.gus.post("/gateway/v1/settle", {"items": items})
    for name, keep in ((closed, "0"), (lease, "0.5")):
        world.gus.post("/gateway/v1/leases/return", {"lease": name, "keep_usd": keep})
    settled: str = lease
    return settled


@pytest.mark.parametrize(
    ("rule", "statement"),
    [
        (HOLDS, "UPDATE budgets_lease SET held_usd = held_usd - 0.000000000001 WHERE closed_at IS NULL"),
        (HOLDS, "UPDATE budgets_lease SET returned_usd = 0 WHERE closed_at IS NULL"),
        (HOLDS, "UPDATE budgets_lease SET granted_usd = granted_usd + 1 WHERE closed_at IS NULL"),
        (BELONGS, "DELETE FROM budgets_lease WHERE closed_at IS NOT NULL"),
        (
            HOLDS,
            "UPDATE budgets_reservation SET held_usd = 2 WHERE lease_id IS NOT NULL",
        ),
        (HOLDS, "UPDATE budgets_reservation SET lease_id = (SELECT min(id) FROM budgets_lease)"),
        (BELONGS, "UPDATE budgets_reservation SET team_id = team_id + 1"),
        (BELONGS, "UPDATE budgets_reservation SET budget_ids = '{}', window_starts = '{}'"),
        (BELONGS, "UPDATE budgets_lease SET opened_at = expires_at - interval '1 microsecond'"),
        (BELONGS, "DELETE FROM budgets_lease"),
    ],
)
def test_a_lease_that_does_not_fit_is_named(lending: str, rule: str, statement: str) -> None:
    assert found() == {}
    change(statement)
    finding = found()[rule]
    known = {*Lease.objects.values_list("public_id", flat=True)}
    known |= {*Reservation.objects.values_list("public_id", flat=True)}
    assert finding.first.subject in known
    with pytest.raises(CommandError, match=f"{finding.rule}: .* the first is {finding.first.subject}"):
        call_command("ledger_verify")


def test_what_differs_of_a_lease_is_told_to_the_last_digit(lending: str) -> None:
    change("UPDATE budgets_lease SET held_usd = held_usd - 0.000000000001 WHERE closed_at IS NULL")
    finding = found()[HOLDS]
    assert (finding.count, finding.first.subject) == (1, lending)
    assert "granted 1.000000000000, holds 0.499999999999, gave back 0.497600000000" in finding.first.detail
    assert "drew 0.002400000000" in finding.first.detail
