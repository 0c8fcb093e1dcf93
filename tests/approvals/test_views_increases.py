"""Asking for more budget and deciding it in the browser: what each sees, and every answer of the form."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from approvals import services
from approvals.models import BudgetRequest, RequestStatus, Verdict
from budgets.models import Budget, ScopeKind
from budgets.services.limits import change_limit
from core import clock
from tests.api.world import open_budget
from tests.browsing import Page, Visitor
from tests.cast import Cast
from tests.factories import BudgetLimitFactory, ProjectFactory, RoleAssignmentFactory

WHY = "A launch in December."


@pytest.fixture
def team_budget(cast: Cast) -> Budget:
    """Give Search 1,000 a month."""
    return open_budget(cast, ScopeKind.TEAM, cast.search.pk, "1000")


@pytest.fixture
def budget(cast: Cast, team_budget: Budget) -> Budget:
    """Give Ranking 500 a month, and another project of the team 300."""
    other = ProjectFactory.create(name="Autocomplete", team=cast.search)
    open_budget(cast, ScopeKind.PROJECT, other.pk, "300")
    return open_budget(cast, ScopeKind.PROJECT, cast.ranking.pk, "500")


@pytest.fixture
def asked(cast: Cast, budget: Budget) -> BudgetRequest:
    """Return Ada's pending request for 600."""
    return services.ask_increase(actor=cast.ada, budget=budget, limit_usd=Decimal(600), reason=WHY)


def ask_page(budget: Budget) -> str:
    return f"/approvals/budgets/{budget.public_id}/ask/"


def page_of(asked: BudgetRequest, act: str = "") -> str:
    return f"/approvals/budgets/requests/{asked.public_id}/{act}"


def decide(
    cast: Cast, asked: BudgetRequest, who: str = "ben", *, verdict: str = "approve", **entered: str
) -> Page:
    sent = {"seen_revision": "1", "comment": "", "verdict": verdict, **entered}
    return Visitor(getattr(cast, who)).post(page_of(asked, "decide/"), **sent)


def test_engineer_asks_and_reads_who_decides(cast: Cast, budget: Budget) -> None:
    visitor = Visitor(cast.ada)
    assert "Limit now $500.00" in visitor.get(ask_page(budget)).words

    answer = visitor.post(ask_page(budget), limit_usd="600", reason=WHY)

    request = BudgetRequest.objects.get()
    assert (answer.status, answer.response["Location"]) == (302, page_of(request))
    assert (request.requester, request.limit_usd, request.until) == (cast.ada, 600, None)
    words = visitor.get(page_of(request)).words
    assert "The lead of Search decides" in words
    assert "Can decide: Ben Okafor" in words
    assert "nobody decides their own" in words
    assert "Withdraw the request" in words


def test_last_day_is_included_in_a_temporary_limit(cast: Cast, budget: Budget) -> None:
    day = (clock.now() + timedelta(days=10)).date()

    Visitor(cast.ada).post(ask_page(budget), limit_usd="600", until=day.isoformat(), reason=WHY)

    until = BudgetRequest.objects.get().until
    assert until is not None
    assert (until.date(), until.hour) == (day + timedelta(days=1), 0)


@pytest.mark.parametrize(
    ("entered", "says"),
    [
        ({"limit_usd": "400", "reason": WHY}, "Enter more than the limit of $500.00"),
        ({"limit_usd": "much", "reason": WHY}, "is not an amount"),
        ({"reason": WHY}, "Enter the limit that you need"),
        ({"limit_usd": "600"}, "Enter what the money is for"),
        ({"limit_usd": "600", "reason": "more"}, "Say what the money is for"),
        ({"limit_usd": "600", "reason": WHY, "until": "soon"}, "Enter the last day"),
        ({"limit_usd": "600", "reason": WHY, "until": "2020-01-01"}, "still to come"),
    ],
)
def test_what_is_wrong_is_said_beside_its_field(
    cast: Cast, budget: Budget, entered: dict[str, str], says: str
) -> None:
    page = Visitor(cast.ada).post(ask_page(budget), **entered)
    assert page.status == 422
    assert says in page.words
    assert not BudgetRequest.objects.exists()


def test_lead_within_his_head_room_is_sent_to_change_it_himself(cast: Cast, budget: Budget) -> None:
    page = Visitor(cast.ben).post(ask_page(budget), limit_usd="700", reason=WHY)
    assert page.status == 422
    assert "You may set $700.00 yourself" in page.words


