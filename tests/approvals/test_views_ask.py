"""The questions before a request: one a page, without script, refused before anything is sent."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from approvals.models import AccessRequest
from budgets.models import Mode, ScopeKind, Window
from budgets.services.limits import open_budget
from core import clock
from core.models import AuditEvent
from core.templatetags.ui import TIMES
from keys.services import issue_key, revoke
from teams.models import Role, RoleAssignment
from tests.approvals.conftest import REASON
from tests.browsing import Page, Visitor
from tests.cast import Cast
from tests.forms import hidden_fields
from tests.usage.books import book
from usage.selectors import organisation_today

ASK = "/approvals/ask/"
ANSWERS: dict[str, Any] = {
    "project": "ranking",
    "tier": "2",
    "models": ["large"],
    "reason": REASON,
    "duration_days": "60",
    "expected_monthly_usd": "420",
}


def at(visitor: Visitor, step: str = "", **answers: Any) -> Page:
    """Open the question that these answers lead to."""
    given = {**answers, "step": step} if step else answers
    return Page(visitor.client.get(ASK, given))


def send(visitor: Visitor, **changes: Any) -> Page:
    return Page(visitor.client.post(ASK, {**ANSWERS, **changes}))


def test_engineer_answers_one_question_a_page_and_sends(cast: Cast) -> None:
    """Fills in each form as a browser without script does: what it carries along, and one answer."""
    ada = Visitor(cast.ada)
    page = at(ada)
    asked = []
    for answer in (
        {"project": "ranking"},
        {"tier": "2"},
        {"models": ["large"]},
        {"reason": REASON},
        {"duration_days": "60", "expected_monthly_usd": "420"},
    ):
        asked.append(page.words.split(" (step")[0])
        page = Page(ada.client.get(ASK, {**hidden_fields(page, "ask"), **answer}))

    assert asked == [
        "Which project is it for?",
        "Which tier do you need?",
        "Which models do you need?",
        "Why do you need it?",
        "For how many days?",
    ]
    assert "Check your answers" in page.words
    assert "60 days, $420.00 a month" in page.words
    assert not AccessRequest.objects.exists()

    sent = Page(ada.client.post(ASK, hidden_fields(page, "ask")))
    request = AccessRequest.objects.get()
    assert sent.response["Location"] == f"/approvals/{request.public_id}/"
    assert (request.requester, request.project, request.tier_id) == (cast.ada, cast.ranking, 2)
    assert (request.model_ids, request.reason) == ([cast.large.pk], REASON)
    assert (request.duration_days, request.expected_monthly_usd) == (60, Decimal(420))
    assert "Your request is sent." in ada.get(sent.response["Location"]).words


def test_refusal_of_a_gateway_leads_behind_the_answers_it_knows(cast: Cast) -> None:
    page = at(Visitor(cast.ada), project="ranking", tier="2")

    assert page.status == 200
    assert page.words.startswith("Which models do you need? (step 3 of 6)")


def test_only_projects_of_ones_own_teams_can_be_asked_for(cast: Cast) -> None:
    ada = Visitor(cast.ada)

    assert "Fraud" not in at(ada).words
    page = at(ada, project="fraud", tier="2")
    assert page.status == 422
    assert "Choose one of your open projects" in page.words
    assert send(ada, project="fraud").status == 422
    assert not AccessRequest.objects.exists()


@pytest.mark.parametrize("who", ["cleo", "fay", "audrey", "ann"])
def test_whoever_works_in_no_project_is_told_so(cast: Cast, who: str) -> None:
    visitor = Visitor(getattr(cast, who))

    assert "You are in no team with a project yet" in at(visitor).words
    assert "You are in no team with a project yet" in visitor.get("/approvals/break-glass/").words
    assert send(visitor).status == 422
    assert not AccessRequest.objects.exists()


@pytest.mark.parametrize(
    ("step", "missing", "complaint"),
    [
        ("tier", "project", "Choose the project that the calls are for"),
        ("models", "tier", "Choose a tier"),
        ("cost", "reason", "Enter why you need it"),
        ("check", "duration_days", "Enter a whole number of days"),
        ("check", "expected_monthly_usd", "Enter the US dollars that you expect to spend in a month"),
    ],
)
def test_question_that_was_passed_without_an_answer_comes_back(
    cast: Cast, step: str, missing: str, complaint: str
) -> None:
    page = at(Visitor(cast.ada), step, **{name: value for name, value in ANSWERS.items() if name != missing})

    assert page.status == 422
    assert page.words.startswith("Error: ")
    assert complaint in page.words


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ({"tier": "1"}, "Choose one of the tiers that can be asked for"),
        ({"tier": "9"}, "Choose one of the tiers that can be asked for"),
        ({"models": ["small"]}, "small is not a model of this tier"),
        ({"models": ["frontier"]}, "frontier is not a model of this tier"),
        ({"reason": "Need it"}, "Write more: at least 10 characters, and there are 7"),
        ({"reason": "\0" * 20}, "Null characters are not allowed"),
        ({"duration_days": "91"}, "Enter 1 to 90 days: that is the most for Tier 2."),
        ({"duration_days": "-1"}, "Enter a whole number of days"),
        ({"expected_monthly_usd": "0"}, "above zero"),
        ({"expected_monthly_usd": "-5"}, "is not an amount"),
        ({"expected_monthly_usd": "1e400"}, "is not an amount"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_at_its_question(
    cast: Cast, answer: dict[str, Any], complaint: str
) -> None:
    ada = Visitor(cast.ada)

    for page in (at(ada, "check", **{**ANSWERS, **answer}), send(ada, **answer)):
        assert page.status == 422
        assert complaint in page.words
        assert page.words.startswith("Error: ")
    assert not AccessRequest.objects.exists()


def test_tier_that_nobody_could_approve_is_refused_before_sending(cast: Cast) -> None:
    RoleAssignment.objects.filter(role=Role.DIRECTOR, department=cast.product).delete()

    page = at(Visitor(cast.ada), project="ranking", tier="3")

    assert page.status == 422
    assert "Tier 3 needs the director of Product, and nobody else holds that role now." in page.words
    assert "Ask Ann Keller to name somebody" in page.words


def test_role_that_was_emptied_meanwhile_is_said_before_sending(cast: Cast) -> None:
    RoleAssignment.objects.filter(role=Role.LEAD, team=cast.search).delete()

    page = send(Visitor(cast.ada))

    assert page.status == 422
    assert "nobody else holds that role now" in page.words
    assert not AccessRequest.objects.exists()


def test_second_request_for_the_same_is_refused_before_sending(cast: Cast, asked: AccessRequest) -> None:
    page = at(Visitor(cast.ada), project="ranking", tier="2")

    assert page.status == 422
    assert "You asked for Tier 2 in Ranking on" in page.words


def test_double_click_sends_one_request_and_shows_the_way_to_it(cast: Cast) -> None:
    ada = Visitor(cast.ada)

    first, second = send(ada), send(ada)

    request = AccessRequest.objects.get()
    assert first.status == 302
    assert second.status == 409
    assert (
        f"You asked for Tier 2 in Ranking on {request.created_at:%d %B %Y}, and Ben Okafor can decide it."
        in second.words
    )
    assert f"/approvals/{request.public_id}/" in second.links
    assert AuditEvent.objects.filter(action="request.submitted").count() == 1


def test_back_and_change_keep_every_other_answer(cast: Cast) -> None:
    ada = Visitor(cast.ada)
    check = at(ada, "check", **ANSWERS)

    [back] = [link for link in check.links if "step=cost" in link and "from=" not in link]
    given = parse_qsl(urlsplit(back).query)
    assert ("reason", REASON) in given
    assert ("models", "large") in given

    [change] = [link for link in check.links if "step=reason&from=check" in link]
    question = ada.get(change)
    assert REASON in question.words
    carried = hidden_fields(question, "ask")
    assert carried["step"] == ["check"]
    assert "reason" not in carried
    page = Page(ada.client.get(ASK, {**carried, "reason": "A better reason than before."}))
    assert "Check your answers" in page.words
    assert "A better reason than before." in page.words


def test_another_tier_drops_the_models_of_the_old_one(cast: Cast) -> None:
    ada = Visitor(cast.ada)
    [change] = [link for link in at(ada, "check", **ANSWERS).links if "step=tier&from=check" in link]

    carried = hidden_fields(ada.get(change), "ask")

    assert "models" not in carried
    assert carried["step"] == ["models"]
    page = Page(ada.client.get(ASK, {**carried, "tier": "3"}))
    assert page.words.startswith("Which models do you need?")
    assert "frontier" in page.words


def test_panel_says_cost_headroom_who_decides_and_by_when(cast: Cast) -> None:
    today = organisation_today()
    tokens: dict[str, Any] = {"calls": 100, "input_tokens": 10_000_000, "output_tokens": 1_000_000}
    for back in range(1, 8):
        book(cast.ranking, cast.small, today - timedelta(days=back), "2.10", **tokens)
    open_budget(
        actor=None,
        scope_kind=ScopeKind.PROJECT,
        scope_id=cast.ranking.pk,
        department=cast.product,
        window=Window.MONTH,
        mode=Mode.HARD,
        amount_usd=Decimal(500),
        reason="A test.",
    )
    ada = Visitor(cast.ada)

    page = ada.get(ASK, htmx_target="panel", step="reason", project="ranking", tier="2", models="large")

    assert page.status == 200
    assert page.response.content.decode().lstrip().startswith('<aside class="card" id="panel"')
    # 70M in at $2.50 and 7M out at $10 a million
    assert "Expected cost $245.00 a month, going by the last 30 days" in page.words
    assert "$500.00 left of $500.00" in page.words
    assert "Forecast with this" not in page.words
    # 70 * 0.15 + 7 * 0.60
    assert "small (Tier 1, no approval) would cost $14.70 a month for the same use" in page.words
    assert f": 17{TIMES} cheaper than large." in page.words
    assert "Who decides Ben Okafor, as the lead of Search" in page.words
    assert f"Decided by {clock.now() + timedelta(days=7):%-d %B %Y}" in page.words

    entered = ada.get(
        ASK, htmx_target="panel", step="check", project="ranking", tier="2", models="large",
        reason=REASON, duration_days="30", expected_monthly_usd="490",
    )  # fmt: skip
    assert "Expected cost $490.00 a month, as you entered it" in entered.words
    assert "would cost $29.40 a month for the same use" in entered.words
    assert f"Access until {clock.now() + timedelta(days=30):%-d %B %Y}" in entered.words
    assert re.search(r"\$500\.00 left of \$500\.00\. Forecast with this: \$\d", entered.words)


def test_cheaper_model_is_set_against_the_cheapest_that_is_asked_for(cast: Cast) -> None:
    tokens: dict[str, Any] = {"calls": 100, "input_tokens": 10_000_000, "output_tokens": 1_000_000}
    book(cast.ranking, cast.small, organisation_today() - timedelta(days=1), "2.10", **tokens)

    page = Visitor(cast.ada).get(ASK, htmx_target="panel", step="reason", project="ranking", tier="2")

    # 10M in and 1M out: larger is $45.00, large $35.00, small $2.10
    assert "Expected cost $45.00 a month" in page.words
    assert f"would cost $2.10 a month for the same use: 17{TIMES} cheaper than large." in page.words


def test_one_day_is_one_day(cast: Cast) -> None:
    page = at(Visitor(cast.ada), "check", **{**ANSWERS, "duration_days": "1"})

    assert "1 day, $" in page.words
    assert "1 days" not in page.words


def test_panel_of_a_half_filled_form_is_no_error(cast: Cast) -> None:
    page = Visitor(cast.ada).get(
        ASK, htmx_target="panel", step="check", project="ranking", tier="2", reason=REASON, duration_days="x"
    )

    assert page.status == 200
    assert "Who decides Ben Okafor" in page.words


def test_cost_is_suggested_from_the_last_thirty_days(cast: Cast) -> None:
    book(
        cast.ranking, cast.small, organisation_today(), "2", input_tokens=10_000_000, output_tokens=1_000_000
    )

    page = at(
        Visitor(cast.ada), "cost", **{name: ANSWERS[name] for name in ("project", "tier", "models", "reason")}
    )

    html = page.response.content.decode()
    assert 'name="expected_monthly_usd" value="35.00"' in html
    assert 'name="duration_days" value="90"' in html


def test_access_can_be_asked_for_a_key_one_has(cast: Cast) -> None:
    key = issue_key(actor=cast.ada, project=cast.ranking, name="nightly")
    over = issue_key(actor=cast.ada, project=cast.ranking, name="over")
    revoke(actor=cast.ada, key=over, reason="Lost.")
    issue_key(actor=cast.ben, project=cast.ranking, name="of ben")
    ada = Visitor(cast.ada)

    page = at(ada, "key", project="ranking", tier="2", models=["large"])

    assert page.words.startswith("Which key should call them? (step 4 of 7)")
    assert "nightly, not revealed" in page.words
    assert "over" not in page.words.split()
    assert "of ben" not in page.words
    send(ada, extends_key=key.public_id)
    assert AccessRequest.objects.get().extends_key == key


def test_key_of_somebody_else_is_not_taken(cast: Cast) -> None:
    issue_key(actor=cast.ada, project=cast.ranking, name="nightly")
    key = issue_key(actor=cast.ben, project=cast.ranking, name="of ben")

    page = send(Visitor(cast.ada), extends_key=key.public_id)

    assert page.status == 422
    assert "Choose one of your live keys of this project, or a new key" in page.words
    assert not AccessRequest.objects.exists()


def test_who_asks_is_never_the_callers_word(cast: Cast) -> None:
    send(Visitor(cast.ada), requester=cast.ben.pk, beneficiary=cast.ben.pk, status="approved", revision="7")

    request = AccessRequest.objects.get()
    assert (request.requester, request.beneficiary) == (cast.ada, cast.ada)
    assert (request.status, request.revision) == ("pending", 1)


@pytest.mark.parametrize("step", ["nonsense", "-1", "check"])
def test_any_address_without_answers_is_the_first_question(cast: Cast, step: str) -> None:
    assert "Which project is it for?" in at(Visitor(cast.ada), step).words


def test_reason_is_shown_as_text(cast: Cast) -> None:
    page = at(Visitor(cast.ada), "check", **{**ANSWERS, "reason": "<script>alert(1)</script> & more"})

    html = page.response.content.decode()
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in html
