"""The two panes: who sees which requests, what a case says, and what it asks the database."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine

from approvals.models import AccessRequest, Decision, Verdict
from approvals.services import amend, decide, withdraw
from budgets.models import Mode, ScopeKind, Window
from budgets.services.limits import open_budget
from core.models import AuditEvent
from tests import factories
from tests.approvals.conftest import REASON, Ask, lend
from tests.browsing import Visitor
from tests.cast import Cast
from tests.usage.books import book
from usage.selectors import organisation_today

LIST = "/approvals/"
ALTERNATIVES = "alternatives-h"
APPROVE = 'value="approve"'


def path_of(request: AccessRequest) -> str:
    return f"{LIST}{request.public_id}/"


def spend(cast: Cast) -> None:
    """Let Ranking spend 3 dollars a day for 14 days on the small model, on 5M tokens in and 500k out."""
    today = organisation_today()
    tokens: dict[str, Any] = {"calls": 100, "input_tokens": 5_000_000, "output_tokens": 500_000}
    for back in range(1, 15):
        book(cast.ranking, cast.small, today - timedelta(days=back), "3", **tokens)


def limit(cast: Cast, amount: str, kind: ScopeKind = ScopeKind.PROJECT) -> None:
    open_budget(
        actor=None,
        scope_kind=kind,
        scope_id=cast.ranking.pk if kind is ScopeKind.PROJECT else cast.search.pk,
        department=cast.product,
        window=Window.MONTH,
        mode=Mode.HARD,
        amount_usd=Decimal(amount),
        reason="A test.",
    )


def test_request_waits_in_the_inbox_of_the_lead(cast: Cast, asked: AccessRequest) -> None:
    page = Visitor(cast.ben).get(LIST)

    assert "Waiting for me (1) Open (1)" in page.words
    assert "Tier 2 for Ranking just now Ada Moreno, $420.00 a month Due in 6 days" in page.words
    assert "Approvals , 1 waiting for you" in page.words
    assert path_of(asked) in page.links


@pytest.mark.parametrize("who", ["ada", "cleo", "fay", "audrey", "ann"])
def test_whoever_cannot_decide_finds_it_under_open(cast: Cast, asked: AccessRequest, who: str) -> None:
    visitor = Visitor(getattr(cast, who))

    waiting, open_ones = visitor.get(LIST), visitor.get(LIST, tab="team")
    assert "Nothing waits for you" in waiting.words
    assert path_of(asked) not in waiting.links
    assert f"{path_of(asked)}?tab=team" in open_ones.links


@pytest.mark.parametrize("who", ["dan", "eve", "olga"])
def test_request_of_another_team_does_not_exist(cast: Cast, asked: AccessRequest, who: str) -> None:
    visitor = Visitor(getattr(cast, who))

    for tab in ("", "team", "decided"):
        assert "Ranking" not in visitor.get(LIST, tab=tab).words
    for act in ("", "decide/", "withdraw/"):
        for page in (
            visitor.get(path_of(asked) + act),
            visitor.post(path_of(asked) + act, verdict="approve"),
        ):
            assert page.status in {404, 405}
            assert "Ada" not in page.words
    assert not Decision.objects.exists()


@pytest.mark.parametrize("public_id", ["req_unknown", "req_%00", "..", "req_' OR 1=1", "ask%0a"])
def test_address_of_no_request_is_a_404(cast: Cast, public_id: str) -> None:
    assert Visitor(cast.ben).get(f"{LIST}{public_id}/").status == 404


def test_decided_requests_stay_with_what_became_of_them(cast: Cast, asked: AccessRequest, ask: Ask) -> None:
    decide(actor=cast.ben, request=asked, verdict=Verdict.DENY, seen_revision=1, comment="Use the small one.")
    other = ask(tier=cast.tier3, model_names=[], duration_days=20)
    withdraw(actor=cast.ada, request=other)

    page = Visitor(cast.cleo).get(LIST, tab="decided")

    assert "Ada Moreno, $420.00 a month Denied" in page.words
    assert "Ada Moreno, $420.00 a month Withdrawn" in page.words
    assert page.links.index(f"{path_of(other)}?tab=decided") < page.links.index(
        f"{path_of(asked)}?tab=decided"
    )


def test_request_that_nobody_decided_in_time_is_over(cast: Cast, asked: AccessRequest) -> None:
    with time_machine.travel(asked.decide_by + timedelta(seconds=1)):
        visitor = Visitor(cast.ben)
        assert "Nothing waits for you" in visitor.get(LIST).words
        assert "Expired" in visitor.get(LIST, tab="decided").words
        page = visitor.get(path_of(asked))
        assert "This request is over: expired." in page.words
        assert APPROVE not in page.response.content.decode()


def test_short_time_left_is_said_in_hours(cast: Cast, asked: AccessRequest) -> None:
    with time_machine.travel(asked.decide_by - timedelta(hours=3, minutes=5)):
        assert "Due in 3 hours" in Visitor(cast.ben).get(LIST).words
    with time_machine.travel(asked.decide_by - timedelta(minutes=5)):
        assert "Due in less than an hour" in Visitor(cast.ben).get(LIST).words


def test_case_says_what_it_costs_and_what_would_be_cheaper(cast: Cast, asked: AccessRequest) -> None:
    spend(cast)
    limit(cast, "600")

    page = Visitor(cast.ben).get(path_of(asked))

    assert "Expected cost $420.00 a month" in page.words
    assert "Spent so far $42.00 in the last 30 days" in page.words  # 14 days of 3 dollars
    # 70M in at $2.50 and 7M out at $10 a million
    assert (
        "What Ranking used in the last 30 days (70M tokens in, 7.0M out) would cost $245.00 on large."
        in page.words
    )
    # the small model costs 70 * 0.15 + 7 * 0.60 = 14.70 for the same: 16.67 times less
    assert page.rows(ALTERNATIVES) == [
        ["large", "Tier 2", "$420.00", "asked for"],
        ["small", "Tier 1", "$25.20", "17\N{MULTIPLICATION SIGN} cheaper"],
    ]
    assert "large $2.50 in, $10.00 out per 1M tokens" in page.words


def test_case_sets_the_request_against_the_budgets(cast: Cast, asked: AccessRequest) -> None:
    spend(cast)
    limit(cast, "415")
    limit(cast, "9000", ScopeKind.TEAM)

    page = Visitor(cast.ben).get(path_of(asked))

    assert "Ranking budget (each month) $0.00 spent of $415.00, $415.00 left" in page.words
    assert re.search(
        r"Forecast \$[\d.,]+ without this, \$[\d.,]+ with it \([\d.,]+% of the budget\)\.", page.words
    )
    assert "With this, the Ranking budget (each month) is forecast to pass its limit." in page.words
    assert "With this, the Search team budget (each month) is forecast to hold." in page.words


def test_case_without_any_use_compares_at_a_usual_mix(cast: Cast, asked: AccessRequest) -> None:
    page = Visitor(cast.ben).get(path_of(asked))

    assert "Ranking used nothing in the last 30 days, so this is the requester's own figure" in page.words
    # three in for one out: 3 * 2.50 + 10 = 17.50 against 3 * 0.15 + 0.60 = 1.05
    assert page.rows(ALTERNATIVES)[1] == ["small", "Tier 1", "$25.20", "17\N{MULTIPLICATION SIGN} cheaper"]


def test_case_shows_the_rules_the_people_and_the_clock(cast: Cast, asked: AccessRequest) -> None:
    words = Visitor(cast.ben).get(path_of(asked)).words

    assert REASON in words
    assert "Ranking, Search team, led by Ben Okafor" in words
    assert "The lead of Search decides Can decide: Ben Okafor" in words
    assert f"Decide by {asked.decide_by:%-d %B %Y, %H:%M} UTC" in words
    assert f"A decision should come by {asked.sla_at:%-d %B %Y, %H:%M} UTC" in words
    assert "after that the director of Product may decide too" in words
    assert "Let somebody else decide for you" in words
    assert "You are the lead of Search and did not make this request." in words
    assert "60 days of the 90 that Tier 2 allows." in words
    assert "History Ada Moreno asked for Tier 2" in words


def test_case_that_waited_says_who_may_decide_too(cast: Cast, asked: AccessRequest) -> None:
    with time_machine.travel(asked.sla_at):
        words = Visitor(cast.cleo).get(path_of(asked)).words
    assert "it waited long, so the director of Product may decide too" in words
    assert "after that" not in words
    assert "Approve" in words


def test_case_says_for_whom_a_delegate_decides(cast: Cast, asked: AccessRequest) -> None:
    lend(cast, "ben", "dan")
    words = Visitor(cast.dan).get(path_of(asked)).words
    assert "You decide for Ben Okafor, in your own name." in words
    assert "Let somebody else decide for you" not in words
    assert "You decide for" not in Visitor(cast.ben).get(path_of(asked)).words


def test_case_shows_what_the_requester_holds_and_asked_before(cast: Cast, ask: Ask) -> None:
    first = ask(tier=cast.tier3, model_names=[], duration_days=20)
    decide(actor=cast.cleo, request=first, verdict=Verdict.APPROVE, seen_revision=1)
    denied = ask()
    decide(actor=cast.ben, request=denied, verdict=Verdict.DENY, seen_revision=1, comment="No.")
    asked = ask()

    page = Visitor(cast.ben).get(path_of(asked))

    assert "Tier 3 in Ranking, until" in page.words
    assert "Tier 2 for Ranking Denied" in page.words
    assert path_of(denied) in page.links


def test_every_model_of_the_tier_is_named_when_none_was_chosen(cast: Cast, ask: Ask) -> None:
    page = Visitor(cast.ben).get(path_of(ask(model_names=[])))

    assert "larger $3.00 in, $15.00 out per 1M tokens" in page.words
    assert [row[0] for row in page.rows(ALTERNATIVES)] == ["larger", "large", "small"]


@pytest.mark.parametrize("who", ["cleo", "fay", "audrey", "ann"])
def test_whoever_may_not_decide_reads_why_and_finds_no_buttons(
    cast: Cast, asked: AccessRequest, who: str
) -> None:
    page = Visitor(getattr(cast, who)).get(path_of(asked))

    assert "It needs the lead of Search." in page.words
    assert "Can decide: Ben Okafor" in page.words
    assert APPROVE not in page.response.content.decode()


def test_leads_own_request_waits_for_the_director(cast: Cast, ask: Ask) -> None:
    asked = ask(actor=cast.ben)

    assert "The director of Product decides" in Visitor(cast.cleo).get(path_of(asked)).words
    assert "Nothing waits for you" in Visitor(cast.ben).get(LIST).words


def test_htmx_gets_the_panes_alone_with_title_and_badge(cast: Cast, asked: AccessRequest) -> None:
    page = Visitor(cast.ben).get(path_of(asked), htmx_target="inbox")

    html = page.response.content.decode()
    assert "<html" not in html
    assert f"<title>Tier 2 for Ranking, {asked.public_id} \N{EN DASH} Purser</title>" in html
    assert 'id="waiting" hx-swap-oob="true"' in html
    assert 'id="messages" role="status" hx-swap-oob="innerHTML"' in html
    assert html.count('id="inbox"') == 1


def test_open_case_is_marked_in_the_list_and_keeps_the_list_beside_it(
    cast: Cast, asked: AccessRequest
) -> None:
    page = Visitor(cast.cleo).get(path_of(asked), tab="team")

    html = page.response.content.decode()
    assert html.count('aria-current="true"') == 3, "the tab, the order and the row"
    assert f"{path_of(asked)}?tab=team" in page.links


@pytest.mark.parametrize("tab", ["", "team", "decided"])
@pytest.mark.parametrize("who", ["ada", "ben", "cleo", "fay"])
def test_list_costs_at_most_eight_queries(cast: Cast, asked: AccessRequest, who: str, tab: str) -> None:
    assert len(Visitor(getattr(cast, who)).queries(LIST, tab=tab)) <= 8


def make_requests(cast: Cast, number: int) -> None:
    """Let as many people ask and, alternately, be approved."""
    for index in range(number):
        key = factories.ApiKeyFactory.create(project=cast.ranking)
        factories.MembershipFactory.create(user=key.owner, team=cast.search)
        factories.AccessRequestFactory.create(
            requester=key.owner, project=cast.ranking, model_ids=[cast.large.pk]
        )
        if index % 2:
            factories.approved_grant(key, tier_number=3)


def test_lists_and_cases_cost_the_same_for_50_requests_as_for_5(cast: Cast, asked: AccessRequest) -> None:
    spend(cast)
    limit(cast, "440")
    ben, ada = Visitor(cast.ben), Visitor(cast.ada)

    def queries() -> dict[str, int]:
        lists = {tab: len(ben.queries(LIST, tab=tab)) for tab in ("waiting", "team", "decided")}
        cases = {f"case {tab}": len(ben.queries(path_of(asked), tab=tab)) for tab in ("waiting", "team")}
        return lists | cases | {"own": len(ada.queries(path_of(asked)))}

    make_requests(cast, 5)
    few = queries()
    make_requests(cast, 45)

    assert queries() == few
    assert max(few["waiting"], few["team"], few["decided"]) <= 8
    assert max(few["case waiting"], few["case team"], few["own"]) <= 10


@pytest.mark.parametrize("who", ["ada", "ben", "cleo", "fay"])
def test_decided_case_costs_at_most_ten_queries(cast: Cast, asked: AccessRequest, who: str) -> None:
    decide(actor=cast.ben, request=asked, verdict=Verdict.APPROVE, seen_revision=1)

    for tab in ("waiting", "decided"):
        assert len(Visitor(getattr(cast, who)).queries(path_of(asked), tab=tab)) <= 10


def test_amended_case_shows_what_changed(cast: Cast, asked: AccessRequest) -> None:
    amend(
        actor=cast.ada,
        request=asked,
        seen_revision=1,
        model_names=["large"],
        reason=REASON,
        duration_days=30,
        expected_monthly_usd=Decimal(420),
    )

    page = Visitor(cast.ben).get(path_of(asked))

    assert "Ada Moreno changed the duration" in page.words
    assert 'name="seen_revision" value="2"' in page.response.content.decode()


def test_whoever_may_decide_finds_the_buttons(cast: Cast, asked: AccessRequest) -> None:
    html = Visitor(cast.ben).get(path_of(asked)).response.content.decode()

    assert APPROVE in html
    assert 'value="deny"' in html
    assert html.index("disabled hidden") < html.index(APPROVE), "Enter in a field presses the first button"


def test_looking_decides_nothing(cast: Cast, asked: AccessRequest) -> None:
    before = list(AccessRequest.objects.values()), AuditEvent.objects.count()
    client = Visitor(cast.ben).client
    paths = [LIST, f"{LIST}ask/", path_of(asked), f"{path_of(asked)}decide/"]

    for path in paths:
        for query in ("", "?verdict=approve&seen_revision=1&comment=yes"):
            for method in (client.get, client.head, client.options):
                assert method(path + query).status_code in {200, 302, 405, 422}, path
    for method in (client.put, client.patch, client.delete):
        assert {method(path).status_code for path in paths} == {405}

    assert (list(AccessRequest.objects.values()), AuditEvent.objects.count()) == before
    assert not Decision.objects.exists()


@pytest.mark.parametrize("path", ["", "ask/", "req_x/", "req_x/decide/", "req_x/withdraw/"])
@pytest.mark.django_db
def test_nobody_reads_or_decides_without_signing_in(path: str) -> None:
    for page in (Visitor(None).get(LIST + path), Visitor(None).post(LIST + path, verdict="approve")):
        assert page.status == 302
        assert page.response["Location"].startswith("/accounts/login/?next=/approvals/")


def test_page_is_kept_out_of_caches(cast: Cast, asked: AccessRequest) -> None:
    assert Visitor(cast.ben).get(path_of(asked)).response["Cache-Control"] == "no-store"
