"""Requests for more budget decided for somebody: a delegate may what his giver may in the role lent."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.db import IntegrityError, transaction
from hypothesis import given
from hypothesis import strategies as st

from approvals import services
from approvals.errors import NotEligibleError
from approvals.models import BudgetRequest, Delegation, RequestStatus, Verdict
from approvals.owners import deciders_of
from approvals.selectors import find_increase, inbox, waiting_count
from budgets.errors import HeadroomError
from budgets.models import Budget, BudgetLimit, ScopeKind
from budgets.selectors import budget_rows
from budgets.services.limits import change_limit
from core import clock
from core.errors import NotFoundError
from core.models import AuditEvent, Outbox
from teams.models import Role, RoleAssignment
from teams.selectors import role_holders
from tests import factories
from tests.api.world import open_budget
from tests.approvals.conftest import lend
from tests.browsing import Visitor
from tests.cast import Cast
from tests.ledger.sizes import sized

WHY = "A launch in December."
LENDERS = ("ben", "cleo", "ann", "eve", "olga")
PEOPLE = (*LENDERS, "ada", "dan", "fay", "audrey")
# Who decides on so much, at once and when the request has waited too long.
OWNERS = {
    (600, False): {"ben"},
    (600, True): {"ben", "cleo"},
    (900, False): {"cleo"},
    (900, True): {"cleo", "fay", "ann"},
}
SPANS = {"live": (-1, 6), "over": (-8, -1), "to come": (1, 8)}


@pytest.fixture
def budgets(cast: Cast) -> dict[str, Budget]:
    """Open monthly budgets: Product 3,000, Search 1,000, Ranking 500, and another project of Search 300."""
    other = factories.ProjectFactory.create(name="Autocomplete", team=cast.search)
    return {
        "department": open_budget(cast, ScopeKind.DEPARTMENT, cast.product.pk, "3000"),
        "team": open_budget(cast, ScopeKind.TEAM, cast.search.pk, "1000"),
        "project": open_budget(cast, ScopeKind.PROJECT, cast.ranking.pk, "500"),
        "other": open_budget(cast, ScopeKind.PROJECT, other.pk, "300"),
    }


def asks(cast: Cast, budgets: dict[str, Budget], who: str = "ada", **changes: Any) -> BudgetRequest:
    budget = budgets[changes.pop("name", "project")]
    wish = {"actor": getattr(cast, who), "budget": budget, "limit_usd": Decimal(600), "reason": WHY}
    return services.ask_increase(**wish | changes)


@pytest.fixture
def asked(cast: Cast, budgets: dict[str, Budget]) -> BudgetRequest:
    """Return Ada's pending request for 600 in Ranking, which Ben decides."""
    return asks(cast, budgets)


def approve(request: BudgetRequest, actor: Any) -> BudgetRequest:
    outcome = services.decide(actor=actor, request=request, verdict=Verdict.APPROVE, seen_revision=1)
    decided: BudgetRequest = outcome.request
    return decided


def limit_of(budget: Budget) -> Decimal | None:
    return budget_rows(Budget.objects.filter(pk=budget.pk))[0].limit_usd


def test_a_delegate_decides_in_his_own_name_and_everything_says_for_whom(
    cast: Cast, budgets: dict[str, Budget], asked: BudgetRequest
) -> None:
    lend(cast, "ben", "dan")

    decided = approve(asked, cast.dan)

    assert limit_of(budgets["project"]) == 600
    assert (decided.decided_by, decided.on_behalf_of) == (cast.dan, cast.ben)
    limit = BudgetLimit.objects.latest("pk")
    assert (limit.actor, limit.reason) == (
        cast.dan,
        f"Asked for by Ada Moreno, decided for Ben Okafor: {WHY}",
    )
    named = AuditEvent.objects.filter(action__in=("budget.limit_changed", "budget_increase.approved"))
    assert set(named.values_list("actor_id", "on_behalf_of_id")) == {(cast.dan.pk, cast.ben.pk)}
    mail = Outbox.objects.get(topic="budget_increase.approved")
    assert "Dan Fischer for Ben Okafor approved it" in mail.payload["body"]


def test_a_top_up_is_given_for_another_too(cast: Cast, budgets: dict[str, Budget]) -> None:
    request = asks(cast, budgets, until=clock.now() + timedelta(days=3))
    lend(cast, "ben", "dan")
    approve(request, cast.dan)
    event = AuditEvent.objects.get(action="budget.topped_up")
    assert (event.actor_id, event.on_behalf_of_id) == (cast.dan.pk, cast.ben.pk)


