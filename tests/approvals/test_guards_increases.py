"""What raw SQL may not do to a request for more budget; each refusal has the name of its rule."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, transaction

from approvals import services
from approvals.models import BudgetRequest, RequestStatus, Verdict
from budgets.models import Budget, BudgetLimit, ScopeKind
from core import clock
from tests.api.world import open_budget
from tests.cast import Cast
from tests.factories import BudgetLimitFactory

WHY = "A launch in December."


@pytest.fixture
def budget(cast: Cast) -> Budget:
    """Open Ranking's monthly budget of 500."""
    return open_budget(cast, ScopeKind.PROJECT, cast.ranking.pk, "500")


@pytest.fixture
def asked(cast: Cast, budget: Budget) -> BudgetRequest:
    """Return Ada's pending request for 600."""
    return services.ask_increase(actor=cast.ada, budget=budget, limit_usd=Decimal(600), reason=WHY)


def limit(asked: BudgetRequest, actor: Any, **changes: Any) -> BudgetLimit:
    """Write the limit of a lawful approval, unless said otherwise."""
    return BudgetLimitFactory.create(
        **{"budget": asked.budget, "amount_usd": 600, "actor": actor, "valid_from": clock.now()} | changes
    )


def refused(rule: str, asked: BudgetRequest, **values: Any) -> None:
    """Update the row and expect the refusal."""
    with pytest.raises(DatabaseError, match=rule) as refusal, transaction.atomic():
        BudgetRequest.objects.filter(pk=asked.pk).update(**values)
    assert isinstance(refusal.value, IntegrityError)


def approved(asked: BudgetRequest, actor: Any, **changes: Any) -> dict[str, Any]:
    given = {"status": "approved", "decided_at": clock.now(), "decided_by": actor}
    return {**given, "limit": changes.pop("limit", None) or limit(asked, actor), **changes}


def test_lawful_approval_passes(cast: Cast, asked: BudgetRequest) -> None:
    BudgetRequest.objects.filter(pk=asked.pk).update(**approved(asked, cast.ben))
    assert BudgetRequest.objects.get().status == RequestStatus.APPROVED


def test_requester_decides_nothing(cast: Cast, asked: BudgetRequest) -> None:
    refused("budget_request_is_decided_by_somebody_else", asked, **approved(asked, cast.ada))


def test_approval_needs_the_limit_that_was_asked_for(cast: Cast, asked: BudgetRequest) -> None:
    other = open_budget(cast, ScopeKind.TEAM, cast.search.pk, "900")
    rule = "an approval sets the limit that was asked for"
    for wrong in (
        limit(asked, cast.ben, amount_usd=601),
        limit(asked, cast.cleo),
        limit(asked, cast.ben, budget=other),
        limit(asked, cast.ben, kind="top_up", amount_usd=100, valid_until=clock.now() + timedelta(days=1)),
    ):
        refused(rule, asked, **approved(asked, cast.ben, limit=wrong))
    missing = {"status": "approved", "decided_at": clock.now(), "decided_by": cast.ben}
    refused("an approval sets the limit", asked, **missing)


def test_approval_may_give_less_and_end_earlier_but_never_more_or_later(cast: Cast, budget: Budget) -> None:
    until = clock.now() + timedelta(days=9)
    asked = services.ask_increase(
        actor=cast.ada, budget=budget, limit_usd=Decimal(600), reason=WHY, until=until
    )
    rule = "an approval sets the limit that was asked for or a lower one"
    top_up = {"kind": "top_up", "amount_usd": 80, "valid_until": until - timedelta(days=1)}
    for wrong in ({"amount_usd": 601}, {"valid_until": until + timedelta(seconds=1)}):
        row = limit(asked, cast.ben, **{**top_up, **wrong})
        refused(rule, asked, **approved(asked, cast.ben, limit=row))
    row = limit(asked, cast.ben, **top_up)
    BudgetRequest.objects.filter(pk=asked.pk).update(**approved(asked, cast.ben, limit=row))