def test_second_ask_leads_to_the_one_that_waits(cast: Cast, asked: BudgetRequest) -> None:
    answer = Visitor(cast.ada).post(ask_page(asked.budget), limit_usd="650", reason=WHY)
    assert (answer.status, answer.response["Location"]) == (302, page_of(asked))


def test_budget_of_others_does_not_exist(cast: Cast, asked: BudgetRequest) -> None:
    visitor = Visitor(cast.dan)
    assert visitor.get(ask_page(asked.budget)).status == 404
    assert visitor.get(page_of(asked)).status == 404
    assert decide(cast, asked, "dan").status == 404
    assert visitor.post(page_of(asked, "withdraw/")).status == 404


def test_decider_sees_limit_spend_and_what_is_left_of_the_parent(cast: Cast, asked: BudgetRequest) -> None:
    page = Visitor(cast.ben).get(page_of(asked))

    assert "Limit now $500.00" in page.words
    assert "Asked for $600.00 for good" in page.words
    assert "Spent and held $0.00 and $0.00" in page.words
    assert "Search team, above $1,000.00, of which $1,000.00 is not spent or held" in page.words
    assert "$100.00 would be left to allocate after an approval" in page.words
    assert WHY in page.words
    assert "Approve" in page.words


def test_decider_is_warned_when_the_parent_has_less(cast: Cast, budget: Budget) -> None:
    request = services.ask_increase(actor=cast.ben, budget=budget, limit_usd=Decimal(900), reason=WHY)
    page = Visitor(cast.cleo).get(page_of(request))
    assert "More than it has -$200.00 would be left to allocate" in page.words


def test_approval_is_in_force_and_said(cast: Cast, asked: BudgetRequest) -> None:
    visitor = Visitor(cast.ben)
    form = Visitor(cast.ben).get(page_of(asked)).response.content.decode()
    assert 'name="seen_revision" value="1"' in form

    answer = decide(cast, asked)

    assert (answer.status, answer.response["Location"]) == (302, page_of(asked))
    page = visitor.get(page_of(asked))
    assert "Limit now $600.00" in page.words
    assert "Ben Okafor approved it" in page.words
    assert "This request is over." in page.words


def test_opening_the_address_of_the_decision_decides_nothing(cast: Cast, asked: BudgetRequest) -> None:
    answer = Visitor(cast.ben).get(page_of(asked, "decide/"))
    assert answer.response["Location"] == page_of(asked)
    assert BudgetRequest.objects.get().status == RequestStatus.PENDING


@pytest.mark.parametrize("entered", [{"verdict": "deny"}, {"verdict": "perhaps"}, {"seen_revision": ""}])
def test_half_an_answer_comes_back(cast: Cast, asked: BudgetRequest, entered: dict[str, str]) -> None:
    page = decide(cast, asked, **entered)
    assert page.status == 422
    assert "There is a problem" in page.words
    assert BudgetRequest.objects.get().status == RequestStatus.PENDING


def test_head_room_that_is_gone_comes_back_with_the_numbers(cast: Cast, asked: BudgetRequest) -> None:
    other = Budget.objects.exclude(scope_id=cast.ranking.pk).get(scope_kind="project")
    change_limit(actor=cast.ben, budget=other, amount_usd=Decimal(450), reason="A test.")

    page = decide(cast, asked, comment="Go.")

    assert page.status == 422
    assert "You may go up to $550.00" in page.words
    assert "Go." in page.response.content.decode()
    assert BudgetRequest.objects.get().status == RequestStatus.PENDING


def test_who_came_second_learns_who_was_first(cast: Cast, asked: BudgetRequest) -> None:
    RoleAssignmentFactory.create(user=cast.eve, role="lead", team=cast.search)
    services.decide(actor=cast.eve, request=asked, verdict=Verdict.DENY, seen_revision=1, comment="No.")
    page = decide(cast, asked)
    assert page.status == 409
    assert "Already decided. Eve Lind denied this request" in page.words


def test_who_read_an_old_revision_reads_again(cast: Cast, asked: BudgetRequest) -> None:
    services.amend_increase(
        actor=cast.ada, request=asked, seen_revision=1, limit_usd=Decimal(650), reason=WHY
    )
    page = decide(cast, asked, comment="Go.")
    assert page.status == 412
    assert "Ada Moreno changed this request after you read it" in page.words
    assert 'name="seen_revision" value="2"' in page.response.content.decode()
    assert decide(cast, asked, seen_revision="2").status == 302