def test_delegates_are_told_and_find_it_in_their_inbox(cast: Cast, budgets: dict[str, Budget]) -> None:
    lend(cast, "ben", "dan")
    request = asks(cast, budgets)
    told = Outbox.objects.filter(topic="budget_increase.waiting").values_list("recipient", flat=True)
    assert sorted(told) == ["ben@example.com", "dan@example.com"]
    assert waiting_count(cast.dan) == 1
    assert inbox(cast.dan).increases == (request,)
    address = f"/approvals/budgets/requests/{request.public_id}/"
    page = Visitor(cast.dan).get(address)
    assert "Can decide: Ben Okafor, Dan Fischer (for Ben Okafor)" in page.words
    assert "You decide for Ben Okafor" in page.words
    assert f"/budgets/{budgets['project'].public_id}/" not in page.links  # he may not see that page
    assert "You decide for" not in Visitor(cast.ben).get(address).words


def test_page_says_for_whom_it_was_decided(cast: Cast, asked: BudgetRequest) -> None:
    lend(cast, "ben", "dan")
    approve(asked, cast.dan)
    page = Visitor(cast.ada).get(f"/approvals/budgets/requests/{asked.public_id}/")
    assert "Dan Fischer for Ben Okafor approved it" in page.words


def test_nobody_finds_what_nothing_was_lent_for(cast: Cast, asked: BudgetRequest) -> None:
    lend(cast, "eve", "dan", team=cast.cards)
    assert waiting_count(cast.dan) == 0
    with pytest.raises(NotFoundError):
        find_increase(cast.dan, asked.public_id)
    with pytest.raises(NotEligibleError, match=r"needs the lead of Search.* Ask Ben Okafor"):
        approve(asked, cast.dan)


def test_a_lent_role_is_worth_no_more_than_that_role(
    cast: Cast, budgets: dict[str, Budget], asked: BudgetRequest
) -> None:
    """Ben is finance too, and might do more himself; Dan has only what a lead may."""
    factories.RoleAssignmentFactory.create(user=cast.ben, role=Role.FINANCE)
    lend(cast, "ben", "dan")
    change_limit(actor=cast.cleo, budget=budgets["other"], amount_usd=Decimal(450), reason="More.")
    with pytest.raises(HeadroomError, match=r"up to \$550\.00"):
        approve(asked, cast.dan)
    assert limit_of(budgets["project"]) == 500
    assert approve(asked, cast.ben).on_behalf_of is None


def test_roles_of_a_delegates_own_give_him_nothing_here(
    cast: Cast, budgets: dict[str, Budget], asked: BudgetRequest
) -> None:
    lend(cast, "ben", "olga")
    change_limit(actor=cast.cleo, budget=budgets["other"], amount_usd=Decimal(450), reason="More.")
    with pytest.raises(HeadroomError):
        approve(asked, cast.olga)


def test_own_request_is_decided_by_no_delegate_of_ones_own(cast: Cast, budgets: dict[str, Budget]) -> None:
    own = asks(cast, budgets, "ben", limit_usd=Decimal(900))
    lend(cast, "ben", "dan")
    lend(cast, "cleo", "ben")
    for person in (cast.ben, cast.dan):
        with pytest.raises(NotEligibleError):
            approve(own, person)
    lend(cast, "cleo", "dan")
    assert approve(own, cast.dan).on_behalf_of == cast.cleo


def test_a_directors_own_request_is_for_the_other_director_and_for_no_delegate_of_his(
    cast: Cast, budgets: dict[str, Budget]
) -> None:
    factories.RoleAssignmentFactory.create(user=cast.olga, role=Role.DIRECTOR, department=cast.product)
    own = asks(cast, budgets, "cleo", name="team", limit_usd=Decimal(3_500))
    denial: dict[str, Any] = {"request": own, "verdict": Verdict.DENY, "seen_revision": 1, "comment": "No."}
    lend(cast, "cleo", "dan")
    with pytest.raises(NotEligibleError, match="Ask Olga Brandt"):
        services.decide(actor=cast.dan, **denial)
    lend(cast, "olga", "eve", role=Role.DIRECTOR)
    assert services.decide(actor=cast.eve, **denial).request.on_behalf_of == cast.olga


def test_what_is_lent_for_one_team_decides_in_no_other(
    cast: Cast, budgets: dict[str, Budget], asked: BudgetRequest
) -> None:
    factories.RoleAssignmentFactory.create(user=cast.ben, role=Role.LEAD, team=cast.cards)
    lend(cast, "ben", "dan", team=cast.cards)
    with pytest.raises(NotEligibleError):
        approve(asked, cast.dan)


def test_an_administrators_delegate_decides_what_finance_and_administrators_do(
    cast: Cast, budgets: dict[str, Budget]
) -> None:
    request = asks(cast, budgets, "audrey", name="department", limit_usd=Decimal(4_000))
    lend(cast, "cleo", "dan")
    with pytest.raises(NotEligibleError):
        approve(request, cast.dan)
    lend(cast, "ann", "eve")
    assert approve(request, cast.eve).on_behalf_of == cast.ann
    assert limit_of(budgets["department"]) == 4_000


