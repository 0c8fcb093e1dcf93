"""Models and tiers: what a call costs, what the person may use now, and where to ask for the rest."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from catalog.models import Tier
from core import clock
from core.templatetags.ui import TIMES
from tests.browsing import Page, Visitor
from tests.cast import Cast
from tests.factories import (
    AccessRequestFactory,
    AliasFactory,
    ApiKeyFactory,
    LlmModelFactory,
    PriceFactory,
    ProjectFactory,
    approved_grant,
    priced_model,
)


def open_page(cast: Cast, who: str = "ada") -> Page:
    """Open the page as somebody."""
    return Visitor(getattr(cast, who)).get("/models/")


def test_prices_are_per_million_tokens_against_the_cheapest_of_tier_1(cast: Cast) -> None:
    AliasFactory.create(name="quick", model=cast.small)

    page = open_page(cast)

    # Three tokens in for each token out: 3 x 0.15 + 0.60 = 1.05 against 3 x 2.50 + 10 = 17.50.
    assert page.rows("tier-1") == [
        ["small OpenAI, also called quick", "$0.15", "$0.15", "$0.60", f"1{TIMES}", "128,000", ""]
    ]
    assert page.rows("tier-2")[0] == ["large OpenAI", "$2.50", "$2.50", "$10.00", f"17{TIMES}", "128,000", ""]
    assert (
        "compares with small, the cheapest Tier 1 model, for three tokens in for each token out" in page.words
    )


def test_price_of_a_tenth_of_a_cent_is_written_out(cast: Cast) -> None:
    priced_model("nano", tier_number=1, input_usd="0.0375", output_usd="0.15")

    assert open_page(cast).rows("tier-1")[0][1:4] == ["$0.0375", "$0.0375", "$0.15"]


def test_model_without_a_price_is_refused_unless_it_is_declared_free(cast: Cast) -> None:
    LlmModelFactory.create(name="unpriced", tier=cast.tier2)
    LlmModelFactory.create(name="in-house", tier=cast.tier2, declared_free=True)
    PriceFactory.create(
        model=LlmModelFactory.create(name="coming", tier=cast.tier2),
        valid_from=clock.now() + timedelta(days=1),
    )

    rows = {row[0].split()[0]: row[1] for row in open_page(cast).rows("tier-2")}

    assert rows["unpriced"] == rows["coming"] == "Refused: no price in force"
    assert rows["in-house"] == "Free"
    assert rows["larger"] == "$3.00"


def test_tier_1_may_be_used_in_every_project_of_ones_team(cast: Cast) -> None:
    page = open_page(cast)

    assert "No approval needed" in page.words
    assert "You may use Tier 1 now in Ranking ." in page.words
    assert f"/?scope={cast.ranking.public_id}" in page.links


def test_who_approves_and_the_form_with_project_and_tier_filled_in(cast: Cast) -> None:
    ProjectFactory.create(code="query-help", name="Query help", team=cast.search)

    page = open_page(cast)

    assert "Approved by the team's lead" in page.words
    assert "Approved by the department's director" in page.words
    assert "Ask for Tier 2 for Query help , Ranking ." in page.words
    for link in ("project=query-help&tier=2", "project=ranking&tier=2", "project=ranking&tier=3"):
        assert f"/approvals/ask/?{link}" in page.links


def test_granted_tier_says_where_and_until_when(cast: Cast) -> None:
    key = ApiKeyFactory.create(project=cast.ranking, owner=cast.ada)
    until = clock.now() + timedelta(days=20)
    approved_grant(key, tier_number=2, expires_at=until)

    page = open_page(cast)

    assert f"now in Ranking (until {until:%-d %B %Y})." in page.words
    assert "/approvals/ask/?project=ranking&tier=2" not in page.links
    assert "/approvals/ask/?project=ranking&tier=3" in page.links


@pytest.mark.parametrize("ends", ["revoked key", "revoked grant", "expired grant", "later"])
def test_grant_that_is_not_in_force_gives_nothing(cast: Cast, ends: str) -> None:
    key = ApiKeyFactory.create(project=cast.ranking, owner=cast.ada)
    now = clock.now()
    times: dict[str, Any] = {
        "expired grant": {"starts_at": now - timedelta(days=9), "expires_at": now - timedelta(days=1)},
        "later": {"starts_at": now + timedelta(days=1), "expires_at": now + timedelta(days=9)},
    }
    grant = approved_grant(key, tier_number=2, **times.get(ends, {}))
    if ends == "revoked grant":
        grant.revoked_at, grant.revoked_reason = now, "A test."
        grant.save()
    if ends == "revoked key":
        key.revoked_at, key.revoked_by, key.revoked_reason = now, cast.ben, "A test."
        key.save()

    page = open_page(cast)

    assert "You have no Tier 2 access yet." in page.words
    assert "/approvals/ask/?project=ranking&tier=2" in page.links


def test_grant_of_a_colleague_is_not_ones_own(cast: Cast) -> None:
    approved_grant(ApiKeyFactory.create(project=cast.ranking, owner=cast.ben), tier_number=2)

    assert "You have no Tier 2 access yet." in open_page(cast).words


def test_who_works_in_no_team_is_offered_nothing_to_ask(cast: Cast) -> None:
    page = open_page(cast, "fay")

    assert page.status == 200
    assert not any("tier=" in link for link in page.links)


def test_tier_without_models_or_policy_says_so(cast: Cast) -> None:
    Tier.objects.create(number=4, name="Agents", description="Nothing yet.")

    page = open_page(cast)

    assert "Tier 4: Agents" in page.words
    assert "Cannot be asked for yet" in page.words
    assert "No models in this tier yet." in page.words
    assert not any("tier=4" in link for link in page.links)


@pytest.mark.parametrize("who", ["ada", "ben"])
def test_page_asks_as_often_for_fifty_models_as_for_five(cast: Cast, who: str) -> None:
    def grow(number: int) -> None:
        for _ in range(number):
            model = LlmModelFactory.create(tier=cast.tier2)
            AliasFactory.create(model=model)
            project = ProjectFactory.create(team=cast.search)
            approved_grant(ApiKeyFactory.create(project=project, owner=cast.ada), tier_number=2)

    grow(5)
    AccessRequestFactory.create(requester=cast.ada, project=cast.ranking, tier=cast.tier2)
    few = Visitor(getattr(cast, who)).queries("/models/")
    grow(45)
    many = Visitor(getattr(cast, who)).queries("/models/")

    assert len(few) == len(many) <= (8 if who == "ada" else 10)
