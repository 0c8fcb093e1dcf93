"""What the page of a request for more budget offers besides yes and no, and what it takes to decide."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine

from approvals import services
from approvals.models import BudgetRequest, Verdict
from approvals.models.increases import SLA
from budgets.models import Budget, BudgetLimit, ScopeKind
from core import clock
from tests.api.world import open_budget
from tests.approvals.conftest import lend
from tests.browsing import Page, Visitor
from tests.cast import Cast
from tests.usage.books import book
from usage.selectors import organisation_today

WHY = "A launch in December."


@pytest.fixture
def budget(cast: Cast) -> Budget:
    """Give Search 1,000 a month, and Ranking 500."""
    open_budget(cast, ScopeKind.TEAM, cast.search.pk, "1000")
    return open_budget(cast, ScopeKind.PROJECT, cast.ranking.pk, "500")


@pytest.fixture
def asked(cast: Cast, budget: Budget) -> BudgetRequest:
    """Return Ada's pending request for 600."""
    return services.ask_increase(actor=cast.ada, budget=budget, limit_usd=Decimal(600), reason=WHY)


def page_of(asked: BudgetRequest, act: str = "") -> str:
    return f"/approvals/budgets/requests/{asked.public_id}/{act}"


def approve(cast: Cast, asked: BudgetRequest, **entered: str) -> Page:
    sent = {"seen_revision": "1", "comment": "", "verdict": "approve", **entered}
    return Visitor(cast.ben).post(page_of(asked, "decide/"), **sent)


def test_a_question_and_its_answer_stand_on_the_page(cast: Cast, asked: BudgetRequest) -> None:
    ben, ada, address = Visitor(cast.ben), Visitor(cast.ada), page_of(asked, "comment/")
    assert "Ask a question" in ben.get(page_of(asked)).words
    assert "About More budget for Ranking" in ben.get(address).words
    assert ben.post(address, text="Why so much?").response["Location"] == page_of(asked)
    assert ada.post(address, text="The launch.").status == 302
    words = ben.get(page_of(asked)).words
    assert words.index("Why so much?") < words.index("The launch.")
    assert ben.post(address, text=" ").status == 422
    approve(cast, asked)
    assert ada.post(address, text="Thanks.").status == 409
    assert address not in ada.get(page_of(asked)).links
    assert Visitor(cast.dan).get(address).status == 404


def test_the_page_tells_the_people_the_clock_and_the_past(cast: Cast, asked: BudgetRequest) -> None:
    services.decide(actor=cast.ben, request=asked, verdict=Verdict.DENY, seen_revision=1, comment="No.")
    again = services.ask_increase(
        actor=cast.ada, budget=asked.budget, limit_usd=Decimal(650), reason="A launch in January."
    )
    page = Visitor(cast.ben).get(page_of(again))
    assert "Team Search, led by Ben Okafor" in page.words
    assert "A decision should come by" in page.words
    assert "after that the director of Product may decide too" in page.words
    assert page_of(asked) in page.links
    assert "What else Ada Moreno asked for More budget for Ranking Denied" in page.words
    assert "Somebody else than Ada Moreno, who asks, decides it." in page.words
    assert "It fits what the budget of Search team has left." in page.words
    with time_machine.travel(again.sla_at):
        words = Visitor(cast.cleo).get(page_of(again)).words
    assert "The lead of Search or the director of Product decides" in words
    assert "after that finance or an administrator may decide too" in words
    with time_machine.travel(again.revised_at + 2 * SLA):
        words = Visitor(cast.fay).get(page_of(again)).words
    assert "director of Product or finance or an administrator decides" in words
    assert "after that" not in words


def test_the_page_tells_every_revision(cast: Cast, asked: BudgetRequest) -> None:
    for revision, limit_usd in ((1, 650), (2, 700)):
        services.amend_increase(
            actor=cast.ada, request=asked, seen_revision=revision, limit_usd=Decimal(limit_usd), reason=WHY
        )
    assert Visitor(cast.ben).get(page_of(asked)).words.count("Ada Moreno changed the limit") == 2


def test_a_stale_page_shows_the_difference(cast: Cast, asked: BudgetRequest) -> None:
    until = clock.now() + timedelta(days=9)
    services.amend_increase(
        actor=cast.ada, request=asked, seen_revision=1, limit_usd=Decimal(650), reason=WHY, until=until
    )
    page = approve(cast, asked)
    assert page.status == 412
    assert "Limit: $600.00, now $650.00" in page.words
    assert f"Until: for good, now {until:%-d %B %Y}" in page.words


def test_less_is_given_on_the_page(cast: Cast, asked: BudgetRequest) -> None:
    assert 'name="limit_usd" value="600"' in Visitor(cast.ben).get(page_of(asked)).response.content.decode()
    assert 'name="until"' not in Visitor(cast.ben).get(page_of(asked)).response.content.decode()
    page = approve(cast, asked, limit_usd="700")
    assert page.status == 422
    assert "up to $600.00, which was asked for" in page.words
    assert approve(cast, asked, limit_usd="550").status == 302
    words = Visitor(cast.ada).get(page_of(asked)).words
    assert "Limit now $550.00" in words
    assert "Ben Okafor approved it up to $550.00" in words


@pytest.mark.parametrize("days", [0, 3])
def test_a_temporary_limit_keeps_its_moment_unless_another_day_is_entered(
    cast: Cast, budget: Budget, days: int
) -> None:
    until = clock.now() + timedelta(days=9)
    asked = services.ask_increase(
        actor=cast.ada, budget=budget, limit_usd=Decimal(600), reason=WHY, until=until
    )
    last = (until - timedelta(days=1)).date()
    assert f'value="{last}"' in Visitor(cast.ben).get(page_of(asked)).response.content.decode()
    entered = last - timedelta(days=days)
    assert approve(cast, asked, limit_usd="600", until=entered.isoformat()).status == 302
    given = BudgetLimit.objects.latest("pk").valid_until
    assert given is not None
    assert given == until if not days else given.date() == entered + timedelta(days=1)


def test_whoever_decides_himself_is_led_to_delegations(cast: Cast, asked: BudgetRequest) -> None:
    lend(cast, "ben", "dan")
    assert "Let somebody else decide for you" in Visitor(cast.ben).get(page_of(asked)).words
    assert "Let somebody else decide for you" not in Visitor(cast.dan).get(page_of(asked)).words


def test_cheaper_models_stand_against_the_one_that_costs_most(cast: Cast, asked: BudgetRequest) -> None:
    page = Visitor(cast.ben).get(page_of(asked))
    assert "What other models would cost for the same use" not in page.words
    tokens: dict[str, Any] = {"calls": 100, "input_tokens": 5_000_000, "output_tokens": 500_000}
    book(cast.ranking, cast.large, organisation_today() - timedelta(days=1), "17.5", **tokens)
    words = Visitor(cast.ben).get(page_of(asked)).words
    assert "What other models would cost for the same use" in words
    # 5M in at $2.50 and 500k out at $10 a million, against 5 * 0.15 + 0.5 * 0.60
    assert "large Tier 2 $17.50 used most" in words
    assert "small Tier 1 $1.05 17\N{MULTIPLICATION SIGN} cheaper" in words
