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
from approvals.views.together import fitting
from core.models import AuditEvent, Outbox
from keys.models import Grant
from teams.models import Role, User
from tests import factories
from tests.approvals.conftest import REASON, Ask
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


asks_more = pytest.mark.parametrize(
    ("changes", "needs"),
    [
        ({"needs_ticket": True}, "a ticket"),
        ({"min_reason_characters": 500}, "a reason of 500 characters or more"),
    ],
)


@asks_more
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


@asks_more
def test_a_rule_that_is_dropped_again_is_asked_for_no_more(
    cast: Cast, asked: AccessRequest, second: User, changes: dict[str, Any], needs: str
) -> None:
    milder = {name: getattr(Rules.of(in_force()), name) for name in changes}
    rule(cast, second, **changes)
    rule(cast, second, **milder)

    event = AuditEvent.objects.get(action="request.eased")
    assert (event.before, event.after, event.actor_id) == ({"needs": needs}, {"needs": ""}, None)
    assert event.reason == "The rules of Tier 2 ask for less now."
    told = Outbox.objects.get(topic="request.change_eased").payload
    assert told["subject"] == "Your request needs no change: Tier 2 for Ranking"
    assert needs not in Visitor(cast.ada).get(f"/approvals/{asked.public_id}/").words
    assert b'value="approve"' in Visitor(cast.ben).get(f"/approvals/{asked.public_id}/").response.content
    assert approve(cast, asked, 2).status == RequestStatus.APPROVED


def test_of_two_rules_the_one_that_stays_is_asked_for(cast: Cast, asked: AccessRequest, second: User) -> None:
    rule(cast, second, needs_ticket=True, min_reason_characters=500)
    rule(cast, second, min_reason_characters=10)

    event = AuditEvent.objects.get(action="request.eased")
    assert event.before == {"needs": "a ticket and a reason of 500 characters or more"}
    assert event.after == {"needs": "a ticket"}
    assert "It still needs a ticket" in Outbox.objects.get(topic="request.change_eased").payload["body"]
    with pytest.raises(ChangeNeededError, match="needs a ticket"):
        approve(cast, asked, 2)


def test_what_was_let_off_is_asked_for_again_and_told_again(
    cast: Cast, asked: AccessRequest, second: User
) -> None:
    for needs_ticket in (True, False, True):
        rule(cast, second, needs_ticket=needs_ticket)

    asked.refresh_from_db()
    assert (asked.revision, asked.policy) == (3, in_force())
    assert Outbox.objects.filter(topic="request.change_needed").count() == 2
    with pytest.raises(ChangeNeededError, match="needs a ticket"):
        approve(cast, asked, 3)


def test_several_together_are_offered_with_one_that_was_let_off(
    cast: Cast, asked: AccessRequest, second: User
) -> None:
    rule(cast, second, needs_ticket=True, together_cap_usd=Decimal(1000))
    assert not fitting([find(cast.ben, asked.public_id)])
    rule(cast, second, needs_ticket=False)
    assert fitting([find(cast.ben, asked.public_id)])
    [answered] = approve_together(actor=cast.ben, chosen=[(asked, 2)])
    assert answered.refusal is None


def test_milder_rules_record_nothing_of_what_lacked_nothing(cast: Cast, ask: Ask, second: User) -> None:
    rule(cast, second, needs_ticket=True)
    ask(ticket="SEARCH-1")
    rule(cast, second, needs_ticket=False)
    assert not AuditEvent.objects.filter(action="request.eased").exists()


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
