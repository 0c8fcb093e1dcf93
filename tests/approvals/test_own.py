"""What a requester may do with his own request: change it, take it back, let it lapse."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine

from approvals.errors import AlreadyDecidedError, ChangedSinceReadError
from approvals.models import AccessRequest, RequestStatus, Verdict
from approvals.services import amend, amend_increase, ask_increase, decide, expire_due, withdraw
from approvals.tasks import expire_requests
from core.errors import GoneError, InvalidInputError, NotAllowedError
from core.models import AuditEvent, Outbox
from teams.services.changes import archive_project, move_project
from tests import factories
from tests.approvals.conftest import REASON, Ask
from tests.cast import Cast


def change(cast: Cast, request: AccessRequest, **changes: Any) -> AccessRequest:
    wish: dict[str, Any] = {
        "actor": cast.ada,
        "seen_revision": 1,
        "model_names": ["large"],
        "reason": REASON,
        "duration_days": 60,
        "expected_monthly_usd": Decimal(420),
    }
    return amend(request=request, **wish | changes)


def test_a_change_is_a_new_revision_that_the_lead_is_told_of(cast: Cast, asked: AccessRequest) -> None:
    changed = change(cast, asked, duration_days=30)
    assert (changed.revision, changed.duration_days) == (2, 30)
    assert Outbox.objects.filter(recipient="ben@example.com").count() == 2
    event = AuditEvent.objects.get(action="request.amended")
    assert event.before == {"revision": 1, "duration_days": 60}
    assert event.after == {"revision": 2, "duration_days": 30}


def test_a_closed_project_closes_its_request_before_it_is_changed(cast: Cast, asked: AccessRequest) -> None:
    archive_project(actor=None, project=cast.ranking, reason="Done.")
    with pytest.raises(AlreadyDecidedError, match="The project Ranking is closed"):
        change(cast, asked, duration_days=30)
    asked.refresh_from_db()
    assert (asked.status, asked.revision) == (RequestStatus.CLOSED, 1)


def test_a_change_of_a_moved_request_begins_in_the_new_team(cast: Cast, asked: AccessRequest) -> None:
    move_project(actor=None, project=cast.ranking, team=cast.cards, reason="A new owner.")
    changed = change(cast, asked, duration_days=30)
    assert (changed.revision, changed.team, changed.stage_index) == (2, cast.cards, 0)


def test_a_closed_project_closes_what_waits_for_more_of_its_budget_before_it_is_changed(cast: Cast) -> None:
    budget = factories.BudgetFactory.create(project=cast.ranking)
    factories.BudgetLimitFactory.create(budget=budget, amount_usd=Decimal(10))
    more = ask_increase(actor=cast.ada, budget=budget, limit_usd=Decimal(20), reason=REASON)
    archive_project(actor=None, project=cast.ranking, reason="Done.")
    with pytest.raises(AlreadyDecidedError):
        amend_increase(actor=cast.ada, request=more, seen_revision=1, limit_usd=Decimal(15), reason=REASON)
    more.refresh_from_db()
    assert more.comment == "Ranking is closed."


def test_a_change_of_nothing_is_no_revision(cast: Cast, asked: AccessRequest) -> None:
    assert change(cast, asked).revision == 1
    assert not AuditEvent.objects.filter(action="request.amended").exists()


def test_a_change_is_made_under_the_policy_in_force(cast: Cast, asked: AccessRequest) -> None:
    stricter = factories.new_policy(cast.tier2, [("director", 1)], max_days=40)
    with pytest.raises(InvalidInputError, match="1 to 40 days"):
        change(cast, asked)
    changed = change(cast, asked, duration_days=40)
    assert changed.policy == stricter
    assert [stage.role for stage in changed.stages.filter(revision=2)] == ["director"]


def test_a_change_gives_the_approvers_their_full_time(cast: Cast, asked: AccessRequest) -> None:
    with time_machine.travel(asked.decide_by - timedelta(hours=1), tick=False):
        changed = change(cast, asked, duration_days=30)
    assert changed.decide_by == asked.decide_by - timedelta(hours=1) + timedelta(days=7)


def test_a_change_of_an_older_revision_is_refused(cast: Cast, asked: AccessRequest) -> None:
    change(cast, asked, duration_days=30)
    with pytest.raises(ChangedSinceReadError):
        change(cast, asked, duration_days=20)


@pytest.mark.parametrize("name", ["ben", "cleo", "dan", "ann"])
def test_nobody_else_changes_or_withdraws(cast: Cast, asked: AccessRequest, name: str) -> None:
    actor = getattr(cast, name)
    with pytest.raises(NotAllowedError, match="Only Ada Moreno"):
        change(cast, asked, actor=actor, duration_days=30)
    with pytest.raises(NotAllowedError, match="Only Ada Moreno"):
        withdraw(actor=actor, request=asked)


def test_engineer_withdraws_once(cast: Cast, asked: AccessRequest) -> None:
    assert withdraw(actor=cast.ada, request=asked).status == RequestStatus.WITHDRAWN
    assert withdraw(actor=cast.ada, request=asked).status == RequestStatus.WITHDRAWN
    assert AuditEvent.objects.filter(action="request.withdrawn").count() == 1


def test_a_decided_request_is_neither_changed_nor_withdrawn(cast: Cast, asked: AccessRequest) -> None:
    decide(actor=cast.ben, request=asked, verdict=Verdict.APPROVE, seen_revision=1)
    with pytest.raises(AlreadyDecidedError, match="Ben Okafor approved"):
        withdraw(actor=cast.ada, request=asked)
    with pytest.raises(AlreadyDecidedError, match="Ben Okafor approved"):
        change(cast, asked, duration_days=30)


def test_an_expired_request_is_neither_changed_nor_withdrawn(cast: Cast, asked: AccessRequest) -> None:
    with time_machine.travel(asked.decide_by):
        assert asked.state == RequestStatus.EXPIRED
        with pytest.raises(GoneError):
            withdraw(actor=cast.ada, request=asked)
        with pytest.raises(GoneError):
            change(cast, asked, duration_days=30)


def test_the_sweeper_writes_down_what_has_expired_and_tells_once(cast: Cast, ask: Ask) -> None:
    old = ask()
    with time_machine.travel(old.decide_by - timedelta(minutes=1)):
        fresh = ask(tier=cast.tier3, model_names=[], duration_days=30)
        assert expire_due() == 0
    with time_machine.travel(old.decide_by):
        assert expire_requests() == {"expired": 1}
        assert expire_requests() == {"expired": 0}
    statuses = dict(AccessRequest.objects.values_list("pk", "status"))
    assert statuses == {old.pk: RequestStatus.EXPIRED, fresh.pk: RequestStatus.PENDING}
    assert Outbox.objects.filter(topic="request.expired", recipient="ada@example.com").count() == 1
    assert AuditEvent.objects.get(action="request.expired").actor_label == "purser"