def test_one_limit_is_for_one_request(cast: Cast, asked: BudgetRequest) -> None:
    row = limit(asked, cast.cleo)
    BudgetRequest.objects.filter(pk=asked.pk).update(**approved(asked, cast.cleo, limit=row))
    again = BudgetRequest.objects.create(
        requester=cast.ada, budget=asked.budget, project=cast.ranking, limit_usd=600, reason=WHY,
        role="lead", created_at=clock.now(), decide_by=clock.now() + timedelta(days=1),
    )  # fmt: skip
    refused("limit_id", again, **approved(again, cast.cleo, limit=row))


def test_denial_needs_somebody_and_a_reason(cast: Cast, asked: BudgetRequest) -> None:
    now = clock.now()
    refused("somebody_else|only active people", asked, status="denied", decided_at=now, comment="No.")
    refused("denied_has_a_reason", asked, status="denied", decided_at=now, decided_by=cast.ben)


def test_who_has_left_decides_nothing(cast: Cast, asked: BudgetRequest) -> None:
    row = limit(asked, cast.ben)
    cast.ben.is_active = False
    cast.ben.save()
    refused("only active people decide", asked, **approved(asked, cast.ben, limit=row))


def test_nobody_decides_late_by_either_clock(cast: Cast, budget: Budget) -> None:
    late = BudgetRequest.objects.create(
        requester=cast.ada, budget=budget, project=cast.ranking, limit_usd=600, reason=WHY, role="lead",
        created_at=clock.now() - timedelta(days=8), decide_by=clock.now() - timedelta(days=1),
    )  # fmt: skip
    for at in (clock.now(), late.decide_by - timedelta(days=2)):
        refused("nobody decides at or after decide_by", late, **approved(late, cast.ben, decided_at=at))


def test_pending_request_does_not_expire_early(asked: BudgetRequest) -> None:
    refused("expires when its time has passed", asked, status="expired", decided_at=clock.now())


def test_change_is_a_new_revision(cast: Cast, asked: BudgetRequest) -> None:
    rule = "a change of what is asked for is a new revision"
    for changed in ({"limit_usd": 900}, {"reason": "Other."}, {"until": clock.now()}, {"role": "admin"}):
        refused(rule, asked, **changed)
    refused(rule, asked, limit_usd=900, revision=3)
    keeps = "a request keeps its requester and its budget"
    refused(keeps, asked, requester=cast.dan, revision=2)
    refused(keeps, asked, project=cast.fraud, revision=2)


def test_decided_request_never_changes_and_none_is_deleted(cast: Cast, asked: BudgetRequest) -> None:
    services.decide(actor=cast.ben, request=asked, verdict=Verdict.DENY, seen_revision=1, comment="No.")
    final = "a decided request never changes"
    refused(final, asked, status="pending", decided_at=None, decided_by=None, comment="")
    refused(final, asked, comment="Yes.")
    with pytest.raises(DatabaseError, match=final), transaction.atomic():
        BudgetRequest.objects.all().delete()


def test_request_starts_pending_at_its_first_revision(cast: Cast, budget: Budget) -> None:
    row: dict[str, Any] = {
        "requester": cast.ada, "budget": budget, "project": cast.ranking, "limit_usd": 600, "reason": WHY,
        "role": "lead", "created_at": clock.now(), "decide_by": clock.now() + timedelta(days=1),
    }  # fmt: skip
    for wrong in ({"revision": 2}, {"status": "withdrawn", "decided_at": clock.now()}):
        with pytest.raises(DatabaseError, match="a request starts pending"), transaction.atomic():
            BudgetRequest.objects.create(**row, **wrong)


def test_one_request_waits_per_person_and_budget(cast: Cast, asked: BudgetRequest) -> None:
    with pytest.raises(IntegrityError, match="one_pending"), transaction.atomic():
        BudgetRequest.objects.create(
            requester=cast.ada, budget=asked.budget, project=cast.ranking, limit_usd=600, reason=WHY,
            role="lead", created_at=clock.now(), decide_by=clock.now() + timedelta(days=1),
        )  # fmt: skip
