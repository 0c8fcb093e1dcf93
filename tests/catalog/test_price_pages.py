"""The Prices pages: what is in force, the history of a model, and a change that a second person answers."""

from __future__ import annotations

import csv
from datetime import timedelta
from decimal import Decimal
from io import StringIO

import pytest

from catalog.models import LlmModel, Price, PriceNotice, PriceProposal, PriceSource, ProposalState
from core import clock
from core.templatetags.ui import TIMES
from tests.browsing import Visitor
from tests.cast import Cast
from tests.catalog.test_price_review import DAY, enter, second
from tests.factories import LlmModelFactory, PriceFactory, priced_model
from tests.usage.books import book
from usage.selectors import organisation_today

LIST = "/prices/"
WHY = "A contract of November."


def models(cast: Cast, query: str = "") -> list[str]:
    return [row[0].split()[0] for row in Visitor(cast.fay).get(f"{LIST}{query}").rows("prices-h")]


def history(model: LlmModel) -> str:
    return f"{LIST}models/{model.public_id}/"


def test_every_model_stands_with_its_prices_sources_authors_and_what_is_planned(cast: Cast) -> None:
    enter(cast, "0.0000024", source=PriceSource.CONTRACT)
    starts = clock.now() + 10 * DAY
    enter(cast, "0.0000026", source=PriceSource.CONTRACT, valid_from=starts)

    rows = Visitor(cast.fay).get(LIST).rows("prices-h")

    large = next(row for row in rows if row[0].startswith("large"))
    assert large[1:5] == ["Tier 2", "$2.40", "—", "$10.00"]
    assert large[6] == "Contract, Manual override Ann Keller"
    assert f"Input token: $2.40 to $2.60 from {starts:%-d %B %Y}" in large[0]


def test_filters_narrow_the_list_and_the_csv_has_what_is_shown(cast: Cast) -> None:
    LlmModelFactory.create(name="other", provider="google", tier=cast.tier3)
    enter(cast, "0.0000024", source=PriceSource.CONTRACT)
    enter(cast, "0.0000026", source=PriceSource.CONTRACT, valid_from=clock.now() + DAY)

    assert models(cast) == ["small", "large", "larger", "frontier", "other"]
    assert models(cast, "?tier=2") == ["large", "larger"]
    assert models(cast, "?provider=google") == ["other"]
    assert models(cast, "?source=contract") == models(cast, "?change=coming") == ["large"]
    assert models(cast, "?source=nonsense") == []
    page = Visitor(cast.fay).client.get(f"{LIST}?tier=2&format=csv")
    assert [row["model"] for row in csv.DictReader(StringIO(page.content.decode()))] == ["large", "larger"]


def test_the_history_shows_what_is_in_force_beaten_planned_and_past(cast: Cast) -> None:
    enter(cast, "0.0000024", source=PriceSource.CONTRACT)
    enter(cast, "0.0000026", source=PriceSource.CONTRACT, valid_from=clock.now() + DAY)
    now = clock.now()
    PriceFactory.create(model=cast.large, unit="request", valid_from=now - 9 * DAY, valid_until=now - DAY)

    page = Visitor(cast.fay).get(history(cast.large))

    in_force = page.rows("now-h")
    assert [row[1].split()[0] for row in in_force if "Beaten" not in row[4]] == ["$2.40", "$10.00"]
    assert [row[1].split()[0] for row in in_force if "Beaten" in row[4]] == ["$2.50"]
    assert [row[4] for row in page.rows("planned-h")] == ["Contract Ann Keller"]
    assert len(page.rows("past-h")) == 1
    assert "Enter a price" not in page.words
    text = Visitor(cast.fay).client.get(f"{history(cast.large)}?format=csv").content.decode()
    assert len(text.splitlines()) == 1 + Price.objects.filter(model=cast.large).count()


def test_an_administrator_enters_a_price_by_the_million_and_a_second_one_approves(cast: Cast) -> None:
    entered = {
        "source": "contract", "unit": "output", "context": "standard", "tier_start": "0", "usd": "5",
        "starts_on": "", "ends_on": "", "reason": WHY,
    }  # fmt: skip
    answer = Visitor(cast.ann).client.post(f"{history(cast.large)}override/", entered)
    proposal = PriceProposal.objects.get()
    address = f"{LIST}proposals/{proposal.public_id}/"
    assert (answer.status_code, answer["Location"]) == (302, address)

    mine = Visitor(cast.ann).get(address)
    assert "You proposed it, so another administrator approves it." in mine.words
    assert mine.rows("moves-h")[0][1:4] == ["$10.00", "$5.00", "\N{MINUS SIGN}50.0%"]
    assert Visitor(cast.ann).client.post(address, {"approve": "1"}).status_code == 403
    answer = Visitor(second()).client.post(address, {"approve": "1"})

    assert (answer.status_code, answer["Location"]) == (302, LIST)
    row = Price.objects.get(proposal=proposal)
    assert (row.usd_per_unit, row.author, row.reason) == (Decimal("0.000005"), cast.ann, WHY)
    assert Visitor(second("Third")).client.post(address, {"approve": "1"}).status_code == 409


