"""Stricter rules reach what waits: a ticket, a longer reason, a lower cap, somebody else who may deny."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from approvals.cases import case_of
from approvals.errors import ChangeNeededError
from approvals.models import AccessRequest, Policy, RequestStatus, Verdict
from approvals.rules import Rules
from approvals.selectors import find
from approvals.services import amend, approve_together, break_glass, confirm_policy, decide, propose_policy
from core.models import AuditEvent, Outbox
from keys.models import Grant
from teams.models import Role, User
from tests import factories
from tests.approvals.conftest import REASON
from tests.browsing import Visitor
from tests.cast import Cast


@pytest.fixture
def second(cast: Cast) -> User:
    """Return an administrator beside Ann."""
    return factories.RoleAssignmentFactory.create(role=Role.ADMIN).user


def in_force() -> Policy:
    return Policy.objects.get(tier=2, retired_at__isnull=True)


def rule(cast: Cast, second: User, **changes: Any) -> None:
    """Put changed rules of Tier 2 in force."""
    rules = replace(Rules.of(in_force()), **changes)
    proposal = propose_policy(actor=cast.ann, base=in_force(), rules=rules, reason="Stricter.")
    confirm_policy(actor=second, proposal=proposal)


def approve(cast: Cast, request: AccessRequest, revision: int, **terms: Any) -> AccessRequest:
    return decide(
        actor=cast.ben, request=request, verdict=Verdict.APPROVE, seen_revision=revision, **terms
    ).request


@pytest.mark.parametrize(
    "changes",
    [
        {"needs_ticket": True},
        {"min_reason_characters": 11},
        {"max_monthly_usd": Decimal(1000)},
        {"told_role": "director", "told_may_veto": True},
    ],
)
def test_each_stricter_rule_starts_what_waits_again_and_a_milder_one_does_not(
    cast: Cast, asked: AccessRequest, second: User, changes: dict[str, Any]
) -> None:
    before = Rules.of(in_force())
    rule(cast, second, **changes)
    asked.refresh_from_db()
    assert (asked.revision, asked.policy) == (2, in_force())

    rule(cast, second, **{name: getattr(before, name) for name in changes})
    asked.refresh_from_db()
    assert asked.revision == 2


@pytest.mark.parametrize(
    ("changes", "needs"),
    [
        ({"needs_ticket": True}, "a ticket"),
        ({"min_reason_characters": 500}, "a reason of 500 characters or more"),
    ],
)
def test_what_new_rules_find_missing_is_told_and_approved_only_after_it_was_added(
    cast: Cast, asked: AccessRequest, second: User, changes: dict[str, Any], needs: str
) -> None:
    rule(cast, second, **changes)

    assert f"needs {needs}" in Outbox.objects.get(topic="request.change_needed").payload["body"]
    with pytest.raises(ChangeNeededError, match=f"needs {needs}"):
        approve(cast, asked, 2)
    assert not asked.decisions.exists()
    checks = case_of(cast.ben, find(cast.ben, asked.public_id)).checks
    [check] = [each for each in checks if each.tone == "bad"]
    assert needs in check.text
    assert needs in Visitor(cast.ada).get(f"/approvals/{asked.public_id}/").words

    amend(
        actor=cast.ada,
        request=asked,
        seen_revision=2,
        expected_monthly_usd=Decimal(420),
        reason=REASON.ljust(500, "!"),
        ticket="SEARCH-1",
    )
    assert approve(cast, asked, 3).status == RequestStatus.APPROVED


def test_what_misses_something_can_be_denied(cast: Cast, asked: AccessRequest, second: User) -> None:
    rule(cast, second, needs_ticket=True)
    outcome = decide(
        actor=cast.ben, request=asked, verdict=Verdict.DENY, seen_revision=2, comment="No ticket."
    )
    assert outcome.request.status == RequestStatus.DENIED


def test_several_together_report_what_misses_something(
    cast: Cast, asked: AccessRequest, second: User
) -> None:
    rule(cast, second, needs_ticket=True, together_cap_usd=Decimal(1000))
    [answered] = approve_together(actor=cast.ben, chosen=[(asked, 2)])
    assert isinstance(answered.refusal, ChangeNeededError)


def test_approver_is_offered_the_cap_that_is_allowed_now(
    cast: Cast, asked: AccessRequest, second: User
) -> None:
    rule(cast, second, max_monthly_usd=Decimal(100))

    page = Visitor(cast.ben).get(f"/approvals/{asked.public_id}/")
    assert b'name="monthly_cap_usd" value="100"' in page.response.content
    assert "Tier 2 allows $100.00 a month now" in page.words
    assert "At most $100.00." in page.words

    approve(cast, asked, 2)
    assert Grant.objects.get().monthly_cap_usd == Decimal(100)


def test_review_of_a_broken_glass_misses_nothing(cast: Cast, second: User) -> None:
    factories.new_policy(cast.tier2, [("lead", 1)], break_glass_hours=4, break_glass_cap_usd=Decimal(50))
    review, _ = break_glass(actor=cast.ada, project=cast.ranking, tier=cast.tier2, reason=REASON)
    rule(cast, second, needs_ticket=True, max_monthly_usd=Decimal(10))
    review.refresh_from_db()
    assert review.revision == 1
    assert approve(cast, review, 1).status == RequestStatus.APPROVED


def test_the_record_of_a_proposal_names_each_rule_that_it_changes(cast: Cast, second: User) -> None:
    base = in_force()
    changed = replace(
        Rules.of(base),
        stages=(("lead", 2),),
        needs_ticket=True,
        max_monthly_usd=Decimal(400),
    )
    propose_policy(actor=cast.ann, base=base, rules=changed, reason="Stricter.")

    event = AuditEvent.objects.get(action="policy.proposed")
    assert event.before == {"stages": "team lead", "max_monthly_usd": None, "needs_ticket": False}
    assert event.after == {
        "stages": "team lead (2 people)", "max_monthly_usd": "400", "needs_ticket": True,
    }  # fmt: skip
    page = Visitor(cast.audrey).get("/audit/", action="policy.proposed").words
    assert "stages: team lead → team lead (2 people)" in page
    assert "max monthly: $400.00" in page


def test_the_record_says_that_nobody_may_ask_any_more(cast: Cast) -> None:
    propose_policy(actor=cast.ann, base=in_force(), rules=None, reason="Nobody uses it.")
    assert AuditEvent.objects.get(action="policy.proposed").after == {"retired": True}
