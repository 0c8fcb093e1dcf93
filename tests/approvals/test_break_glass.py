"""Access that was taken at once in an emergency: short, capped, told to everybody, and reviewed."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine

from approvals.errors import AlreadyAskedError, NotEligibleError
from approvals.models import AccessRequest, RequestKind, RequestStatus, Verdict
from approvals.services import break_glass, close_requests_of, decide, expire_due, extend, withdraw
from core.errors import InvalidInputError
from core.models import Outbox
from keys.models import Grant, GrantState
from keys.services import revoke_grant
from teams.models import Role
from tests import factories
from tests.api.test_errors import problem
from tests.api.world import Caller
from tests.approvals.by_hand import check_deferred_constraints, refused_by
from tests.approvals.conftest import REASON
from tests.browsing import Visitor
from tests.cast import Cast


@pytest.fixture
def glass(cast: Cast) -> Cast:
    """Return the cast under a policy that lets people break the glass for 4 hours and 50 US dollars."""
    factories.new_policy(cast.tier2, [("lead", 1)], break_glass_hours=4, break_glass_cap_usd=Decimal(50))
    return cast


def broken(cast: Cast, **changes: Any) -> tuple[AccessRequest, Grant]:
    terms: dict[str, Any] = {"actor": cast.ada, "project": cast.ranking, "tier": cast.tier2, "reason": REASON}
    return break_glass(**terms | changes)


def test_a_broken_glass_gives_short_capped_access_at_once_and_tells_everybody(glass: Cast) -> None:
    request, grant = broken(glass)
    check_deferred_constraints()
    assert (request.kind, request.status) == (RequestKind.BREAK_GLASS, RequestStatus.PENDING)
    assert (grant.state, grant.monthly_cap_usd) == (GrantState.ACTIVE, Decimal(50))
    assert grant.expires_at - grant.starts_at == timedelta(hours=4)
    told = set(Outbox.objects.filter(topic="request.glass_broken").values_list("recipient", flat=True))
    assert told == {f"{name}@example.com" for name in ("ben", "cleo", "ann", "fay")}


def test_a_ratified_review_keeps_the_grant_as_it_is(glass: Cast) -> None:
    request, grant = broken(glass)
    decide(actor=glass.ben, request=request, verdict=Verdict.APPROVE, seen_revision=1)
    check_deferred_constraints()
    grant.refresh_from_db()
    assert (grant.state, Grant.objects.count()) == (GrantState.ACTIVE, 1)
    request.refresh_from_db()
    assert (request.status, request.key) == (RequestStatus.APPROVED, grant.key)


@pytest.mark.parametrize("end", ["deny", "leave"])
def test_a_review_that_ratifies_nothing_ends_the_grant(glass: Cast, end: str) -> None:
    request, grant = broken(glass)
    match end:
        case "deny":
            decide(actor=glass.ben, request=request, verdict=Verdict.DENY, seen_revision=1, comment="No.")
        case _:
            close_requests_of(glass.ada)
    grant.refresh_from_db()
    assert grant.state is GrantState.REVOKED
    assert grant.revoked_reason.startswith("Its break-glass review is over")


def test_a_review_ratifies_what_was_taken_and_gives_no_other_terms(glass: Cast) -> None:
    request, grant = broken(glass)
    path = f"{request.public_id}/decide/"
    ben, said = Visitor(glass.ben), "Ratifying changes no access"
    answer = ben.post(f"/approvals/{path}", verdict="approve", seen_revision="1", monthly_cap_usd="10")
    assert answer.status == 422
    assert said in answer.words
    lower = {"verdict": "approve", "seen_revision": 1, "monthly_cap_usd": "10"}
    assert said in problem(Caller(glass.ben).post(f"requests/{path}", lower), 422, "invalid_input")["detail"]
    assert not request.decisions.exists()
    as_taken = lower | {"monthly_cap_usd": "50", "duration_days": 1}
    assert Caller(glass.ben).post(f"requests/{path}", as_taken).status_code == 200
    grant.refresh_from_db()
    assert grant.monthly_cap_usd == Decimal(50)


def test_nobody_withdraws_the_review_of_what_he_did(glass: Cast) -> None:
    """Who could would spend, withdraw, and break the glass again; ended access leaves the review as it is."""
    request, grant = broken(glass)
    with pytest.raises(InvalidInputError, match="end it on the page of its key"):
        withdraw(actor=glass.ada, request=request)
    revoke_grant(actor=glass.ada, grant=grant, reason="It is over.")
    with pytest.raises(InvalidInputError, match="until somebody has decided"):
        withdraw(actor=glass.ada, request=request)
    with pytest.raises(AlreadyAskedError):
        broken(glass)


def test_no_page_offers_to_withdraw_a_review(glass: Cast) -> None:
    request, _ = broken(glass)
    ada, page = Visitor(glass.ada), f"/approvals/{request.public_id}/"
    assert f"{page}withdraw/" not in ada.get(page).links
    for answer in (ada.get(f"{page}withdraw/"), ada.post(f"{page}withdraw/")):
        assert answer.status == 422
        assert "end it on the page of its key" in answer.words
    request.refresh_from_db()
    assert request.status == RequestStatus.PENDING


def test_the_api_withdraws_no_review(glass: Cast) -> None:
    request, _ = broken(glass)
    problem(Caller(glass.ada).post(f"requests/{request.public_id}/withdraw/"), 422, "invalid_input")


def test_a_review_that_nobody_made_is_written_down_after_its_grant_is_long_over(glass: Cast) -> None:
    request, grant = broken(glass)
    with time_machine.travel(request.decide_by, tick=False):
        assert expire_due() == 1
        grant.refresh_from_db()
        assert grant.state is GrantState.EXPIRED
    request.refresh_from_db()
    assert request.status == RequestStatus.EXPIRED


def test_nobody_ratifies_his_own(glass: Cast) -> None:
    request, _ = broken(glass)
    with pytest.raises(NotEligibleError, match="your own request"):
        decide(actor=glass.ada, request=request, verdict=Verdict.APPROVE, seen_revision=1)


def test_the_glass_is_broken_once_until_it_is_reviewed(glass: Cast) -> None:
    broken(glass)
    with pytest.raises(AlreadyAskedError):
        broken(glass)


def test_the_glass_stays_whole_where_the_policy_says_so(cast: Cast) -> None:
    with pytest.raises(InvalidInputError, match="Nobody breaks the glass for Tier 3"):
        broken(cast, tier=cast.tier3)


@pytest.mark.parametrize("leads", [1, 2])
def test_the_rule_never_goes_on_from_an_emergency(cast: Cast, leads: int) -> None:
    """Neither from one that is reviewed half, nor from a ratified one."""
    for _ in range(1, leads):
        factories.RoleAssignmentFactory.create(role=Role.LEAD, team=cast.search)
    terms = {"auto_extend": True, "break_glass_hours": 4, "break_glass_cap_usd": Decimal(50)}
    factories.new_policy(cast.tier2, [("lead", leads)], **terms)
    request, grant = broken(cast)
    decide(actor=cast.ben, request=request, verdict=Verdict.APPROVE, seen_revision=1)
    more = extend(actor=cast.ada, grant=grant, reason=REASON, duration_days=1)
    assert more.status == RequestStatus.PENDING


@pytest.fixture
def emergency(glass: Cast) -> dict[str, Any]:
    """Return the most that a grant may be whose break-glass review Ben just opened."""
    review = factories.AccessRequestFactory.create(
        requester=glass.ben, project=glass.ranking, kind="break_glass", expected_monthly_usd=Decimal(60)
    )
    return {
        "key": factories.ApiKeyFactory.create(owner=glass.ben, project=glass.ranking),
        "tier": glass.tier2,
        "monthly_cap_usd": Decimal(50),
        "starts_at": review.created_at,
        "expires_at": review.created_at + timedelta(hours=4),
        "source_request": review.public_id,
        "granted_by": glass.ben,
    }


def test_control_an_emergency_within_the_policy_is_accepted(emergency: dict[str, Any]) -> None:
    Grant.objects.create(**emergency)
    check_deferred_constraints()


@pytest.mark.parametrize("change", ["longer", "dearer", "later", "other tier", "stranger"])
def test_raw_sql_breaks_no_more_glass_than_the_policy_allows(
    glass: Cast, emergency: dict[str, Any], change: str
) -> None:
    changes: dict[str, dict[str, Any]] = {
        "longer": {"expires_at": emergency["expires_at"] + timedelta(minutes=1)},
        "dearer": {"monthly_cap_usd": Decimal(51)},
        "later": {
            "starts_at": emergency["starts_at"] + timedelta(hours=1),
            "expires_at": emergency["expires_at"] + timedelta(hours=1),
        },
        "other tier": {"tier": glass.tier3},
        "stranger": {"key": factories.ApiKeyFactory.create(owner=glass.ada, project=glass.ranking)},
    }
    with refused_by("grant_was_approved"):
        Grant.objects.create(**emergency | changes[change])
