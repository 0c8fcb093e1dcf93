"""What happens to a request for more budget while it waits: talk, reminders, a move; and what it gives."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine

from approvals import services
from approvals.errors import AlreadyDecidedError, ChangedSinceReadError, NotEligibleError
from approvals.models import BudgetComment, BudgetRequest, RequestStatus, Verdict
from approvals.owners import who_can_decide
from approvals.services import amend_increase, comment_increase, decide, follow_all, remind_due
from budgets.errors import HeadroomError
from budgets.models import Budget, BudgetLimit, ScopeKind
from budgets.selectors import budget_rows
from budgets.services.limits import change_limit
from budgets.services.rules import close_budget
from core import clock
from core.errors import InvalidInputError
from core.models import AuditEvent, NewsKind, Outbox
from core.routing import kind_of
from teams.models import Role, RoleAssignment
from teams.services.changes import archive_project, move_project
from tests import factories
from tests.api.world import open_budget
from tests.approvals.by_hand import execute, refused_as_append_only
from tests.approvals.conftest import lend
from tests.cast import Cast

WHY = "A launch in December."


@pytest.fixture
def budgets(cast: Cast) -> dict[str, Budget]:
    """Open monthly budgets: Product 3,000, Search 1,000, Ranking 500."""
    return {
        "department": open_budget(cast, ScopeKind.DEPARTMENT, cast.product.pk, "3000"),
        "team": open_budget(cast, ScopeKind.TEAM, cast.search.pk, "1000"),
        "project": open_budget(cast, ScopeKind.PROJECT, cast.ranking.pk, "500"),
    }


def asks(cast: Cast, budgets: dict[str, Budget], **changes: Any) -> BudgetRequest:
    budget = budgets[changes.pop("name", "project")]
    wish: dict[str, Any] = {"actor": cast.ada, "budget": budget, "limit_usd": Decimal(600), "reason": WHY}
    return services.ask_increase(**wish | changes)


@pytest.fixture
def asked(cast: Cast, budgets: dict[str, Budget]) -> BudgetRequest:
    """Return Ada's pending request for 600 in Ranking, which Ben decides."""
    return asks(cast, budgets)


def approve(request: BudgetRequest, actor: Any, **given: Any) -> BudgetRequest:
    terms: dict[str, Any] = {"verdict": Verdict.APPROVE, "seen_revision": 1} | given
    decided: BudgetRequest = decide(actor=actor, request=request, **terms).request
    return decided


def told(topic: str) -> set[str]:
    return set(Outbox.objects.filter(topic=topic).values_list("recipient", flat=True))


def deciders(request: BudgetRequest) -> list[str]:
    return sorted(person.name for person in who_can_decide(BudgetRequest.objects.get(pk=request.pk)))


def limit_of(budget: Budget) -> Decimal | None:
    return budget_rows(Budget.objects.filter(pk=budget.pk))[0].limit_usd


# --------------------------------------------------------------------- reminders, the next owner


def test_whoever_decides_is_reminded_at_half_of_the_time_and_once(asked: BudgetRequest) -> None:
    assert remind_due() == 0
    with time_machine.travel(asked.revised_at + timedelta(hours=24), tick=False):
        assert (remind_due(), remind_due()) == (1, 0)
    assert told("budget_increase.reminder") == {"ben@example.com"}
    assert AuditEvent.objects.get(action="budget_increase.reminded").after["role"] == ""
    assert kind_of("budget_increase.reminder") == NewsKind.WAITING


def test_the_next_owner_decides_too_when_the_time_is_over(cast: Cast, asked: BudgetRequest) -> None:
    with pytest.raises(NotEligibleError):
        approve(asked, cast.cleo)
    with time_machine.travel(asked.sla_at, tick=False):
        assert remind_due() == 1
        assert told("budget_increase.reminder") == {"ben@example.com", "cleo@example.com"}
        with pytest.raises(NotEligibleError, match=r"needs the lead of Search or the director of Product"):
            approve(asked, cast.fay)
        assert approve(asked, cast.cleo).decided_by == cast.cleo
    assert AuditEvent.objects.get(action="budget_increase.escalated").after["role"] == Role.DIRECTOR


