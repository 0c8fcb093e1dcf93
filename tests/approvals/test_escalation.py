"""Who decides too when it is late, where the role of the policy cannot: the next one above."""

from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine

from approvals import policy
from approvals.cases import case_of
from approvals.models import AccessRequest, RequestStatus, Verdict
from approvals.selectors import find, inbox
from approvals.services import decide, remind_due
from core.models import AuditEvent, Outbox
from teams.models import Role, RoleAssignment, User
from teams.services import end_role
from tests.approvals.conftest import Ask
from tests.approvals.test_policy import ADA, ANN, BEN, CLEO, USUAL, people
from tests.cast import Cast


@pytest.mark.parametrize(
    ("roles", "holders", "asker", "later", "role"),
    [
        (("director", "lead"), USUAL, ADA, (), "director"),
        (("", "lead"), USUAL, ADA, (), ""),  # by the policy nobody steps in
        (("director", "lead"), people(lead={BEN}, admin={ANN}), ADA, (), "admin"),
        (("director", "lead"), USUAL, CLEO, (), "admin"),
        (("director", "director"), USUAL, BEN, (), "admin"),
        (("admin", "director"), people(director={CLEO}), ADA, (), ""),
        (("admin", "director"), people(director={CLEO}, admin={ADA}), ADA, (), ""),
        (("director", "lead"), USUAL, ADA, ("director",), "admin"),
        (("director", "lead"), people(lead={BEN}, admin={ANN}), ADA, ("admin",), ""),
    ],
)
def test_the_role_of_the_policy_or_the_next_above_steps_in(
    roles: tuple[str, str], holders: policy.Holders, asker: int, later: tuple[str, ...], role: str
) -> None:
    assert policy.escalated_role(*roles, holders, [asker], later) == role


def late(request: AccessRequest) -> time_machine.travel:
    return time_machine.travel(request.sla_at + timedelta(minutes=1), tick=False)


def director_goes(cast: Cast) -> None:
    held = RoleAssignment.objects.get(user=cast.cleo, role=Role.DIRECTOR)
    end_role(actor=cast.ann, assignment=held, reason="Moved on.")


def steps_in(cast: Cast, request: AccessRequest, person: User) -> None:
    """Let somebody be told, read and decide what nobody decided in time."""
    with late(request):
        case = case_of(person, find(person, request.public_id))
        assert case.may_decide
        assert "it waited long, so an administrator may decide too" in case.stage_text
        assert request in inbox(person).requests
        assert remind_due() == 1
        assert person.email in Outbox.objects.filter(topic="request.reminder").values_list(
            "recipient", flat=True
        )
        assert AuditEvent.objects.get(action="request.escalated").after["role"] == Role.ADMIN
        decided = decide(actor=person, request=request, verdict=Verdict.APPROVE, seen_revision=1)
    assert decided.request.status == RequestStatus.APPROVED


def test_an_administrator_steps_in_where_there_is_no_director(cast: Cast, asked: AccessRequest) -> None:
    director_goes(cast)
    case = case_of(cast.ben, find(cast.ben, asked.public_id))
    assert case.escalates_to == "an administrator"
    steps_in(cast, asked, cast.ann)


def test_an_administrator_steps_in_where_the_director_decides_for_the_lead(cast: Cast, ask: Ask) -> None:
    """Ben leads the team: Cleo decides his request from the beginning, and is nobody who steps in."""
    steps_in(cast, ask(actor=cast.ben), cast.ann)
