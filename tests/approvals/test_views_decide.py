"""The approver's answer: what each case answers, and that one click has one effect."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.test import Client

from approvals.models import AccessRequest, Decision, RequestStatus, Verdict
from approvals.services import amend, decide, withdraw
from budgets.models import Mode, ScopeKind, Window
from budgets.services.limits import open_budget
from core.models import AuditEvent, Outbox
from keys.models import Grant
from keys.services import issue_key
from teams.models import Membership
from tests import factories
from tests.approvals.conftest import REASON, Ask
from tests.browsing import Page, Visitor
from tests.cast import Cast


def press(
    visitor: Visitor, asked: AccessRequest, verdict: str, *, htmx: bool = False, **entered: Any
) -> Page:
    """Press a button of the case as it was read at its first revision."""
    form = {"seen_revision": 1, "monthly_cap_usd": "420", "duration_days": "60", "comment": "", **entered}
    headers = {"HX-Request": "true", "HX-Target": "inbox"} if htmx else {}
    path = f"/approvals/{asked.public_id}/decide/"
    return Page(visitor.client.post(path, form | {"verdict": verdict}, headers=headers))


def status_of(asked: AccessRequest) -> str:
    return AccessRequest.objects.get(pk=asked.pk).status


def test_approval_gives_the_grant_and_comes_back_to_the_request(cast: Cast, asked: AccessRequest) -> None:
    ben = Visitor(cast.ben)

    page = press(
        ben, asked, "approve", monthly_cap_usd="300", duration_days="30", comment="Watch the batches."
    )

    assert (page.status, page.response["Location"]) == (302, f"/approvals/{asked.public_id}/")
    grant = Grant.objects.get()
    assert (grant.key.owner, grant.monthly_cap_usd) == (cast.ada, Decimal(300))
    assert grant.expires_at - grant.starts_at == timedelta(days=30)
    after = ben.get(page.response["Location"])
    assert "Tier 2 for Ranking is approved. Ada Moreno was told, and can reveal the key now." in after.words
    assert "Ben Okafor approved for 30 days, up to $300.00 a month: Watch the batches." in after.words


def test_htmx_gets_the_outcome_with_the_new_list_count_and_badge(
    cast: Cast, asked: AccessRequest, ask: Ask
) -> None:
    following = ask(model_names=[], actor=cast.ada, tier=cast.tier3, duration_days=20)
    other = factories.AccessRequestFactory.create(project=cast.ranking)
    ben = Visitor(cast.ben)
    assert "Waiting for me (2) Open (3)" in ben.get("/approvals/").words

    page = press(ben, asked, "approve", htmx=True)

    assert page.status == 200
    assert "Tier 2 for Ranking is approved" in page.words
    assert "Waiting for me (1) Open (2)" in page.words
    assert ", 1 waiting for you" in page.words
    assert f"/approvals/{asked.public_id}/" not in page.links
    assert page.links.count(f"/approvals/{other.public_id}/") == 2, "in the list, and as the next one"
    assert f"/approvals/{following.public_id}/" not in page.links
    assert "<html" not in page.response.content.decode()


def test_denial_needs_a_reason_and_keeps_what_was_entered(cast: Cast, asked: AccessRequest) -> None:
    page = press(Visitor(cast.ben), asked, "deny", monthly_cap_usd="123.45", duration_days="7")

    assert page.status == 422
    assert "Enter why you deny it; the requester will see it." in page.words
    assert page.words.startswith("Error: ")
    html = page.response.content.decode()
    assert 'value="123.45"' in html
    assert 'value="7"' in html
    assert status_of(asked) == RequestStatus.PENDING


def test_denial_tells_the_requester_why(cast: Cast, asked: AccessRequest) -> None:
    press(Visitor(cast.ben), asked, "deny", comment="The small model will do.")

    assert status_of(asked) == RequestStatus.DENIED
    page = Visitor(cast.ada).get(f"/approvals/{asked.public_id}/")
    assert "Ben Okafor denied it. The small model will do." in page.words
    assert not Grant.objects.exists()


@pytest.mark.parametrize(
    ("entered", "complaint"),
    [
        ({"monthly_cap_usd": "421"}, "up to $420.00, which was asked for"),
        ({"monthly_cap_usd": "0"}, "Enter a cap above zero"),
        ({"monthly_cap_usd": "lots"}, "is not an amount. Enter US dollars such as 1250 or 99.50."),
        ({"duration_days": "61"}, "Enter 1 to 60 days"),
        ({"duration_days": "0"}, "Enter a whole number of days"),
        ({"duration_days": "soon"}, "Enter a whole number of days"),
        ({"comment": "x" * 2_001}, "at most 2000 characters"),
        ({"comment": "\0"}, "Null characters are not allowed"),
        ({"seen_revision": ""}, "This field is required"),
        ({"seen_revision": "one"}, "Enter a whole number"),
    ],
)
def test_what_cannot_be_used_is_said_at_its_field(
    cast: Cast, asked: AccessRequest, entered: dict[str, Any], complaint: str
) -> None:
    page = press(Visitor(cast.ben), asked, "approve", **{"comment": "Fine.", **entered})

    assert page.status == 422
    assert complaint in page.words
    assert not Decision.objects.exists()


@pytest.mark.parametrize("verdict", ["", "maybe", "APPROVE"])
def test_form_without_a_button_decides_nothing(cast: Cast, asked: AccessRequest, verdict: str) -> None:
    page = press(Visitor(cast.ben), asked, verdict)

    assert page.status == 422
    assert "Press Approve or Deny." in page.words
    assert not Decision.objects.exists()


def test_empty_terms_are_those_that_were_asked_for(cast: Cast, asked: AccessRequest) -> None:
    press(Visitor(cast.ben), asked, "approve", monthly_cap_usd="", duration_days="")

    grant = Grant.objects.get()
    assert grant.monthly_cap_usd == Decimal(420)
    assert grant.expires_at - grant.starts_at == timedelta(days=60)


def test_cap_that_does_not_fit_the_budgets_is_said_at_the_cap(cast: Cast, asked: AccessRequest) -> None:
    open_budget(
        actor=None,
        scope_kind=ScopeKind.PROJECT,
        scope_id=cast.ranking.pk,
        department=cast.product,
        window=Window.MONTH,
        mode=Mode.HARD,
        amount_usd=Decimal(100),
        reason="A test.",
    )

    page = press(Visitor(cast.ben), asked, "approve")

    assert page.status == 422
    assert "$100.00" in page.words
    assert 'href="#id_monthly_cap_usd"' in page.response.content.decode()
    assert status_of(asked) == RequestStatus.PENDING
    assert press(Visitor(cast.ben), asked, "approve", monthly_cap_usd="100").status == 302


@pytest.mark.parametrize("htmx", [False, True])
def test_double_click_has_one_effect(cast: Cast, asked: AccessRequest, htmx: bool) -> None:
    ben = Visitor(cast.ben)

    first, second = (press(ben, asked, "approve", htmx=htmx) for _ in range(2))

    assert first.status == second.status == (200 if htmx else 302)
    assert first.words == second.words
    assert Grant.objects.count() == Decision.objects.count() == 1
    assert AuditEvent.objects.filter(action="request.approved").count() == 1
    assert Outbox.objects.filter(topic="request.approved").count() == 1


@pytest.mark.parametrize("htmx", [False, True])
def test_second_approver_reads_who_was_first_and_keeps_his_comment(
    cast: Cast, asked: AccessRequest, htmx: bool
) -> None:
    second_lead = factories.UserFactory.create(name="Lea Lead")
    factories.RoleAssignmentFactory.create(user=second_lead, role="lead", team=cast.search)
    decide(actor=cast.ben, request=asked, verdict=Verdict.APPROVE, seen_revision=1)

    page = press(Visitor(second_lead), asked, "deny", htmx=htmx, comment="Too dear for us.")

    assert page.status == 409
    assert "Already decided" in page.words
    assert "Ben Okafor approved this request on" in page.words
    assert "Your comment was not used: Too dear for us." in page.words
    assert f"/approvals/{asked.public_id}/" in page.links
    assert ("<html" in page.response.content.decode()) is not htmx
    assert Decision.objects.count() == 1


def test_approver_who_changes_his_mind_reads_what_he_did(cast: Cast, asked: AccessRequest) -> None:
    ben = Visitor(cast.ben)
    press(ben, asked, "approve")

    page = press(ben, asked, "deny", comment="On second thought.")

    assert page.status == 409
    assert "Ben Okafor approved this request on" in page.words
    assert status_of(asked) == RequestStatus.APPROVED


def test_withdrawn_request_says_so(cast: Cast, asked: AccessRequest) -> None:
    withdraw(actor=cast.ada, request=asked)

    page = press(Visitor(cast.ben), asked, "approve")

    assert page.status == 409
    assert "Ada Moreno withdrew this request on" in page.words


@pytest.mark.parametrize("htmx", [False, True])
def test_stale_page_shows_the_difference_and_keeps_the_entries(
    cast: Cast, asked: AccessRequest, htmx: bool
) -> None:
    amend(
        actor=cast.ada,
        request=asked,
        seen_revision=1,
        model_names=["large", "larger"],
        reason=REASON,
        duration_days=90,
        expected_monthly_usd=Decimal(980),
    )

    page = press(
        Visitor(cast.ben),
        asked,
        "approve",
        htmx=htmx,
        monthly_cap_usd="399",
        duration_days="45",
        comment="Fine.",
    )

    assert page.status == 412
    assert "Ada Moreno changed this request after you read it." in page.words
    assert sorted(page.rows("What changed")) == [
        ["Days", "60", "90"],
        ["Expected a month", "$420.00", "$980.00"],
        ["Models", "large", "large, larger"],
    ]
    html = page.response.content.decode()
    assert 'value="399"' in html
    assert 'value="45"' in html
    assert ">\nFine.</textarea>" in html
    assert 'name="seen_revision" value="2"' in html
    assert not Decision.objects.exists()

    again = press(
        Visitor(cast.ben), asked, "approve", seen_revision=2, monthly_cap_usd="399", duration_days="45"
    )
    assert again.status == 302
    assert Grant.objects.get().monthly_cap_usd == Decimal(399)


@pytest.mark.parametrize("who", ["cleo", "fay", "audrey", "ann"])
def test_whoever_may_not_decide_is_told_who_can(cast: Cast, asked: AccessRequest, who: str) -> None:
    page = press(Visitor(getattr(cast, who)), asked, "approve")

    assert page.status == 403
    assert "It needs the lead of Search. Ask Ben Okafor." in page.words
    assert not Decision.objects.exists()


def test_nobody_decides_his_own_request(cast: Cast, asked: AccessRequest, ask: Ask) -> None:
    of_the_lead = ask(actor=cast.ben)

    for who, request in ((cast.ada, asked), (cast.ben, of_the_lead)):
        page = press(Visitor(who), request, "approve")
        assert page.status == 403
        assert "This is your own request, and nobody decides their own." in page.words
    assert not Decision.objects.exists()


def test_request_past_its_time_answers_410(cast: Cast, asked: AccessRequest) -> None:
    with time_machine.travel(asked.decide_by + timedelta(seconds=1)):
        page = press(Visitor(cast.ben), asked, "approve", comment="Sorry, late.")

    assert page.status == 410
    assert "so it expired. Ada Moreno can ask again." in page.words
    assert "Sorry, late." in page.words
    assert not Decision.objects.exists()


def test_request_of_somebody_who_left_the_team_can_only_be_denied(cast: Cast, asked: AccessRequest) -> None:
    Membership.objects.filter(user=cast.ada).delete()
    ben = Visitor(cast.ben)

    page = press(ben, asked, "approve", comment="Fine.")

    assert page.status == 409
    assert "Ada Moreno does not work in team Search any more" in page.words
    assert ">\nFine.</textarea>" in page.response.content.decode()
    assert press(ben, asked, "deny", comment="She left.").status == 302
    assert status_of(asked) == RequestStatus.DENIED


def test_first_of_two_stages_hands_on_to_the_next(cast: Cast) -> None:
    person = factories.MembershipFactory.create(team=cast.search).user
    asked = factories.AccessRequestFactory.create(
        requester=person, project=cast.ranking, stages=[("lead", 1), ("director", 1)]
    )
    ben, cleo = Visitor(cast.ben), Visitor(cast.cleo)

    page = press(ben, asked, "approve", htmx=True, monthly_cap_usd="", duration_days="")

    assert "Your approval of Tier 2 for Ranking counts" in page.words
    assert "Stage 2 of 2: the director of Product." in page.words
    assert "You have decided this request once" in ben.get(f"/approvals/{asked.public_id}/").words
    assert press(cleo, asked, "approve", monthly_cap_usd="", duration_days="").status == 302
    assert status_of(asked) == RequestStatus.APPROVED


def test_approval_for_a_key_of_the_requester_says_which(cast: Cast, ask: Ask) -> None:
    key = issue_key(actor=cast.ada, project=cast.ranking, name="nightly")
    asked = ask(extends_key=key)

    page = press(Visitor(cast.ben), asked, "approve", htmx=True)

    assert "nightly, a key of Ada Moreno, can call it now." in page.words


def test_following_the_address_of_a_decision_opens_the_request(cast: Cast, asked: AccessRequest) -> None:
    ben = Visitor(cast.ben)

    page = ben.get(f"/approvals/{asked.public_id}/decide/", verdict="approve", seen_revision="1", tab="team")

    assert page.response["Location"] == f"/approvals/{asked.public_id}/?tab=team"
    assert not Decision.objects.exists()


def test_list_beside_the_decision_stays_the_one_that_was_open(cast: Cast, asked: AccessRequest) -> None:
    form = {"seen_revision": 1, "comment": "", "verdict": "approve"}

    response = Visitor(cast.ben).client.post(f"/approvals/{asked.public_id}/decide/?tab=team", form)

    assert response["Location"] == f"/approvals/{asked.public_id}/?tab=team"


def test_decision_from_another_site_is_refused(cast: Cast, asked: AccessRequest) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(cast.ben)

    response = client.post(
        f"/approvals/{asked.public_id}/decide/", {"seen_revision": 1, "verdict": "approve"}
    )

    assert response.status_code == 403
    assert not Decision.objects.exists()


def test_terms_of_the_grant_are_never_the_callers_word(cast: Cast, asked: AccessRequest) -> None:
    press(
        Visitor(cast.ben), asked, "approve", tier="3", model_ids="[]", actor=cast.cleo.pk, beneficiary="dan"
    )

    grant = Grant.objects.get()
    assert (grant.tier_id, grant.model_ids) == (2, [cast.large.pk])
    assert (grant.granted_by, grant.key.owner) == (cast.ben, cast.ada)
