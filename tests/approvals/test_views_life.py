"""The pages of a request's life: change it, talk about it, take an offer, more time, delegates."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal

import pytest

from approvals.models import AccessRequest, Comment, Delegation, RequestKind, RequestStatus, Verdict
from approvals.services import amend, comment, decide
from core import clock
from keys.models import Grant
from tests import factories
from tests.approvals.conftest import REASON, Ask, lend
from tests.browsing import Visitor
from tests.cast import Cast

LIST = "/approvals/"


def page_of(asked: AccessRequest, act: str = "") -> str:
    return f"{LIST}{asked.public_id}/{act}"


def changed(**fields: object) -> dict[str, object]:
    """Return what the form to change Ada's request sends."""
    form = {"seen_revision": 1, "models": ["large"], "reason": REASON, "duration_days": 30}
    return {**form, "expected_monthly_usd": "300", "ticket": "", **fields}


# ------------------------------------------------------------------------------------- change


def test_the_requester_changes_his_request_and_sees_the_new_revision(
    cast: Cast, asked: AccessRequest
) -> None:
    ada = Visitor(cast.ada)
    assert page_of(asked, "amend/") in ada.get(page_of(asked)).links
    assert ada.post(page_of(asked, "amend/"), **changed()).status == 302
    asked.refresh_from_db()
    assert (asked.revision, asked.duration_days, asked.expected_monthly_usd) == (2, 30, Decimal(300))
    assert "changed the duration, the expected cost" in ada.get(page_of(asked)).words


def test_what_is_wrong_is_said_beside_what_was_entered(cast: Cast, asked: AccessRequest) -> None:
    page = Visitor(cast.ada).post(page_of(asked, "amend/"), **changed(duration_days=91))
    assert page.status == 422
    assert "Enter 1 to 90 days" in page.words
    assert REASON in page.words


def test_a_change_of_an_old_revision_is_refused(cast: Cast, asked: AccessRequest) -> None:
    amend(actor=cast.ada, request=asked, seen_revision=1, reason=REASON, expected_monthly_usd=Decimal(9))
    page = Visitor(cast.ada).post(page_of(asked, "amend/"), **changed())
    assert page.status == 412
    assert "changed this request after you read it" in page.words


def test_what_is_over_is_not_changed(cast: Cast, asked: AccessRequest) -> None:
    decide(actor=cast.ben, request=asked, verdict=Verdict.DENY, seen_revision=1, comment="No.")
    assert Visitor(cast.ada).get(page_of(asked, "amend/")).status == 302
    assert page_of(asked, "amend/") not in Visitor(cast.ada).get(page_of(asked)).links


# -------------------------------------------------------------------------------------- talk


def test_an_approver_asks_and_the_requester_answers(cast: Cast, asked: AccessRequest) -> None:
    ben, ada = Visitor(cast.ben), Visitor(cast.ada)
    assert "Ask a question or offer a lower tier" in ben.get(page_of(asked)).words
    assert ben.post(page_of(asked, "comment/"), text="Why not the small one?").status == 302
    assert "Why not the small one?" in ada.get(page_of(asked)).words
    ada.post(page_of(asked, "comment/"), text="It misses one in three.")
    assert "It misses one in three." in ben.get(page_of(asked)).words


def test_an_empty_comment_is_refused_and_one_about_what_is_over_too(cast: Cast, asked: AccessRequest) -> None:
    ben = Visitor(cast.ben)
    assert ben.post(page_of(asked, "comment/"), text=" ").status == 422
    decide(actor=cast.ben, request=asked, verdict=Verdict.DENY, seen_revision=1, comment="No.")
    late = ben.post(page_of(asked, "comment/"), text="Why?")
    assert late.status == 409
    assert "Already decided" in late.words
    assert not Comment.objects.exists()


def test_an_offer_is_shown_to_its_requester_with_the_way_to_take_it(cast: Cast, ask: Ask) -> None:
    asked = ask(tier=cast.tier3, model_names=[], duration_days=30)
    Visitor(cast.cleo).post(page_of(asked, "comment/"), text="Try this first.", offered_tier="2")
    offer = f"{LIST}offers/{Comment.objects.get().public_id}/"
    ada = Visitor(cast.ada)
    assert offer in ada.get(page_of(asked)).links
    assert offer not in Visitor(cast.cleo).get(page_of(asked)).links
    assert "Your request for Tier 3 is closed." in ada.get(offer).words
    assert AccessRequest.objects.get().status == RequestStatus.PENDING, "opening a link takes nothing"
    assert ada.post(offer).status == 302
    assert AccessRequest.objects.get(tier=2).status == RequestStatus.PENDING


def test_a_requester_offers_nothing(cast: Cast, asked: AccessRequest) -> None:
    assert "Offer a lower tier" not in Visitor(cast.ada).get(page_of(asked, "comment/")).words
    comment(actor=cast.ben, request=asked, text="Why?")
    assert Visitor(cast.ada).post(page_of(asked, "comment/"), text="So.", offered_tier="1").status == 302
    assert not Comment.objects.filter(offered_tier__isnull=False).exists()


# ------------------------------------------------------------------------- a veto, the escalation


def test_who_may_only_deny_is_offered_that_alone(cast: Cast, ask: Ask) -> None:
    factories.new_policy(cast.tier3, [("director", 1)], told_role="lead", told_may_veto=True, max_days=30)
    asked = ask(tier=cast.tier3, model_names=[], duration_days=30)
    ben = Visitor(cast.ben)
    words = ben.get(page_of(asked)).words
    assert "You were told of it, and may deny it." in words
    assert "Monthly cap" not in words
    ben.post(page_of(asked, "decide/"), verdict="deny", seen_revision=1, comment="Not in this quarter.")
    asked.refresh_from_db()
    assert asked.status == RequestStatus.DENIED