def test_the_next_owner_of_a_directors_is_finance_and_the_clock_alone_says_so(
    cast: Cast, budgets: dict[str, Budget]
) -> None:
    request = asks(cast, budgets, name="team", limit_usd=Decimal(1_200))
    assert deciders(request) == ["Cleo Hart"]
    with time_machine.travel(request.sla_at, tick=False):
        assert deciders(request) == ["Ann Keller", "Cleo Hart", "Fay Tanaka"]
        approve(request, cast.fay)
    assert limit_of(budgets["team"]) == 1_200


def test_each_owner_in_turn_has_a_clock_of_his_own(cast: Cast, asked: BudgetRequest) -> None:
    """The lead has two days, then the director two beside him, then finance; each turn has two reminders."""
    told_at: list[tuple[int, str, list[str]]] = []
    with time_machine.travel(asked.revised_at, tick=False) as time:
        for hours in range(0, 7 * 24, 12):
            time.move_to(asked.revised_at + timedelta(hours=hours))
            Outbox.objects.filter(topic="budget_increase.reminder").update(topic="seen")
            if remind_due():
                event = AuditEvent.objects.filter(action__startswith="budget_increase.").latest("pk")
                told_at.append((hours, str(event.after["role"]), sorted(told("budget_increase.reminder"))))
    lead, both = ["ben@example.com"], ["ben@example.com", "cleo@example.com"]
    everybody = ["ann@example.com", *both, "fay@example.com"]
    assert told_at == [
        (24, "", lead),
        (48, Role.DIRECTOR, both),
        (72, "", both),
        (96, Role.FINANCE, everybody),
        (120, "", everybody),
        (132, "", everybody),
    ]


def test_finance_decides_when_the_director_let_his_turn_pass_and_not_before(
    cast: Cast, asked: BudgetRequest
) -> None:
    with time_machine.travel(asked.revised_at + timedelta(hours=95), tick=False):
        assert deciders(asked) == ["Ben Okafor", "Cleo Hart"]
    with time_machine.travel(asked.revised_at + timedelta(hours=96), tick=False):
        assert approve(asked, cast.fay).decided_by == cast.fay


def test_nobody_comes_after_finance(cast: Cast, budgets: dict[str, Budget]) -> None:
    request = asks(cast, budgets, actor=cast.audrey, name="department", limit_usd=Decimal(4_000))
    with time_machine.travel(request.sla_at, tick=False):
        remind_due()
        assert deciders(request) == ["Ann Keller", "Fay Tanaka"]
    assert AuditEvent.objects.get(action="budget_increase.escalated").after["role"] == ""


def test_a_delegate_of_the_next_owner_has_what_that_role_may(cast: Cast, budgets: dict[str, Budget]) -> None:
    other = factories.ProjectFactory.create(team=cast.search)
    beside = open_budget(cast, ScopeKind.PROJECT, other.pk, "300")
    request = asks(cast, budgets, limit_usd=Decimal(700))
    change_limit(actor=cast.cleo, budget=beside, amount_usd=Decimal(450), reason="More.")
    lend(cast, "cleo", "dan")
    lend(cast, "ben", "eve")
    with time_machine.travel(request.sla_at, tick=False):
        with pytest.raises(HeadroomError):
            approve(request, cast.eve)
        assert approve(request, cast.dan).on_behalf_of == cast.cleo


def test_a_delegate_has_the_widest_role_that_was_lent_and_no_other_of_his_givers(
    cast: Cast, budgets: dict[str, Budget]
) -> None:
    factories.RoleAssignmentFactory.create(user=cast.cleo, role=Role.LEAD, team=cast.search)
    other = factories.ProjectFactory.create(team=cast.search)
    beside = open_budget(cast, ScopeKind.PROJECT, other.pk, "300")
    request = asks(cast, budgets, limit_usd=Decimal(700))
    change_limit(actor=cast.cleo, budget=beside, amount_usd=Decimal(450), reason="More.")
    lend(cast, "cleo", "dan", role=Role.LEAD)
    with time_machine.travel(request.sla_at, tick=False):
        with pytest.raises(HeadroomError):
            approve(request, cast.dan)
        lend(cast, "cleo", "dan")
        assert approve(request, cast.dan).on_behalf_of == cast.cleo