def test_what_is_wrong_is_said_at_its_field_with_the_entries_kept(cast: Cast) -> None:
    entered = {
        "source": "contract", "unit": "output", "context": "standard", "tier_start": "0", "usd": "5",
        "starts_on": "2026-11-20", "ends_on": "2026-11-01", "reason": WHY,
    }  # fmt: skip
    answer = Visitor(cast.ann).client.post(f"{history(cast.large)}override/", entered)

    text = answer.content.decode()
    assert answer.status_code == 422
    assert 'href="#id_ends_on"' in text
    assert 'value="2026-11-20"' in text
    assert not PriceProposal.objects.exists()


def test_rejecting_without_a_reason_is_asked_again(cast: Cast) -> None:
    proposal = enter(cast, "0.00001")
    address = f"{LIST}proposals/{proposal.public_id}/"

    assert Visitor(cast.ann).client.post(address, {"reject": "1", "reason": ""}).status_code == 422
    assert Visitor(cast.ann).client.post(address, {"reject": "1", "reason": "No."}).status_code == 302
    proposal.refresh_from_db()
    assert (proposal.state, proposal.answer) == (ProposalState.REJECTED, "No.")


def test_a_stale_proposal_is_refused_on_its_page(cast: Cast) -> None:
    proposal = enter(cast, "0.0000100", source=PriceSource.CONTRACT)
    enter(cast, "0.0000024")

    answer = Visitor(second()).client.post(f"{LIST}proposals/{proposal.public_id}/", {"approve": "1"})

    assert answer.status_code == 412
    assert "Prices changed since" in answer.content.decode()


def test_ending_an_override_leads_back_to_its_history(cast: Cast) -> None:
    price = Price.objects.get(proposal=enter(cast, "0.0000024", source=PriceSource.CONTRACT))

    answer = Visitor(cast.ann).client.post(
        f"{LIST}{price.public_id}/end/", {"ends_on": "", "reason": "It ran out."}
    )

    assert (answer.status_code, answer["Location"]) == (302, history(cast.large))
    price.refresh_from_db()
    assert price.valid_until is not None


def test_only_administrators_see_what_waits_and_what_to_look_at(cast: Cast) -> None:
    enter(cast, "0.00001")
    PriceNotice.objects.create(kind="differs", model=cast.small, detail="The list has another price.")

    assert len(Visitor(cast.ann).get(LIST).rows("waiting-h")) == 1
    assert "The list has another price." in Visitor(cast.ann).get(LIST).rows("notices-h")[0][1]
    assert "Waiting for a second person" not in Visitor(cast.fay).get(LIST).words


def test_a_known_change_is_told_with_what_it_adds(cast: Cast) -> None:
    book(
        cast.ranking, cast.small, organisation_today() - timedelta(days=1), "0.21", calls=10,
        input_tokens=1_000_000, output_tokens=100_000,
    )  # fmt: skip
    starts = clock.now() + 10 * DAY
    for unit, usd in (("input", "0.0000003"), ("output", "0.0000012")):
        PriceFactory.create(
            model=cast.small, unit=unit, usd_per_unit=Decimal(usd), valid_from=starts,
            source=PriceSource.CONTRACT,
        )  # fmt: skip

    for page in (LIST, "/models/"):
        words = Visitor(cast.ada).get(page).words
        assert f"small will cost 2{TIMES} as much from {starts:%-d %B %Y}: +$0.21" in words
        assert "Search +$0.21" in words


def test_models_are_compared_by_the_address_and_own_use_is_priced_on_each(cast: Cast) -> None:
    book(
        cast.ranking, cast.small, organisation_today() - timedelta(days=1), "0.21", calls=10,
        owner=cast.ada, input_tokens=1_000_000, output_tokens=100_000,
    )  # fmt: skip
    names = ("small", "large", "larger", "frontier")

    page = Visitor(cast.ada).get("/models/?" + "&".join(f"compare={name}" for name in (*names, "nothing")))

    table = {row[0]: row[1:] for row in page.rows("compare-h")}
    assert table["Tier"] == ["Tier 1", "Tier 2", "Tier 2", "Tier 3"]
    assert table["My 30 days"] == ["$0.21", "$3.50", "$4.50", "$22.50"]
    assert table["What it takes"][0] == "No approval needed"
    assert page.rows("tier-1")[0][5] == "$0.21 you use it"
    assert Visitor(cast.ada).get("/models/?compare=small").rows("compare-h") == []


def test_more_than_four_are_left_out_and_said(cast: Cast) -> None:
    priced_model("fifth", tier_number=3, input_usd="20", output_usd="80")
    names = ("small", "large", "larger", "frontier", "fifth")

    page = Visitor(cast.ada).get("/models/?" + "&".join(f"compare={name}" for name in names))

    assert "Four models fit side by side; 1 more was left out." in page.words
    assert len(page.rows("compare-h")[0]) == 5


@pytest.mark.parametrize("who", ["ada", "ann"])
def test_lists_ask_as_often_for_fifty_models_as_for_five(cast: Cast, who: str) -> None:
    def grow(number: int) -> None:
        for _ in range(number):
            model = LlmModelFactory.create(tier=cast.tier2)
            for unit in ("input", "output"):
                PriceFactory.create(model=model, unit=unit, author=cast.ann)
            PriceNotice.objects.create(kind="differs", model=model, detail="x")

    person = getattr(cast, who)
    grow(5)
    few = [len(Visitor(person).queries(page)) for page in (LIST, history(cast.large))]
    grow(45)
    many = [len(Visitor(person).queries(page)) for page in (LIST, history(cast.large))]

    assert few == many
    assert max(few) <= 8
