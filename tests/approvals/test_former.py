"""Who asked as a lead or director and is that no more: what waits is closed, whoever ended the role."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine

from approvals.errors import AlreadyDecidedError
from approvals.models import AccessRequest, BudgetRequest, RequestStatus, Verdict
from approvals.services import ask_increase, decide, follow_all
from budgets.models import ScopeKind
from core import clock
from teams.models import Role, RoleAssignment, User
from teams.services import end_role
from tests import factories
from tests.api.world import open_budget
from tests.approvals.conftest import Ask
from tests.cast import Cast

WHY = "A launch in December."


@pytest.fixture
def lena(cast: Cast) -> User:
    """Return a second lead of Search, who is no member of it."""
    person: User = factories.UserFactory.create(email="lena@example.com", name="Lena Roth")
    factories.RoleAssignmentFactory.create(user=person, role=Role.LEAD, team=cast.search)
    return person


def end(cast: Cast, person: User) -> None:
    end_role(
        actor=cast.ann, assignment=RoleAssignment.objects.live().get(user=person), reason="She moved on."
    )


def how(request: AccessRequest | BudgetRequest) -> tuple[str, str]:
    """Return how a request stands and what its requester reads about it."""
    found = type(request)._default_manager.get(pk=request.pk)
    words = found.closed_reason if isinstance(found, AccessRequest) else found.comment
    return found.status, words


def money(cast: Cast, person: User, kind: ScopeKind, *, usd: int = 600) -> BudgetRequest:
    """Ask for more than whoever asks may set himself, in Ranking, in Search or in Product."""
    places = {
        ScopeKind.DEPARTMENT: (cast.product.pk, "3000"),
        ScopeKind.TEAM: (cast.search.pk, "500"),
        ScopeKind.PROJECT: (cast.ranking.pk, "400"),
    }
    opened = {each: open_budget(cast, each, *place) for each, place in places.items()}
    return ask_increase(actor=person, budget=opened[kind], limit_usd=Decimal(usd), reason=WHY)


def test_what_a_lead_asked_for_is_closed_when_she_leads_no_more(cast: Cast, ask: Ask, lena: User) -> None:
    asked, of_ada = ask(actor=lena), ask()
    assert follow_all(most=10) == 0

    end(cast, lena)

    assert (follow_all(most=10), follow_all(most=10)) == (1, 0)
    assert how(asked) == (RequestStatus.CLOSED, "Lena Roth does not work in team Search any more.")
    assert how(of_ada)[0] == RequestStatus.PENDING


def test_a_role_that_ran_out_closes_it_before_anybody_decides(cast: Cast, ask: Ask, lena: User) -> None:
    asked = ask(actor=lena)
    RoleAssignment.objects.filter(user=lena).update(valid_until=clock.now() + timedelta(hours=1))
    assert follow_all(most=10) == 0

    with time_machine.travel(clock.now() + timedelta(hours=2), tick=False):
        with pytest.raises(AlreadyDecidedError, match="does not work in team Search"):
            decide(actor=cast.ben, request=asked, verdict=Verdict.APPROVE, seen_revision=1)
        assert how(asked)[0] == RequestStatus.CLOSED


def test_who_stays_a_member_or_leads_again_keeps_the_request(cast: Cast, ask: Ask, lena: User) -> None:
    asked = ask(actor=lena)
    end(cast, lena)
    factories.RoleAssignmentFactory.create(user=lena, role=Role.LEAD, team=cast.search)
    assert follow_all(most=10) == 0
    factories.MembershipFactory.create(user=lena, team=cast.search)
    end(cast, lena)
    assert follow_all(most=10) == 0
    assert how(asked)[0] == RequestStatus.PENDING


@pytest.mark.parametrize("kind", [ScopeKind.TEAM, ScopeKind.PROJECT])
def test_more_budget_that_a_lead_asked_for_is_closed_too(cast: Cast, lena: User, kind: ScopeKind) -> None:
    asked = money(cast, lena, kind)

    end(cast, lena)

    assert (follow_all(most=10), follow_all(most=10)) == (1, 0)
    status, words = how(asked)
    assert status == RequestStatus.CLOSED
    assert words.startswith("Lena Roth does not answer for ")


@pytest.mark.parametrize(
    ("role", "home"), [(Role.DIRECTOR, "product"), (Role.ADMIN, None), (Role.FINANCE, None)]
)
def test_who_answers_for_the_budget_by_another_role_keeps_it(
    cast: Cast, lena: User, role: Role, home: str | None
) -> None:
    asked = money(cast, lena, ScopeKind.TEAM)
    end(cast, lena)
    department = getattr(cast, home) if home else None
    factories.RoleAssignmentFactory.create(user=lena, role=role, team=None, department=department)

    assert follow_all(most=10) == 0
    assert how(asked)[0] == RequestStatus.PENDING


def test_more_budget_that_a_director_asked_for_is_closed_with_the_role(cast: Cast) -> None:
    open_budget(cast, ScopeKind.ORGANISATION, 0, "9000", department=None)
    asked = money(cast, cast.cleo, ScopeKind.DEPARTMENT, usd=20_000)

    end(cast, cast.cleo)

    assert follow_all(most=10) == 1
    assert how(asked)[0] == RequestStatus.CLOSED