def test_a_change_starts_the_clock_anew(cast: Cast, asked: BudgetRequest) -> None:
    with time_machine.travel(asked.sla_at, tick=False):
        remind_due()
        changed = amend_increase(
            actor=cast.ada, request=asked, seen_revision=1, limit_usd=Decimal(650), reason=WHY
        )
        assert (changed.reminders, changed.turn.index) == (0, 0)
        with pytest.raises(NotEligibleError):
            approve(asked, cast.cleo, seen_revision=2)


def test_a_change_of_nothing_is_no_revision(cast: Cast, asked: BudgetRequest) -> None:
    same = amend_increase(actor=cast.ada, request=asked, seen_revision=1, limit_usd=Decimal(600), reason=WHY)
    assert same.revision == 1
    assert not AuditEvent.objects.filter(action="budget_increase.amended").exists()


# ------------------------------------------------------------------------------ moved and closed


def test_a_project_that_moves_starts_its_request_again_with_its_new_lead(
    cast: Cast, asked: BudgetRequest
) -> None:
    move_project(actor=cast.ann, project=cast.ranking, team=cast.cards, reason="It is theirs.")
    factories.RoleAssignmentFactory.create(user=cast.ben, role=Role.LEAD, team=cast.cards)

    with pytest.raises(ChangedSinceReadError, match="Purser changed this request") as refusal:
        approve(asked, cast.ben)

    assert refusal.value.extra["difference"] == {"team": {"before": "search", "after": "cards"}}
    asked.refresh_from_db()
    assert (asked.revision, asked.revised_in) == (2, cast.cards)
    assert deciders(asked) == ["Ben Okafor", "Eve Lind"]
    assert told("budget_increase.waiting") == {"ben@example.com", "eve@example.com"}
    assert follow_all(most=10) == 0


def test_the_clock_follows_what_nobody_looks_at(cast: Cast, asked: BudgetRequest) -> None:
    move_project(actor=cast.ann, project=cast.ranking, team=cast.cards, reason="It is theirs.")
    assert (follow_all(most=10), follow_all(most=10)) == (1, 0)
    event = AuditEvent.objects.get(action="budget_increase.restarted")
    assert event.reason == "Ranking belongs to team Cards now."


def test_a_request_that_nobody_could_decide_where_it_moved_is_closed(
    cast: Cast, asked: BudgetRequest
) -> None:
    RoleAssignment.objects.filter(user__in=(cast.eve, cast.olga)).update(valid_until=clock.now())
    cast.ranking.team = cast.cards
    cast.ranking.save()
    assert follow_all(most=10) == 1
    asked.refresh_from_db()
    assert asked.status == RequestStatus.CLOSED
    assert "the director of Payments" in asked.comment


def test_what_is_asked_for_a_closed_project_or_budget_is_closed_before_anybody_decides(
    cast: Cast, budgets: dict[str, Budget], asked: BudgetRequest
) -> None:
    of_team = asks(cast, budgets, name="team", limit_usd=Decimal(1_200))
    archive_project(actor=cast.ann, project=cast.ranking, reason="It is over.")
    with pytest.raises(AlreadyDecidedError, match="Purser closed this request"):
        approve(asked, cast.ben)
    close_budget(actor=cast.cleo, budget=budgets["team"], reason="It is over.")
    assert follow_all(most=10) == 1
    for request, why in ((asked, "Ranking is closed."), (of_team, "The budget is closed.")):
        request.refresh_from_db()
        assert (request.status, request.comment) == (RequestStatus.CLOSED, why)
    assert told("budget_increase.closed") == {"ada@example.com"}


# ------------------------------------------------------------------------------------------ talk


