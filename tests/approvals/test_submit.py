"""What may be asked for, by whom, and who is told."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine

from approvals.errors import AlreadyAskedError, NobodyCanApproveError
from approvals.models import AccessRequest, RequestStatus
from approvals.services import withdraw
from core import clock
from core.errors import InvalidInputError
from core.models import AuditEvent, Outbox
from keys.services import issue_key, revoke
from teams.errors import NotInTeamError
from teams.models import Membership, Project, Role, RoleAssignment
from tests import factories
from tests.approvals.conftest import REASON, Ask
from tests.cast import Cast


def test_engineer_asks_and_waits_for_the_lead(cast: Cast, asked: AccessRequest) -> None:
    assert (asked.status, asked.revision, asked.stage_index) == (RequestStatus.PENDING, 1, 0)
    assert (asked.requester, asked.beneficiary) == (cast.ada, cast.ada)
    assert asked.model_ids == [cast.large.pk]
    assert list(asked.stages.values_list("role", "quorum", "max_days")) == [("lead", 1, 90)]


def test_it_must_be_decided_within_seven_days(ask: Ask) -> None:
    with time_machine.travel(clock.now(), tick=False):
        assert ask().decide_by == clock.now() + timedelta(days=7)


def test_tier_3_waits_for_the_director(cast: Cast, ask: Ask) -> None:
    request = ask(tier=cast.tier3, model_names=["frontier"], duration_days=30)
    assert list(request.stages.values_list("role", "max_days")) == [("director", 30)]
    assert Outbox.objects.get(topic="request.waiting").recipient == "cleo@example.com"


def test_the_lead_is_told_of_a_request_that_the_director_decides(cast: Cast, ask: Ask) -> None:
    ask(tier=cast.tier3, model_names=["frontier"], duration_days=30)
    told = Outbox.objects.get(topic="request.told")
    assert told.recipient == "ben@example.com"
    assert "Others decide it" in told.payload["body"]


def test_without_a_duration_the_policys_default_is_asked(cast: Cast, ask: Ask) -> None:
    assert ask(duration_days=None).duration_days == 90


def test_no_models_means_all_of_the_tier(ask: Ask) -> None:
    assert ask(model_names=[]).model_ids == []


def test_the_lead_is_told_by_a_mail_whose_link_only_opens_the_page(cast: Cast, asked: AccessRequest) -> None:
    mail = Outbox.objects.get()
    assert (mail.recipient, mail.topic) == ("ben@example.com", "request.waiting")
    assert mail.payload["link"] == f"/approvals/{asked.public_id}/"
    assert "large, about $420.00 a month, for 60 days" in mail.payload["body"]


def test_every_lead_is_told_once(cast: Cast, ask: Ask) -> None:
    other = factories.RoleAssignmentFactory.create(role=Role.LEAD, team=cast.search).user
    ask()
    assert set(Outbox.objects.values_list("recipient", flat=True)) == {"ben@example.com", other.email}


def test_asking_is_recorded_with_its_place_and_reason(cast: Cast, asked: AccessRequest) -> None:
    event = AuditEvent.objects.get()
    assert (event.action, event.actor_id, event.object_id) == (
        "request.submitted",
        cast.ada.pk,
        asked.public_id,
    )
    assert (event.team_id, event.department_id, event.reason) == (cast.search.pk, cast.product.pk, REASON)
    assert event.after["models"] == ["large"]


@pytest.mark.parametrize("name", ["cleo", "dan", "eve", "olga", "fay", "audrey", "ann"])
def test_whoever_does_not_work_in_the_team_cannot_ask(cast: Cast, ask: Ask, name: str) -> None:
    with pytest.raises(NotInTeamError, match="Ask Ben Okafor to add you") as refusal:
        ask(actor=getattr(cast, name))
    assert refusal.value.status == 403
    assert not AccessRequest.objects.exists()


def test_a_leaver_cannot_ask(cast: Cast, ask: Ask) -> None:
    cast.ada.is_active = False
    cast.ada.save()
    with pytest.raises(NotInTeamError):
        ask()


def test_a_former_member_cannot_ask(cast: Cast, ask: Ask) -> None:
    Membership.objects.filter(user=cast.ada).update(valid_until=clock.now())
    with pytest.raises(NotInTeamError):
        ask()


def test_a_closed_project_takes_no_requests(cast: Cast, ask: Ask) -> None:
    Project.objects.update(archived_at=clock.now())
    with pytest.raises(InvalidInputError, match="Ranking is closed"):
        ask()


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"reason": "too short"}, "reason", "Say what you need it for"),
        ({"reason": " " * 50}, "reason", "Say what you need it for"),
        ({"reason": "x" * 2001}, "reason", "10 to 2,000 characters"),
        ({"duration_days": 0}, "duration_days", "Enter 1 to 90 days"),
        ({"duration_days": 91}, "duration_days", "Enter 1 to 90 days"),
        ({"expected_monthly_usd": Decimal(0)}, "expected_monthly_usd", "above zero"),
        ({"expected_monthly_usd": Decimal(-1)}, "expected_monthly_usd", "above zero"),
        ({"expected_monthly_usd": Decimal("NaN")}, "expected_monthly_usd", "above zero"),
        ({"expected_monthly_usd": Decimal("Infinity")}, "expected_monthly_usd", "above zero"),
        ({"model_names": ["small"]}, "models", "small: not a model of Tier 2"),
        ({"model_names": ["large", "nonsense"]}, "models", "nonsense: not a model of Tier 2"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_the_field(
    ask: Ask, changes: dict[str, Any], field: str, says: str
) -> None:
    with pytest.raises(InvalidInputError, match=says) as refusal:
        ask(**changes)
    assert (refusal.value.field, refusal.value.status) == (field, 422)
    assert not AccessRequest.objects.exists()
    assert not AuditEvent.objects.exists()


def test_a_retired_model_cannot_be_asked_for(cast: Cast, ask: Ask) -> None:
    cast.large.retired_at = clock.now()
    cast.large.save()
    with pytest.raises(InvalidInputError, match="large: not a model"):
        ask()


def test_tier_1_needs_no_approval(cast: Cast, ask: Ask) -> None:
    with pytest.raises(InvalidInputError, match="Tier 1 needs no approval"):
        ask(tier=cast.tier1, model_names=["small"])


def test_a_tier_without_a_policy_cannot_be_asked_for(ask: Ask) -> None:
    with pytest.raises(InvalidInputError, match="Tier 4 has no policy yet"):
        ask(tier=factories.tier(4), model_names=[])


def test_the_policys_cap_is_the_most_that_can_be_asked(cast: Cast, ask: Ask) -> None:
    factories.new_policy(cast.tier2, [("lead", 1)], max_monthly_usd=Decimal(400))
    with pytest.raises(InvalidInputError, match=r"up to \$400\.00, the most for Tier 2"):
        ask()


def test_the_leads_own_request_goes_to_the_director(cast: Cast, ask: Ask) -> None:
    request = ask(actor=cast.ben)
    assert request.stages.get().role == Role.DIRECTOR
    assert Outbox.objects.get(topic="request.waiting").recipient == "cleo@example.com"


def test_the_only_directors_own_request_goes_to_the_administrators(cast: Cast, ask: Ask) -> None:
    factories.MembershipFactory.create(user=cast.cleo, team=cast.search)
    request = ask(actor=cast.cleo, tier=cast.tier3, model_names=[], duration_days=30)
    assert request.stages.get().role == Role.ADMIN
    assert Outbox.objects.get(topic="request.waiting").recipient == "ann@example.com"


def test_another_director_decides_a_directors_request(cast: Cast, ask: Ask) -> None:
    factories.MembershipFactory.create(user=cast.cleo, team=cast.search)
    other = factories.RoleAssignmentFactory.create(role=Role.DIRECTOR, department=cast.product).user
    request = ask(actor=cast.cleo, tier=cast.tier3, model_names=[], duration_days=30)
    assert request.stages.get().role == Role.DIRECTOR
    assert Outbox.objects.get(topic="request.waiting").recipient == other.email


@pytest.mark.parametrize(("role", "says"), [(Role.LEAD, "the lead of Search")])
def test_a_request_that_nobody_could_approve_is_refused(cast: Cast, ask: Ask, role: Role, says: str) -> None:
    RoleAssignment.objects.filter(role=role).delete()
    with pytest.raises(NobodyCanApproveError, match=f"needs {says}.* Ask Ann Keller") as refusal:
        ask()
    assert (refusal.value.status, refusal.value.extra["role"]) == (422, role)
    assert not AccessRequest.objects.exists()


def test_an_inactive_lead_does_not_count(cast: Cast, ask: Ask) -> None:
    cast.ben.is_active = False
    cast.ben.save()
    with pytest.raises(NobodyCanApproveError):
        ask()


def test_one_human_cannot_be_the_quorum_of_two_stages(cast: Cast, ask: Ask) -> None:
    RoleAssignment.objects.filter(role=Role.DIRECTOR).update(user=cast.ben)
    factories.new_policy(cast.tier2, [("lead", 1), ("director", 1)])
    with pytest.raises(NobodyCanApproveError) as refusal:
        ask()
    assert refusal.value.extra["role"] == "director"


def test_the_same_request_again_names_the_one_that_waits(cast: Cast, ask: Ask, asked: AccessRequest) -> None:
    with pytest.raises(AlreadyAskedError, match="Ben Okafor can decide it") as refusal:
        ask(reason="Another reason, the same wish.")
    assert refusal.value.status == 409
    assert refusal.value.extra["request"] == asked.public_id
    assert AccessRequest.objects.count() == 1


def test_another_tier_or_another_person_may_wait_beside(cast: Cast, ask: Ask, asked: AccessRequest) -> None:
    ask(tier=cast.tier3, model_names=[], duration_days=30)
    ask(actor=cast.ben)
    assert AccessRequest.objects.pending().count() == 3


def test_it_can_be_asked_again_after_a_withdrawal(cast: Cast, ask: Ask, asked: AccessRequest) -> None:
    withdraw(actor=cast.ada, request=asked)
    assert ask().pk != asked.pk


def test_it_can_be_asked_again_after_expiry_that_no_job_wrote_down(ask: Ask, asked: AccessRequest) -> None:
    with time_machine.travel(asked.decide_by):
        again = ask()
        assert again.state == RequestStatus.PENDING
    asked.refresh_from_db()
    assert asked.status == RequestStatus.EXPIRED


def test_a_live_key_of_ones_own_may_be_named(cast: Cast, ask: Ask) -> None:
    key = issue_key(actor=cast.ada, project=cast.ranking, name="laptop")
    assert ask(extends_key=key).extends_key == key


def test_a_key_of_another_person_or_project_or_an_ended_one_is_refused(cast: Cast, ask: Ask) -> None:
    other_project = factories.ProjectFactory.create(team=cast.search)
    ended = issue_key(actor=cast.ada, project=cast.ranking, name="old")
    revoke(actor=cast.ada, key=ended, reason="Old.")
    for key in (
        issue_key(actor=cast.ben, project=cast.ranking, name="ben's"),
        issue_key(actor=cast.ada, project=other_project, name="elsewhere"),
        ended,
    ):
        with pytest.raises(InvalidInputError, match="one of your own live keys") as refusal:
            ask(extends_key=key)
        assert refusal.value.field == "extends_key"
