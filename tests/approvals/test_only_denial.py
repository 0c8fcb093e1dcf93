"""What decide() would count no approval of is offered for denial alone, with the reason beside the button."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from approvals.models import AccessRequest, Policy
from approvals.rules import Rules
from approvals.services import confirm_policy, propose_policy
from teams.models import Membership, Role
from tests import factories
from tests.approvals.conftest import Ask
from tests.browsing import Visitor
from tests.cast import Cast

APPROVE, DENY = b'value="approve"', b'value="deny"'
OFFERED = b'type="checkbox" name="request"'


def stricter(cast: Cast, **changes: object) -> None:
    """Put stricter rules of Tier 2 in force."""
    base = Policy.objects.get(tier=2, retired_at__isnull=True)
    rules = replace(Rules.of(base), **changes)  # type: ignore[arg-type]
    second = factories.RoleAssignmentFactory.create(role=Role.ADMIN).user
    confirm_policy(actor=second, proposal=propose_policy(actor=cast.ann, base=base, rules=rules, reason="A."))


def leaves_the_team(cast: Cast) -> None:
    Membership.objects.filter(user=cast.ada).delete()


@pytest.mark.parametrize(
    ("why", "reason"),
    [
        ("rules", "It needs a ticket by the rules now: Ada Moreno has to change it."),
        ("team", "Ada Moreno does not work in team Search any more: it can only be denied."),
    ],
)
def test_approving_is_not_offered_where_it_would_be_refused(
    cast: Cast, asked: AccessRequest, why: str, reason: str
) -> None:
    ben, path = Visitor(cast.ben), f"/approvals/{asked.public_id}/"
    assert APPROVE in ben.get(path).response.content
    if why == "rules":
        stricter(cast, needs_ticket=True)
    else:
        leaves_the_team(cast)

    page = ben.get(path)

    assert APPROVE not in page.response.content
    assert b'name="monthly_cap_usd"' not in page.response.content
    assert f"Nobody can approve it as it is. {reason}" in page.words
    assert DENY in page.response.content
    asked.refresh_from_db()
    denied = ben.post(
        f"{path}decide/", verdict="deny", seen_revision=str(asked.revision), comment="Ask again."
    )
    assert denied.status == 302


def test_several_are_not_offered_with_one_that_has_to_change(
    cast: Cast, asked: AccessRequest, ask: Ask
) -> None:
    factories.new_policy(cast.tier2, [("lead", 1)], together_cap_usd=Decimal(500))
    ask(actor=factories.MembershipFactory.create(team=cast.search).user, ticket="SEARCH-1")
    ben, path = Visitor(cast.ben), "/approvals/together/"
    assert ben.get(path).response.content.count(OFFERED) == 2

    stricter(cast, needs_ticket=True)

    assert ben.get(path).response.content.count(OFFERED) == 1


def test_who_asked_reads_the_cap_that_the_rules_set_now(cast: Cast, asked: AccessRequest) -> None:
    ada, path = Visitor(cast.ada), f"/approvals/{asked.public_id}/"
    assert "has that cap" not in ada.get(path).words
    stricter(cast, max_monthly_usd=Decimal(100))
    assert "Tier 2 allows $100.00 a month now; access has that cap." in ada.get(path).words