def test_a_question_reaches_the_requester_and_an_answer_who_asked_and_who_decides(
    cast: Cast, asked: BudgetRequest
) -> None:
    before = BudgetRequest.objects.filter(pk=asked.pk).values().get()
    comment_increase(actor=cast.cleo, request=asked, text="Why so much?")
    assert told("budget_increase.comment") == {"ada@example.com"}
    comment_increase(actor=cast.ada, request=asked, text=" The launch. ")
    assert told("budget_increase.comment") == {"ada@example.com", "ben@example.com", "cleo@example.com"}
    assert BudgetRequest.objects.filter(pk=asked.pk).values().get() == before
    assert [said.text for said in asked.comments.all()] == ["Why so much?", "The launch."]


@pytest.mark.parametrize("text", [" ", "x" * 2_001])
def test_a_comment_says_something(cast: Cast, asked: BudgetRequest, text: str) -> None:
    with pytest.raises(InvalidInputError, match="Enter what you want to say"):
        comment_increase(actor=cast.ben, request=asked, text=text)


def test_nobody_talks_about_what_is_over_and_what_was_said_stays(cast: Cast, asked: BudgetRequest) -> None:
    comment_increase(actor=cast.ben, request=asked, text="Why?")
    services.withdraw_increase(actor=cast.ada, request=asked)
    with pytest.raises(AlreadyDecidedError):
        comment_increase(actor=cast.ben, request=asked, text="Why?")
    with refused_as_append_only():
        BudgetComment.objects.update(text="Yes.")
    with refused_as_append_only():
        execute("DELETE FROM approvals_budgetcomment")


# ---------------------------------------------------------------------------- less than was asked


def test_an_approver_gives_less_than_was_asked_for(
    cast: Cast, budgets: dict[str, Budget], asked: BudgetRequest
) -> None:
    decided = approve(asked, cast.ben, limit_usd=Decimal(550), comment="Enough.")
    assert (decided.status, decided.limit_usd, limit_of(budgets["project"])) == ("approved", 600, 550)
    assert AuditEvent.objects.get(action="budget_increase.approved").after["amount_usd"].startswith("550.")
    body = Outbox.objects.get(topic="budget_increase.approved").payload["body"]
    assert body.startswith("Ben Okafor approved it up to $550.00: Enough.")


@pytest.mark.parametrize(
    ("given", "says", "field"),
    [
        ({"limit_usd": Decimal("600.01")}, r"up to \$600\.00, which was asked for", "limit_usd"),
        ({"limit_usd": Decimal("NaN")}, "which was asked for", "limit_usd"),
        ({"limit_usd": Decimal(500)}, r"more than the limit of \$500\.00", "limit_usd"),
        ({"until": 1}, "for good", "until"),
    ],
)
def test_an_approver_gives_no_more_and_something(
    cast: Cast, asked: BudgetRequest, given: dict[str, Any], says: str, field: str
) -> None:
    if "until" in given:
        given = {"until": clock.now() + timedelta(days=given["until"])}
    with pytest.raises(InvalidInputError, match=says) as refusal:
        approve(asked, cast.ben, **given)
    assert refusal.value.field == field
    asked.refresh_from_db()
    assert asked.status == RequestStatus.PENDING


def test_an_approver_gives_a_shorter_time_and_never_a_longer_one(
    cast: Cast, budgets: dict[str, Budget]
) -> None:
    until = clock.now() + timedelta(days=9)
    request = asks(cast, budgets, until=until)
    for wrong in (until + timedelta(seconds=1), clock.now()):
        with pytest.raises(InvalidInputError, match="no later than the one that was asked for"):
            approve(request, cast.ben, until=wrong)
    sooner = clock.now() + timedelta(days=2)
    approve(request, cast.ben, until=sooner, limit_usd=Decimal(580))
    given = BudgetLimit.objects.latest("pk")
    assert (given.kind, given.amount_usd, given.valid_until) == ("top_up", 80, sooner)
    body = Outbox.objects.get(topic="budget_increase.approved").payload["body"]
    assert "with $80.00 on top until" in body