# ------------------------------------------------------------------------------------ more time


def test_more_time_is_asked_for_where_access_is_shown(cast: Cast, asked: AccessRequest) -> None:
    decide(actor=cast.ben, request=asked, verdict=Verdict.APPROVE, seen_revision=1)
    grant = Grant.objects.get()
    ada, address = Visitor(cast.ada), f"{LIST}extend/{grant.public_id}/"
    assert address in ada.get(page_of(asked)).links
    entered = {"duration_days": 60, "expected_monthly_usd": "420", "reason": REASON}
    assert ada.post(address, **entered, ticket="").status == 302
    more = AccessRequest.objects.get(kind=RequestKind.EXTENSION)
    assert "More time for Tier 2 in Ranking" in Visitor(cast.ben).get(LIST).words
    again = ada.post(address, **entered, ticket="")
    assert again.status == 409
    assert more.extends_grant == grant


# ----------------------------------------------------------------------------------- emergencies


def test_the_glass_is_broken_on_a_page_that_says_what_follows(cast: Cast) -> None:
    factories.new_policy(cast.tier2, [("lead", 1)], break_glass_hours=4, break_glass_cap_usd=Decimal(50))
    ada, address = Visitor(cast.ada), f"{LIST}break-glass/"
    words = ada.get(address).words
    assert "Tier 2: 4 hours, up to $50.00" in words
    assert "Tier 3" not in words
    assert ada.post(address, project="ranking", tier="3", reason=REASON).status == 422
    assert not Grant.objects.exists()
    assert ada.post(address, project="ranking", tier="2", reason=REASON).status == 302
    review = AccessRequest.objects.get()
    assert "Review: glass broken for Tier 2 in Ranking" in Visitor(cast.ben).get(page_of(review)).words


def test_a_review_says_until_when_the_access_lasts_and_asks_for_no_terms(cast: Cast) -> None:
    factories.new_policy(cast.tier2, [("lead", 1)], break_glass_hours=4, break_glass_cap_usd=Decimal(50))
    Visitor(cast.ada).post(f"{LIST}break-glass/", project="ranking", tier="2", reason=REASON)
    review, grant = AccessRequest.objects.get(), Grant.objects.get()
    ben = Visitor(cast.ben)

    page = ben.get(page_of(review))

    assert f"Access until {grant.expires_at:%-d %B %Y, %H:%M} UTC" in page.words
    assert "At most $50.00" in page.words
    assert not [text for text in ("Access for", "1 day", "Expected cost", "cap") if text in page.words]
    assert ben.post(page_of(review, "decide/"), verdict="approve", seen_revision="1").status == 302
    assert "The access of Ada Moreno lasts to its end." in ben.get(page_of(review)).words
    assert Grant.objects.get().expires_at == grant.expires_at


# ------------------------------------------------------------------------------------- delegates


def test_a_lead_lends_his_role_and_ends_it(cast: Cast, asked: AccessRequest) -> None:
    ben, address = Visitor(cast.ben), f"{LIST}delegations/"
    role = cast.ben.role_assignments.get().public_id
    last = (clock.now() + timedelta(days=5)).date().isoformat()
    entered = {"held": role, "taker": "Dan@example.com", "ends_on": last}
    assert ben.post(address, **entered).status == 302
    lent = Delegation.objects.get()
    assert (lent.taker, lent.team) == (cast.dan, cast.search)
    assert "Tier 2 for Ranking" in Visitor(cast.dan).get(LIST).words
    words = ben.get(address).words
    assert (
        f"Dan Fischer decides for you until the end of {clock.now() + timedelta(days=5):%-d %B %Y}." in words
    )
    assert "Team lead of Search" in words
    assert ben.post(f"{address}{lent.public_id}/end/").status == 302
    assert "Tier 2 for Ranking" not in Visitor(cast.dan).get(LIST).words


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"taker": "nobody@example.com"}, "Nobody here signs in with this address"),
        ({"ends_on": ""}, "Enter the last day"),
        ({"ends_on": "2020-01-01"}, "Enter a last day that is still to come"),
        ({"taker": "ben@example.com"}, "Choose somebody else"),
    ],
)
def test_what_cannot_be_lent_is_said_on_the_page(cast: Cast, fields: dict[str, str], says: str) -> None:
    last = (clock.now() + timedelta(days=5)).date().isoformat()
    entered = {
        "held": cast.ben.role_assignments.get().public_id,
        "taker": "dan@example.com",
        "ends_on": last,
    }
    page = Visitor(cast.ben).post(f"{LIST}delegations/", **entered | fields)
    assert page.status == 422
    assert says in page.words


def test_who_holds_no_role_sees_what_was_lent_to_him(cast: Cast) -> None:
    lend(cast, "ben", "dan")
    words = Visitor(cast.dan).get(f"{LIST}delegations/").words
    assert "Ben Okafor" in words
    assert "there is nothing to lend" in words


def test_a_second_click_of_a_form_does_nothing_twice(cast: Cast, asked: AccessRequest) -> None:
    ben, form = Visitor(cast.ben), page_of(asked, "comment/")
    found = re.search(r'name="once" value="([^"]+)"', ben.client.get(form).content.decode())
    assert found
    sent = [ben.post(form, text="Why?", once=found[1]) for _ in range(2)]
    assert [(each.status, each.response["Location"]) for each in sent] == [(302, page_of(asked))] * 2
    assert Comment.objects.count() == 1
    assert ben.post(form, text="", once="another").status == 422
    assert ben.post(form, text="And how?", once="another").status == 302
    assert Comment.objects.count() == 2