def test_late_answer_is_too_late(cast: Cast, budget: Budget) -> None:
    late = BudgetRequest.objects.create(
        requester=cast.ada, budget=budget, project=cast.ranking, limit_usd=600, reason=WHY, role="lead",
        created_at=clock.now() - timedelta(days=8), decide_by=clock.now() - timedelta(days=1),
    )  # fmt: skip
    page = decide(cast, late)
    assert page.status == 410
    assert "so it expired" in page.words


def test_who_may_not_decide_is_told_who_can(cast: Cast, asked: BudgetRequest) -> None:
    assert "It needs the lead of Search." in Visitor(cast.cleo).get(page_of(asked)).words
    page = decide(cast, asked, "cleo")
    assert page.status == 403
    assert "Ask Ben Okafor." in page.words


def test_requester_takes_it_back(cast: Cast, asked: BudgetRequest) -> None:
    visitor = Visitor(cast.ada)
    asks_first = visitor.get(page_of(asked, "withdraw/"))
    assert "Withdraw the request More budget for Ranking?" in asks_first.words
    assert BudgetRequest.objects.get().status == RequestStatus.PENDING
    assert visitor.post(page_of(asked, "withdraw/")).status == 302
    assert visitor.get(page_of(asked, "withdraw/")).response["Location"] == page_of(asked)
    assert "Ada Moreno withdrew it" in visitor.get(page_of(asked)).words
    assert BudgetRequest.objects.get().status == RequestStatus.WITHDRAWN
    assert Visitor(cast.ben).post(page_of(asked, "withdraw/")).status == 403


def test_it_waits_in_the_inbox_and_on_the_overview(cast: Cast, asked: BudgetRequest) -> None:
    for path in ("/approvals/", "/"):
        page = Visitor(cast.ben).get(path)
        assert "More budget for Ranking" in page.words
        assert "Ada Moreno, $600.00 a month" in page.words
        assert page_of(asked) in page.links
        assert "1 waiting for you" in page.words
    assert page_of(asked) not in Visitor(cast.cleo).get("/approvals/").links
    assert page_of(asked) in Visitor(cast.cleo).get("/approvals/", tab="team").links
    decide(cast, asked)
    assert page_of(asked) in Visitor(cast.ada).get("/approvals/", tab="decided").links
    assert "Waiting for me (0)" in Visitor(cast.ben).get("/approvals/").words


def test_finance_finds_what_waits_for_it(cast: Cast, budget: Budget) -> None:
    department = open_budget(cast, ScopeKind.DEPARTMENT, cast.product.pk, "3000")
    whole = Budget.objects.create(scope_kind=ScopeKind.ORGANISATION, scope_id=0, window="month", mode="hard")
    BudgetLimitFactory.create(budget=whole, amount_usd=5_000)
    request = services.ask_increase(
        actor=cast.audrey, budget=department, limit_usd=Decimal(4_000), reason=WHY
    )
    assert page_of(request) in Visitor(cast.fay).get("/approvals/").links
    assert "1 waiting for you" in Visitor(cast.fay).get("/budgets/").words
    assert decide(cast, request, "fay").status == 302
    page = Visitor(cast.fay).get(page_of(request))
    assert "Limit now $4,000.00" in page.words
    assert "Organisation, above $5,000.00" in page.words


def test_page_asks_the_same_with_5_budgets_and_with_50(cast: Cast, asked: BudgetRequest) -> None:
    counted = []
    for number in (5, 45):
        for _ in range(number):
            project = ProjectFactory.create(team=cast.search)
            open_budget(cast, ScopeKind.PROJECT, project.pk, "1")
        counted.append(len(Visitor(cast.ben).queries(page_of(asked))))
    assert counted[0] == counted[1] <= 14


def test_the_requester_changes_what_he_asked_for(cast: Cast, asked: BudgetRequest) -> None:
    ada, address = Visitor(cast.ada), f"{page_of(asked)}amend/"
    assert address in ada.get(page_of(asked)).links
    entered = {"limit_usd": "700", "until": "", "reason": "A larger launch in December.", "seen_revision": 1}
    assert ada.post(address, **entered).status == 302
    asked.refresh_from_db()
    assert (asked.revision, asked.limit_usd) == (2, 700)
    stale = ada.post(address, **entered)
    assert stale.status == 412
    assert "changed this request after you read it" in stale.words
    assert ada.post(address, **entered | {"limit_usd": "1", "seen_revision": 2}).status == 422
