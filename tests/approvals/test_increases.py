"""Requests for more budget: who decides them, what an approval does, and every way it can be refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from approvals import services
from approvals.errors import (
    AlreadyAskedError,
    AlreadyDecidedError,
    ChangedSinceReadError,
    NobodyCanApproveError,
    NotEligibleError,
)
from approvals.models import BudgetRequest, RequestStatus, Verdict
from approvals.owners import who_can_decide
from approvals.services import expire_due
from budgets.errors import HeadroomError
from budgets.models import Budget, BudgetLimit, LimitKind, ScopeKind
from budgets.selectors import budget_rows
from budgets.services.limits import change_limit
from core import clock
from core.errors import GoneError, InvalidInputError, NotAllowedError
from core.models import AuditEvent, Outbox
from teams.models import Role, RoleAssignment
from tests import factories
from tests.api.world import open_budget
from tests.cast import Cast

WHY = "A launch in December."
Ask = Callable[..., BudgetRequest]


@pytest.fixture
def budgets(cast: Cast) -> dict[str, Budget]:
    """Open monthly budgets: the organisation 5,000, Product 3,000, Search 1,000, Ranking 500, another 300."""
    other = factories.ProjectFactory.create(name="Autocomplete", team=cast.search)
    places = {
        "organisation": (ScopeKind.ORGANISATION, 0, "5000"),
        "department": (ScopeKind.DEPARTMENT, cast.product.pk, "3000"),
        "team": (ScopeKind.TEAM, cast.search.pk, "1000"),
        "project": (ScopeKind.PROJECT, cast.ranking.pk, "500"),
        "other": (ScopeKind.PROJECT, other.pk, "300"),
    }
    made = {}
    for name, (kind, scope_id, amount) in places.items():
        if kind is ScopeKind.ORGANISATION:
            made[name] = Budget.objects.create(scope_kind=kind, scope_id=0, window="month", mode="hard")
            factories.BudgetLimitFactory.create(budget=made[name], amount_usd=amount)
        else:
            made[name] = open_budget(cast, kind, scope_id, amount)
    return made


@pytest.fixture
def ask(cast: Cast, budgets: dict[str, Budget]) -> Ask:
    """Return the way to ask: Ada, for 600 in Ranking, unless said otherwise."""

    def asked(**changes: Any) -> BudgetRequest:
        name = changes.pop("name", "project")
        wish: dict[str, Any] = {
            "actor": cast.ada,
            "budget": budgets[name],
            "limit_usd": Decimal(600),
            "reason": WHY,
        }
        return services.ask_increase(**wish | changes)

    return asked


def limit_of(budget: Budget) -> Decimal | None:
    return budget_rows(Budget.objects.filter(pk=budget.pk))[0].limit_usd


def deciders(request: BudgetRequest) -> list[str]:
    return [person.name.split()[0] for person in who_can_decide(request)]


def approve(request: BudgetRequest, actor: Any, **changes: Any) -> services.IncreaseOutcome:
    given: dict[str, Any] = {"verdict": Verdict.APPROVE, "seen_revision": 1} | changes
    outcome: services.IncreaseOutcome = services.decide(actor=actor, request=request, **given)
    return outcome


@pytest.mark.parametrize(
    ("who", "asked", "decided"),
    [
        ("ada", ("project", 600), ("lead", ["Ben"])),
        ("ada", ("project", 700), ("lead", ["Ben"])),
        ("ada", ("project", 701), ("director", ["Cleo"])),
        ("ben", ("project", 701), ("director", ["Cleo"])),
        ("ben", ("team", 1_200), ("director", ["Cleo"])),
        ("ada", ("team", 1_200), ("director", ["Cleo"])),
        ("audrey", ("department", 3_500), ("finance", ["Ann", "Fay"])),
        ("audrey", ("organisation", 6_000), ("finance", ["Ann", "Fay"])),
    ],
)
def test_owner_of_the_parent_decides(
    cast: Cast, ask: Ask, who: str, asked: tuple[str, int], decided: tuple[str, list[str]]
) -> None:
    name, limit_usd = asked
    role, can = decided
    request = ask(actor=getattr(cast, who), name=name, limit_usd=Decimal(limit_usd))
    assert (request.role, deciders(request)) == (role, can)
    told = Outbox.objects.filter(topic="budget_increase.waiting").values_list("recipient", flat=True)
    assert sorted(told) == [f"{person.lower()}@example.com" for person in can]


def test_approval_of_the_lead_sets_the_limit_as_himself_at_once(
    cast: Cast, budgets: dict[str, Budget], ask: Ask
) -> None:
    request = ask()

    approved = approve(request, cast.ben, comment="Go.").request

    limit = BudgetLimit.objects.latest("pk")
    assert limit_of(budgets["project"]) == 600
    assert (limit.kind, limit.actor, limit.reason) == (
        LimitKind.BASE,
        cast.ben,
        f"Asked for by Ada Moreno: {WHY}",
    )
    assert (approved.status, approved.decided_by, approved.limit) == (
        RequestStatus.APPROVED,
        cast.ben,
        limit,
    )
    actions = list(AuditEvent.objects.order_by("pk").values_list("action", "actor_id"))
    assert actions[-2:] == [
        ("budget.limit_changed", cast.ben.pk),
        ("budget_increase.approved", cast.ben.pk),
    ]
    assert Outbox.objects.get(topic="budget_increase.approved").recipient == cast.ada.email


def test_director_raises_above_the_leads_head_room(cast: Cast, budgets: dict[str, Budget], ask: Ask) -> None:
    approve(ask(actor=cast.ben, limit_usd=Decimal(900)), cast.cleo)
    assert limit_of(budgets["project"]) == 900


def test_temporary_ask_is_a_top_up_that_ends_by_itself(
    cast: Cast, budgets: dict[str, Budget], ask: Ask
) -> None:
    until = clock.now() + timedelta(days=3)
    request = ask(until=until)

    approve(request, cast.ben)

    row = BudgetLimit.objects.latest("pk")
    assert (row.kind, row.amount_usd, row.valid_until, row.actor) == (
        LimitKind.TOP_UP,
        100,
        until,
        cast.ben,
    )
    assert limit_of(budgets["project"]) == 600
    later = budget_rows(Budget.objects.filter(pk=budgets["project"].pk), at=until)[0]
    assert later.limit_usd == 500


def test_top_up_above_the_parent_is_refused_with_the_numbers(cast: Cast, ask: Ask) -> None:
    request = ask(limit_usd=Decimal(1_100), until=clock.now() + timedelta(days=3))
    with pytest.raises(HeadroomError, match=r"\$1,000\.00") as refusal:
        approve(request, cast.cleo)
    assert refusal.value.extra["highest_usd"].startswith("500")  # what may come on top of 500


def test_head_room_that_is_gone_by_then_decides_nothing(
    cast: Cast, budgets: dict[str, Budget], ask: Ask
) -> None:
    request = ask(limit_usd=Decimal(700))
    change_limit(actor=cast.ben, budget=budgets["other"], amount_usd=Decimal(350), reason="A test.")
    rows = (BudgetLimit.objects.count(), AuditEvent.objects.count(), Outbox.objects.count())

    with pytest.raises(HeadroomError, match=r"You may go up to \$650\.00") as refusal:
        approve(request, cast.ben)

    assert (refusal.value.status, refusal.value.field) == (422, "limit_usd")
    request.refresh_from_db()
    assert (request.status, request.decided_by) == (RequestStatus.PENDING, None)
    assert (BudgetLimit.objects.count(), AuditEvent.objects.count(), Outbox.objects.count()) == rows
    services.decide(
        actor=cast.ben, request=request, verdict=Verdict.DENY, seen_revision=1, comment="It is gone."
    )


def test_limit_that_was_raised_meanwhile_is_never_lowered(
    cast: Cast, budgets: dict[str, Budget], ask: Ask
) -> None:
    request = ask()
    change_limit(actor=cast.ben, budget=budgets["project"], amount_usd=Decimal(650), reason="A test.")
    with pytest.raises(InvalidInputError, match=r"more than the limit of \$650\.00"):
        approve(request, cast.ben)
    assert limit_of(budgets["project"]) == 650


def test_denial_needs_a_comment_and_changes_no_limit(
    cast: Cast, budgets: dict[str, Budget], ask: Ask
) -> None:
    request = ask()
    with pytest.raises(InvalidInputError, match="Enter why you deny it"):
        approve(request, cast.ben, verdict=Verdict.DENY, comment=" ")
    denied = approve(request, cast.ben, verdict=Verdict.DENY, comment="Use the small model.").request
    assert (denied.status, denied.comment) == (RequestStatus.DENIED, "Use the small model.")
    assert limit_of(budgets["project"]) == 500
    assert "Use the small model." in Outbox.objects.get(topic="budget_increase.denied").payload["body"]


@pytest.mark.parametrize("who", ["ada", "cleo", "dan", "eve", "fay", "audrey", "ann"])
def test_nobody_else_decides_and_all_learn_who_can(cast: Cast, ask: Ask, who: str) -> None:
    with pytest.raises(NotEligibleError, match="Ask Ben Okafor") as refusal:
        approve(ask(), getattr(cast, who))
    assert refusal.value.extra["who_can"] == ["Ben Okafor"]


def test_lead_does_not_decide_his_own(cast: Cast, ask: Ask) -> None:
    request = ask(actor=cast.ben, limit_usd=Decimal(900))
    with pytest.raises(NotEligibleError, match="nobody decides their own"):
        approve(request, cast.ben)


def test_only_directors_own_request_goes_to_an_administrator(
    cast: Cast, budgets: dict[str, Budget], ask: Ask
) -> None:
    request = ask(actor=cast.cleo, name="team", limit_usd=Decimal(4_000))
    assert deciders(request) == ["Ann"]


def test_who_lost_the_role_decides_no_more(cast: Cast, ask: Ask) -> None:
    request = ask()
    RoleAssignment.objects.filter(user=cast.ben).update(valid_until=clock.now())
    with pytest.raises(NotEligibleError):
        approve(request, cast.ben)


def test_nobody_to_decide_is_refused_when_asked(cast: Cast, ask: Ask) -> None:
    RoleAssignment.objects.filter(user=cast.cleo).update(valid_until=clock.now())
    with pytest.raises(NobodyCanApproveError, match="the director of Product"):
        ask(name="team", limit_usd=Decimal(1_200))
    assert not BudgetRequest.objects.exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"limit_usd": Decimal(500)}, r"more than the limit of \$500\.00"),
        ({"limit_usd": Decimal("NaN")}, "more than the limit"),
        ({"reason": "more"}, "Say what the money is for"),
        ({"until": clock.now() - timedelta(days=1)}, "still to come"),
        ({"until": clock.now() + timedelta(days=400)}, "within a year"),
    ],
)
def test_what_makes_no_sense_cannot_be_asked(ask: Ask, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        ask(**changes)


def test_what_one_may_set_himself_is_not_asked_for(cast: Cast, budgets: dict[str, Budget], ask: Ask) -> None:
    before = (BudgetLimit.objects.count(), AuditEvent.objects.count())
    with pytest.raises(InvalidInputError, match=r"You may set \$700\.00 yourself"):
        ask(actor=cast.ben, limit_usd=Decimal(700))
    assert (BudgetLimit.objects.count(), AuditEvent.objects.count()) == before
    assert limit_of(budgets["project"]) == 500


def test_budget_without_a_limit_needs_no_request(cast: Cast, budgets: dict[str, Budget], ask: Ask) -> None:
    change_limit(actor=cast.cleo, budget=budgets["other"], amount_usd=None, reason="A test.")
    with pytest.raises(InvalidInputError, match="has no limit of its own"):
        ask(name="other")


def test_second_request_names_the_first(cast: Cast, ask: Ask) -> None:
    first = ask()
    with pytest.raises(AlreadyAskedError, match="Ben Okafor can decide it") as refusal:
        ask(limit_usd=Decimal(650))
    assert refusal.value.extra["request"] == first.public_id
    services.withdraw_increase(actor=cast.ada, request=first)
    ask(limit_usd=Decimal(650))


def test_same_verdict_again_changes_nothing(cast: Cast, ask: Ask) -> None:
    request = ask()
    approve(request, cast.ben)
    rows = (BudgetLimit.objects.count(), AuditEvent.objects.count())

    again = approve(request, cast.ben)

    assert again.replayed
    assert (BudgetLimit.objects.count(), AuditEvent.objects.count()) == rows


@pytest.mark.parametrize("verdict", Verdict)
def test_what_is_decided_is_decided(cast: Cast, ask: Ask, verdict: Verdict) -> None:
    factories.RoleAssignmentFactory.create(user=cast.eve, role=Role.LEAD, team=cast.search)
    request = ask()
    approve(request, cast.ben)
    with pytest.raises(AlreadyDecidedError, match="Ben Okafor approved this request on") as refusal:
        approve(request, cast.eve, verdict=verdict, comment="Another view.")
    assert (refusal.value.status, refusal.value.extra["by"]) == (409, "Ben Okafor")


def test_changed_request_is_read_again_first(cast: Cast, ask: Ask) -> None:
    request = ask()
    services.amend_increase(
        actor=cast.ada, request=request, seen_revision=1, limit_usd=Decimal(800), reason=WHY
    )

    with pytest.raises(ChangedSinceReadError) as refusal:
        approve(request, cast.ben)

    request.refresh_from_db()
    assert (request.revision, request.role, deciders(request)) == (2, "director", ["Cleo"])
    assert refusal.value.extra["difference"] == {
        "limit_usd": {"before": "600.000000000000", "after": "800.000000000000"}
    }
    with pytest.raises(NotEligibleError):
        approve(request, cast.ben, seen_revision=2)
    approve(request, cast.cleo, seen_revision=2)


def test_only_the_requester_changes_and_withdraws(cast: Cast, ask: Ask) -> None:
    request = ask()
    with pytest.raises(NotAllowedError, match="Only Ada Moreno"):
        services.withdraw_increase(actor=cast.ben, request=request)
    with pytest.raises(NotAllowedError, match="Only Ada Moreno"):
        services.amend_increase(
            actor=cast.ben, request=request, seen_revision=1, limit_usd=Decimal(800), reason=WHY
        )
    services.withdraw_increase(actor=cast.ada, request=request)
    services.withdraw_increase(actor=cast.ada, request=request)
    with pytest.raises(AlreadyDecidedError, match="Ada Moreno withdrew"):
        approve(request, cast.ben)
    assert AuditEvent.objects.filter(action="budget_increase.withdrawn").count() == 1


def test_nobody_decides_past_the_time_and_the_clock_writes_it_down(
    cast: Cast, budgets: dict[str, Budget]
) -> None:
    late = BudgetRequest.objects.create(
        requester=cast.ada,
        budget=budgets["project"],
        project=cast.ranking,
        limit_usd=600,
        reason=WHY,
        role=Role.LEAD,
        created_at=clock.now() - timedelta(days=8),
        decide_by=clock.now() - timedelta(days=1),
    )
    assert late.state is RequestStatus.EXPIRED
    with pytest.raises(GoneError, match="so it expired"):
        approve(late, cast.ben)

    assert expire_due() == 1
    assert expire_due() == 0

    late.refresh_from_db()
    assert (late.status, late.decided_by) == (RequestStatus.EXPIRED, None)
    assert Outbox.objects.get(topic="budget_increase.expired").recipient == cast.ada.email
    assert AuditEvent.objects.filter(action="budget_increase.expired").count() == 1


def test_budget_of_a_key_is_raised_by_the_lead(cast: Cast, budgets: dict[str, Budget]) -> None:
    key = factories.ApiKeyFactory.create(project=cast.ranking, owner=cast.ada)
    budget = open_budget(cast, ScopeKind.KEY, key.pk, "50")

    request = services.ask_increase(actor=cast.ada, budget=budget, limit_usd=Decimal(80), reason=WHY)
    approve(request, cast.ben)

    assert request.project == cast.ranking
    assert limit_of(budget) == 80


def test_project_that_moved_is_decided_by_its_new_lead(cast: Cast, ask: Ask) -> None:
    request = ask()
    cast.ranking.team = cast.cards
    cast.ranking.save()
    assert deciders(BudgetRequest.objects.get(pk=request.pk)) == ["Eve"]
