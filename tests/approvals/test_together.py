"""Small requests of one tier are approved several at a time, each by itself; what changed is reported."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from approvals.models import AccessRequest, Policy, RequestStatus, Verdict
from approvals.services import amend, approve_together, decide
from core.errors import InvalidInputError
from core.models import AuditEvent
from keys.models import Grant
from tests import factories
from tests.approvals.conftest import REASON, Ask
from tests.browsing import Visitor
from tests.cast import Cast

PAGE = "/approvals/together/"


@pytest.fixture(autouse=True)
def policy(cast: Cast) -> Policy:
    """Let requests of Tier 2 up to 500 US dollars be approved together."""
    return factories.new_policy(cast.tier2, [("lead", 1)], together_cap_usd=Decimal(500))


@pytest.fixture
def two(cast: Cast, ask: Ask, policy: Policy) -> list[AccessRequest]:
    """Return two small requests that wait for Ben: Ada's, and Dan's who came to the team."""
    factories.MembershipFactory.create(user=cast.dan, team=cast.search)
    return [ask(), ask(actor=cast.dan)]


def seen(requests: list[AccessRequest]) -> list[tuple[AccessRequest, int]]:
    return [(each, each.revision) for each in requests]


def change(cast: Cast, request: AccessRequest, **wish: Any) -> AccessRequest:
    terms = {"reason": REASON, "duration_days": 60, "model_names": ["large"], **wish}
    return amend(actor=cast.ada, request=request, seen_revision=1, **terms)


def test_each_is_decided_by_itself_and_says_that_it_was_one_of_several(
    cast: Cast, two: list[AccessRequest]
) -> None:
    answered = approve_together(actor=cast.ben, chosen=seen(two))
    assert [(each.request.status, each.refusal) for each in answered] == [("approved", None)] * 2
    assert Grant.objects.count() == 2
    reasons = AuditEvent.objects.filter(action="request.approved").values_list("reason", flat=True)
    assert list(reasons) == ["Approved together: 2 requests at a time."] * 2


def test_what_changed_or_was_decided_is_reported_and_stops_no_other(
    cast: Cast, two: list[AccessRequest]
) -> None:
    was = seen(two)
    changed = change(cast, two[0], expected_monthly_usd=Decimal(9_000))
    answered = approve_together(actor=cast.ben, chosen=[(changed, 1), was[1]])
    assert [each.refusal.code if each.refusal else "" for each in answered] == ["changed_since_read", ""]
    changed.refresh_from_db()
    assert changed.status == RequestStatus.PENDING
    again = approve_together(actor=cast.cleo, chosen=[was[1]])
    assert again[0].refusal is not None
    assert again[0].refusal.code == "already_decided"


def test_a_larger_request_another_tier_or_a_stranger_decides_nothing(
    cast: Cast, ask: Ask, two: list[AccessRequest]
) -> None:
    refused = approve_together(actor=cast.eve, chosen=seen([two[1]]))
    assert refused[0].refusal is not None
    larger = change(cast, two[0], expected_monthly_usd=Decimal(501))
    with pytest.raises(InvalidInputError, match="more than"):
        approve_together(actor=cast.ben, chosen=seen([two[1], larger]))
    third = ask(tier=cast.tier3, model_names=["frontier"], duration_days=20)
    with pytest.raises(InvalidInputError, match="another tier"):
        approve_together(actor=cast.ben, chosen=seen([two[1], third]))
    with pytest.raises(InvalidInputError):
        approve_together(actor=cast.ben, chosen=[])
    assert not Grant.objects.exists()


def test_without_a_ceiling_nobody_approves_several(cast: Cast, two: list[AccessRequest]) -> None:
    factories.new_policy(cast.tier2, [("lead", 1)])
    with pytest.raises(InvalidInputError, match="lets nobody"):
        approve_together(actor=cast.ben, chosen=seen(two))
    assert "Approve several" not in Visitor(cast.ben).get("/approvals/").words


def test_the_page_offers_names_each_and_reports(cast: Cast, two: list[AccessRequest]) -> None:
    ben = Visitor(cast.ben)
    assert PAGE in ben.get("/approvals/").links
    assert "Check these" in ben.get(PAGE).words
    check = ben.client.get(PAGE, {"choose": "1", "request": [each.public_id for each in two]})
    confirm = check.content.decode()
    assert all(f'value="{each.public_id}:1"' in confirm for each in two)
    assert "Choose the requests" in ben.get(PAGE, choose="1").words
    assert not Grant.objects.exists()
    decide(actor=cast.ben, request=two[0], verdict=Verdict.DENY, seen_revision=1, comment="Too dear.")
    sent = ben.post(PAGE, seen=[f"{each.public_id}:1" for each in two])
    assert sent.status == 409
    assert "1 approved" in sent.words
    assert "not approved" in sent.words
    assert Grant.objects.count() == 1


def test_a_request_of_ones_own_or_of_another_team_is_not_offered(
    cast: Cast, two: list[AccessRequest]
) -> None:
    for person in (cast.ada, cast.eve):
        assert "Nothing to approve together" in Visitor(person).get(PAGE).words
