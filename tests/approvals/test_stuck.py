"""A request that nobody can decide at this moment says so, and which role is missing."""

from __future__ import annotations

from datetime import timedelta

import time_machine

from approvals.models import AccessRequest, Verdict
from approvals.services import decide
from teams.models import Role, RoleAssignment
from teams.services import end_role
from tests import factories
from tests.approvals.conftest import Ask
from tests.browsing import Visitor
from tests.cast import Cast

MISSING = "Nobody can decide it now. It needs {}: ask an administrator to name somebody."


def goes(cast: Cast, who: str, role: Role) -> None:
    held = RoleAssignment.objects.get(user=getattr(cast, who), role=role)
    end_role(actor=cast.ann, assignment=held, reason="Moved on.")


def page(cast: Cast, who: str, request: AccessRequest) -> str:
    return Visitor(getattr(cast, who)).get(f"/approvals/{request.public_id}/").words


def test_request_without_a_lead_says_so_until_somebody_steps_in(cast: Cast, asked: AccessRequest) -> None:
    assert "Nobody can decide" not in page(cast, "ada", asked)
    goes(cast, "ben", Role.LEAD)

    for who in ("ada", "cleo"):
        words = page(cast, who, asked)
        assert MISSING.format("the lead of Search") in words
        assert "after that the director of Product may decide too" in words
    with time_machine.travel(asked.sla_at + timedelta(minutes=1), tick=False):
        assert "Nobody can decide" not in page(cast, "ada", asked)


def test_second_stage_without_a_director_says_so(cast: Cast, ask: Ask) -> None:
    factories.new_policy(cast.tier2, [("lead", 1), ("director", 1)], escalation_role="")
    request = ask()
    decide(actor=cast.ben, request=request, verdict=Verdict.APPROVE, seen_revision=1)
    goes(cast, "cleo", Role.DIRECTOR)

    assert MISSING.format("the director of Product") in page(cast, "ada", request)


def test_quorum_whose_people_have_left_asks_for_another(cast: Cast, ask: Ask) -> None:
    second = factories.RoleAssignmentFactory.create(role=Role.LEAD, team=cast.search)
    factories.new_policy(cast.tier2, [("lead", 2)], escalation_role="")
    request = ask()
    decide(actor=cast.ben, request=request, verdict=Verdict.APPROVE, seen_revision=1)
    end_role(actor=cast.ann, assignment=second, reason="Moved on.")

    assert MISSING.format("the lead of Search, besides who agreed already") in page(cast, "ada", request)