def test_delegation_that_ended_or_whose_giver_lost_the_role_is_worth_nothing(
    cast: Cast, asked: BudgetRequest
) -> None:
    lent = lend(cast, "ben", "dan")
    services.end_delegation(actor=cast.ben, delegation=lent)
    with pytest.raises(NotEligibleError):
        approve(asked, cast.dan)
    lend(cast, "ben", "eve")
    RoleAssignment.objects.filter(user=cast.ben).update(valid_until=clock.now())
    with pytest.raises(NotEligibleError):
        approve(asked, cast.eve)


def test_same_verdict_of_the_delegate_again_changes_nothing(cast: Cast, asked: BudgetRequest) -> None:
    lend(cast, "ben", "dan")
    approve(asked, cast.dan)
    again = services.decide(actor=cast.dan, request=asked, verdict=Verdict.APPROVE, seen_revision=1)
    assert again.replayed


def test_database_refuses_a_decision_for_somebody_who_lent_nothing(cast: Cast, asked: BudgetRequest) -> None:
    def refused(rule: str, **values: Any) -> None:
        denied = {"status": "denied", "decided_at": clock.now(), "decided_by": cast.dan, "comment": "No."}
        with pytest.raises(IntegrityError, match=rule), transaction.atomic():
            BudgetRequest.objects.filter(pk=asked.pk).update(**denied | values)

    refused("who decides for another has his delegation", on_behalf_of=cast.ben)
    over = lend(cast, "ben", "dan", created_at=clock.now() - timedelta(days=9))
    assert over.valid_until < clock.now()
    refused("who decides for another has his delegation", on_behalf_of=cast.ben)
    lend(cast, "ben", "dan")
    refused("decided_for_somebody_else", status="closed", decided_by=None, on_behalf_of=cast.ben)
    lend(cast, "ben", "ada")
    refused("decided_by_somebody_else", decided_by=cast.ada, on_behalf_of=cast.ben)
    cast.ben.is_active = False
    cast.ben.save()
    refused("only active people decide", on_behalf_of=cast.ben)


lendings = st.lists(
    st.tuples(st.sampled_from(LENDERS), st.sampled_from(PEOPLE), st.sampled_from(sorted(SPANS))), max_size=4
)


@given(
    lent=lendings,
    turn=st.sampled_from(sorted(OWNERS)),
    acts=st.tuples(st.sampled_from(["ada", "ben"]), st.sampled_from(PEOPLE)),
)
@sized(80, 1, derandomize=True)
def test_exactly_the_owner_the_next_one_and_whom_they_lent_to_decide(
    cast: Cast,
    budgets: dict[str, Budget],
    lent: list[tuple[str, str, str]],
    turn: tuple[int, bool],
    acts: tuple[str, str],
) -> None:
    (limit_usd, waited), (asker, actor) = turn, acts
    if asker == "ben" and limit_usd == 600:
        return  # he sets that himself
    owners = OWNERS[turn]
    shift = 2 if waited else 0
    lives = {name for name, (begins, ends) in SPANS.items() if begins <= shift < ends}
    givers = {taker: set[str]() for _, taker, _ in lent}
    for giver, taker, span in lent:
        if span in lives and giver in owners and giver != taker:
            givers[taker].add(giver)
    with transaction.atomic():
        for giver, taker, span in lent:
            if giver != taker:
                _lend_at(cast, giver, taker, SPANS[span])
        request = asks(cast, budgets, asker, limit_usd=Decimal(limit_usd))
        may = (owners | {taker for taker, of in givers.items() if of}) - {asker}
        with time_machine.travel(clock.now() + timedelta(days=shift)):
            offered = deciders_of(find_increase(cast.ann, request.public_id), role_holders())
            assert offered == {getattr(cast, name).pk for name in may}
            _decides_if(
                cast,
                request,
                actor,
                may=actor in may,
                givers=set() if actor in owners else givers.get(actor, set()),
            )
        assert limit_of(budgets["project"]) == (limit_usd if actor in may else 500)
        transaction.set_rollback(True)


def _decides_if(cast: Cast, request: BudgetRequest, actor: str, *, may: bool, givers: set[str]) -> None:
    """Approve as somebody: as himself, or for one of those who lent him a role, or not at all."""
    if not may:
        with pytest.raises(NotEligibleError):
            approve(request, getattr(cast, actor))
        return
    decided = approve(request, getattr(cast, actor))
    assert decided.status == RequestStatus.APPROVED
    assert decided.on_behalf_of in ({getattr(cast, giver) for giver in givers} or {None})


def _lend_at(cast: Cast, giver: str, taker: str, days: tuple[int, int]) -> Delegation:
    begins, ends = days
    terms: dict[str, Any] = {
        "valid_from": clock.now() + timedelta(days=begins),
        "valid_until": clock.now() + timedelta(days=ends),
    }
    if giver == "eve":
        terms["team"] = cast.cards
    if giver == "olga":
        terms |= {"role": Role.DIRECTOR, "team": None, "department": cast.payments}
    return lend(cast, giver, taker, **terms)
