"""A request that nobody can decide at this moment says so first, and which role is missing."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import time_machine

from approvals.models import AccessRequest, Verdict
from approvals.services import ask_increase, decide
from budgets.models import ScopeKind
from teams.models import Role, RoleAssignment
from teams.services import end_role
from tests import factories
from tests.api.world import open_budget
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
        assert "The lead of Search decides Nobody can now." in words
    with time_machine.travel(asked.sla_at + timedelta(minutes=1), tick=False):
        assert "Nobody can decide" not in page(cast, "ada", asked)


def test_it_is_the_first_thing_said_and_nobody_is_named_as_decider(cast: Cast, asked: AccessRequest) -> None:
    decides = ". The lead of Search decides."
    assert decides in page(cast, "ada", asked)
    goes(cast, "ben", Role.LEAD)

    for who, after in (("ada", "What you asked for"), ("cleo", asked.reason)):
        words = page(cast, who, asked)
        assert words.index("Nobody can decide it now.") < words.index(after)
        assert words.count("It needs the lead of Search") == 1
        assert decides not in words


def test_only_an_administrator_is_led_to_where_a_role_is_given(cast: Cast, asked: AccessRequest) -> None:
    assert "Name somebody" not in page(cast, "ann", asked)
    goes(cast, "ben", Role.LEAD)
    assert "Name somebody" in page(cast, "ann", asked)
    assert "Name somebody" not in page(cast, "cleo", asked)


def test_request_for_more_budget_says_it_too(cast: Cast) -> None:
    budget = open_budget(cast, ScopeKind.PROJECT, cast.ranking.pk, "500")
    increase = ask_increase(
        actor=cast.ada, budget=budget, limit_usd=Decimal(600), reason="A launch in December."
    )
    path = f"/approvals/budgets/requests/{increase.public_id}/"
    assert "Nobody can decide" not in Visitor(cast.ada).get(path).words
    goes(cast, "ben", Role.LEAD)

    words = Visitor(cast.ada).get(path).words
    assert MISSING.format("the lead of Search") in words
    assert ", the director of Product may decide." in words
    assert "Who decides The lead of Search decides Nobody can now." in words


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
