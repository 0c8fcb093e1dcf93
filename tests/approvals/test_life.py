"""What happens to a request while it waits: talk, offers, reminders, a move, an end that nobody decided."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.db import IntegrityError, transaction

from approvals.cases import case_of
from approvals.errors import AlreadyDecidedError, ChangedSinceReadError, NotEligibleError
from approvals.models import AccessRequest, BudgetRequest, Comment, Delegation, RequestStatus, Verdict
from approvals.selectors import find
from approvals.services import (
    accept_offer,
    amend,
    ask_increase,
    close_requests_of,
    comment,
    decide,
    delegate,
    follow_all,
    remind_due,
    reminding,
    withdraw,
)
from budgets.models import Mode, ScopeKind, Window
from budgets.services import limits
from core import clock
from core.errors import AlreadyDoneError, InvalidInputError, NotAllowedError
from core.models import AuditEvent, Channel, NewsChoice, NewsKind, Outbox, Preference
from keys.models import Grant
from portal.tasks import drain_outbox
from teams.models import Role, User
from teams.services.changes import archive_project, move_project
from tests import factories
from tests.approvals.by_hand import check_deferred_constraints, execute, refused_as_append_only
from tests.approvals.conftest import REASON, Ask
from tests.cast import Cast


def approve(request: AccessRequest, actor: User, revision: int = 1) -> Any:
    return decide(actor=actor, request=request, verdict=Verdict.APPROVE, seen_revision=revision)


def told(topic: str) -> set[str]:
    """Return who was told of something."""
    return set(Outbox.objects.filter(topic=topic).values_list("recipient", flat=True))


# ------------------------------------------------------------------------------------ reminders


def test_who_decides_is_reminded_at_half_of_the_time_and_once(cast: Cast, asked: AccessRequest) -> None:
    assert remind_due() == 0
    with time_machine.travel(asked.revised_at + timedelta(hours=24), tick=False):
        assert (remind_due(), remind_due()) == (1, 0)
    assert told("request.reminder") == {"ben@example.com"}


def test_the_next_role_decides_too_when_the_time_is_over(cast: Cast, asked: AccessRequest) -> None:
    with pytest.raises(NotEligibleError):
        approve(asked, cast.cleo)
    with time_machine.travel(asked.sla_at, tick=False):
        assert remind_due() == 1
        assert told("request.reminder") == {"ben@example.com", "cleo@example.com"}
        assert case_of(cast.ben, find(cast.ben, asked.public_id)).may_decide
        assert approve(asked, cast.cleo).request.status == RequestStatus.APPROVED
    check_deferred_constraints()
    assert AuditEvent.objects.get(action="request.escalated").after["role"] == "director"


def test_the_next_role_decides_by_the_clock_though_nobody_was_reminded(
    cast: Cast, asked: AccessRequest
) -> None:
    with time_machine.travel(asked.sla_at, tick=False):
        assert approve(asked, cast.cleo).decision.actor == cast.cleo


def test_a_reminder_waits_for_none_that_is_not_due(
    cast: Cast, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many are older and have half of their time still before them."""
    monkeypatch.setattr(reminding, "MOST", 1)
    factories.new_policy(cast.tier3, [("director", 1)], max_days=30, sla_hours=100)
    ask(tier=cast.tier3, model_names=[], duration_days=30)
    due = ask()
    with time_machine.travel(due.revised_at + timedelta(hours=24), tick=False):
        assert remind_due() == 1
    due.refresh_from_db()
    assert due.reminders == 1


def test_an_amendment_starts_the_clock_anew(cast: Cast, asked: AccessRequest) -> None:
    with time_machine.travel(asked.sla_at, tick=False):
        remind_due()
        changed = amend(
            actor=cast.ada,
            request=asked,
            seen_revision=1,
            reason=REASON,
            duration_days=30,
            expected_monthly_usd=Decimal(420),
        )
        assert (changed.reminders, changed.is_escalated) == (0, False)
        with pytest.raises(NotEligibleError):
            approve(asked, cast.cleo, revision=2)


# ------------------------------------------------------------------------ the clock of each stage


@pytest.fixture
def second_stage(cast: Cast, ask: Ask) -> AccessRequest:
    """Return a request that the lead let wait for 47 hours and approved; the director is next, then Ann."""
    factories.new_policy(cast.tier2, [("lead", 1), ("director", 1)], escalation_role="admin")
    request = ask()
    with time_machine.travel(request.revised_at + timedelta(hours=47), tick=False):
        remind_due()
        approve(request, cast.ben)
    request.refresh_from_db()
    return request


def reminders(request: AccessRequest, *, after_hours: int) -> set[str]:
    """Return whom the clock reminds so many hours after the stage began, and of nobody but them."""
    Outbox.objects.filter(topic="request.reminder").update(topic="seen")
    with time_machine.travel(request.stage_began_at + timedelta(hours=after_hours), tick=False):
        remind_due()
    return told("request.reminder")


def test_a_second_stage_has_reminders_and_an_escalation_of_its_own(
    cast: Cast, second_stage: AccessRequest
) -> None:
    assert second_stage.stage_began_at == second_stage.revised_at + timedelta(hours=47)
    assert reminders(second_stage, after_hours=23) == set()
    assert reminders(second_stage, after_hours=24) == {"cleo@example.com"}
    assert reminders(second_stage, after_hours=47) == set()
    assert reminders(second_stage, after_hours=48) == {"cleo@example.com", "ann@example.com"}
    assert reminders(second_stage, after_hours=60) == set()
    events = AuditEvent.objects.filter(action__in=("request.reminded", "request.escalated")).order_by("pk")
    assert [(event.after["stage"], event.after["role"]) for event in events] == [
        (0, ""),
        (1, ""),
        (1, "admin"),
    ]


def test_the_next_role_waits_for_the_clock_of_the_stage(cast: Cast, second_stage: AccessRequest) -> None:
    with time_machine.travel(second_stage.stage_began_at + timedelta(hours=47), tick=False):
        assert case_of(cast.cleo, find(cast.cleo, second_stage.public_id)).escalates_to == "an administrator"
        with pytest.raises(NotEligibleError):
            approve(second_stage, cast.ann)
    with time_machine.travel(second_stage.sla_at, tick=False):
        assert approve(second_stage, cast.ann).request.status == RequestStatus.APPROVED
    check_deferred_constraints()


def test_a_stage_that_begins_late_has_half_of_what_is_left(cast: Cast, ask: Ask) -> None:
    factories.new_policy(cast.tier2, [("lead", 1), ("director", 1)], escalation_role="admin")
    request = ask()
    with time_machine.travel(request.decide_by - timedelta(hours=2), tick=False):
        approve(request, cast.ben)
    request.refresh_from_db()
    assert request.sla_at == request.decide_by - timedelta(hours=1)


def test_nobody_is_announced_where_the_next_role_decides_the_stage_already(cast: Cast, ask: Ask) -> None:
    factories.new_policy(cast.tier2, [("admin", 1)], escalation_role="admin")
    request = ask()
    with time_machine.travel(request.sla_at, tick=False):
        remind_due()
    assert "next role" not in Outbox.objects.get(topic="request.reminder").payload["body"]
    assert AuditEvent.objects.get(action="request.escalated").after["role"] == ""


def test_who_reads_mail_once_a_day_finds_his_stage_and_its_reminder_in_it(
    cast: Cast, second_stage: AccessRequest
) -> None:
    chosen = Preference.objects.create(person=cast.cleo)
    NewsChoice.objects.create(preference=chosen, kind=NewsKind.WAITING, channel=Channel.DIGEST)
    with time_machine.travel(second_stage.stage_began_at + timedelta(hours=24), tick=False):
        remind_due()
        drain_outbox()
    waiting = Outbox.objects.filter(recipient=cast.cleo.email, digest_at__isnull=False)
    assert {row.topic for row in waiting} == {"request.waiting", "request.reminder"}


def test_nobody_hastens_an_escalation_by_hand(second_stage: AccessRequest) -> None:
    with pytest.raises(IntegrityError, match="the clock of a stage starts"), transaction.atomic():
        execute("UPDATE approvals_accessrequest SET stage_began_at = stage_began_at - interval '3 days'")


# --------------------------------------------------------------------------------------- a veto


def test_who_is_told_may_deny_where_the_policy_says_so_and_never_approve(cast: Cast, ask: Ask) -> None:
    factories.new_policy(cast.tier3, [("director", 1)], told_role="lead", told_may_veto=True, max_days=30)
    request = ask(tier=cast.tier3, model_names=[], duration_days=30)
    with pytest.raises(NotEligibleError):
        approve(request, cast.ben)
    ended = decide(actor=cast.ben, request=request, verdict=Verdict.DENY, seen_revision=1, comment="No.")
    assert ended.request.status == RequestStatus.DENIED


def test_who_is_told_without_a_veto_does_not_deny(cast: Cast, ask: Ask) -> None:
    request = ask(tier=cast.tier3, model_names=[], duration_days=30)
    with pytest.raises(NotEligibleError):
        decide(actor=cast.ben, request=request, verdict=Verdict.DENY, seen_revision=1, comment="No.")


# ----------------------------------------------------------------------- reason and ticket rules


@pytest.mark.parametrize("ticket", ["", "search 12", "javascript:alert(1)", "https://a b"])
def test_a_policy_may_ask_for_a_ticket(cast: Cast, ask: Ask, ticket: str) -> None:
    factories.new_policy(cast.tier2, [("lead", 1)], needs_ticket=True)
    with pytest.raises(InvalidInputError) as refusal:
        ask(ticket=ticket)
    assert refusal.value.field == "ticket"
    assert ask(ticket="SEARCH-123").ticket == "SEARCH-123"


def test_a_policy_says_how_long_a_reason_is(cast: Cast, ask: Ask) -> None:
    factories.new_policy(cast.tier2, [("lead", 1)], min_reason_characters=200)
    with pytest.raises(InvalidInputError, match="in 200 to 2,000 characters"):
        ask()


# ------------------------------------------------------------------------------ moved and closed


def test_a_moved_project_starts_its_requests_again_and_counts_nothing_before(cast: Cast, ask: Ask) -> None:
    factories.new_policy(cast.tier2, [("lead", 1), ("director", 1)])
    request = ask()
    approve(request, cast.ben)
    move_project(actor=None, project=cast.ranking, team=cast.cards, reason="A new owner.")
    with pytest.raises(ChangedSinceReadError, match="Purser changed this request") as refusal:
        approve(request, cast.cleo)
    assert refusal.value.extra["difference"] == {"team": {"before": "search", "after": "cards"}}
    request.refresh_from_db()
    assert (request.revision, request.stage_index, request.team) == (2, 0, cast.cards)
    factories.MembershipFactory.create(user=cast.ada, team=cast.cards)
    with pytest.raises(NotEligibleError, match="needs the lead of Cards"):
        approve(request, cast.ben, revision=2)
    approve(request, cast.eve, revision=2)
    assert approve(request, cast.olga, revision=2).request.status == RequestStatus.APPROVED
    check_deferred_constraints()


def test_a_closed_project_closes_its_requests_before_anybody_decides(
    cast: Cast, asked: AccessRequest
) -> None:
    archive_project(actor=None, project=cast.ranking, reason="Done.")
    with pytest.raises(AlreadyDecidedError, match="The project Ranking is closed"):
        approve(asked, cast.ben)
    assert not Grant.objects.exists()


def test_the_clock_closes_and_restarts_what_nobody_looks_at(cast: Cast, ask: Ask) -> None:
    moved, stays = ask(), ask(actor=cast.dan, project=cast.fraud)
    move_project(actor=None, project=cast.ranking, team=cast.cards, reason="A new owner.")
    assert (follow_all(most=10), follow_all(most=10)) == (1, 0)
    moved.refresh_from_db()
    stays.refresh_from_db()
    assert (moved.revision, stays.revision) == (2, 1)
    archive_project(actor=None, project=cast.ranking, reason="Done.")
    assert follow_all(most=10) == 1
    assert told("request.closed") == {"ada@example.com"}


def test_a_request_that_nobody_could_approve_in_its_new_team_is_closed(cast: Cast, ask: Ask) -> None:
    request = ask()
    lonely = factories.TeamFactory.create(name="Lonely", department=cast.payments)
    move_project(actor=None, project=cast.ranking, team=lonely, reason="A new owner.")
    follow_all(most=10)
    request.refresh_from_db()
    assert request.status == RequestStatus.CLOSED
    assert "the lead of Lonely" in request.closed_reason


def test_a_leavers_requests_and_delegations_end_in_one_act(cast: Cast, ask: Ask) -> None:
    mine, other = ask(actor=cast.ben), ask()
    budget = limits.open_budget(
        actor=None,
        scope_kind=ScopeKind.TEAM,
        scope_id=cast.search.pk,
        department=cast.product,
        window=Window.MONTH,
        mode=Mode.HARD,
        amount_usd=Decimal(100),
        reason="A start.",
    )
    factories.RoleAssignmentFactory.create(role=Role.LEAD, team=cast.search)
    more = ask_increase(
        actor=cast.ben, budget=budget, limit_usd=Decimal(10_000_000), reason="A launch in December."
    )
    now = clock.now()
    for days in (0, 3):
        delegate(
            actor=cast.ben,
            taker=(cast.dan, cast.eve)[days > 0],
            role=Role.LEAD,
            team=cast.search,
            valid_from=now + timedelta(days=days),
            valid_until=now + timedelta(days=days + 5),
        )
    assert close_requests_of(cast.ben) == {"requests": 1, "increases": 1, "delegations": 2}
    assert close_requests_of(cast.ben) == {"requests": 0, "increases": 0, "delegations": 0}
    assert not Delegation.objects.live().exists()
    assert AccessRequest.objects.get(pk=mine.pk).closed_reason == "Ben Okafor has left."
    assert BudgetRequest.objects.get(pk=more.pk).status == RequestStatus.CLOSED
    assert AccessRequest.objects.get(pk=other.pk).status == RequestStatus.PENDING


# ------------------------------------------------------------------------------ talk and offers


def test_a_question_reaches_the_requester_and_an_answer_who_asked(cast: Cast, asked: AccessRequest) -> None:
    comment(actor=cast.cleo, request=asked, text="Why not the small one?")
    assert told("request.comment") == {"ada@example.com"}
    comment(actor=cast.ada, request=asked, text="It misses one in three.")
    assert told("request.comment") == {"ada@example.com", "ben@example.com", "cleo@example.com"}
    thread = case_of(cast.ben, find(cast.ben, asked.public_id)).comments
    assert [f"{each.who}: {each.text}" for each in thread] == [
        "Cleo Hart: Why not the small one?",
        "Ada Moreno: It misses one in three.",
    ]
    asked.refresh_from_db()
    assert (asked.status, asked.revision) == (RequestStatus.PENDING, 1)


def test_nobody_talks_about_what_is_over(cast: Cast, asked: AccessRequest) -> None:
    withdraw(actor=cast.ada, request=asked)
    with pytest.raises(AlreadyDecidedError):
        comment(actor=cast.ben, request=asked, text="Why?")


def test_a_comment_says_something_and_stays(cast: Cast, asked: AccessRequest) -> None:
    with pytest.raises(InvalidInputError):
        comment(actor=cast.ben, request=asked, text="  ")
    comment(actor=cast.ben, request=asked, text="Why?")
    for statement in ("UPDATE approvals_comment SET text = 'x'", "DELETE FROM approvals_comment"):
        with refused_as_append_only():
            execute(statement)


def test_an_offer_that_is_taken_closes_the_request_and_asks_for_the_lower_tier(cast: Cast, ask: Ask) -> None:
    request = ask(tier=cast.tier3, model_names=[], duration_days=30)
    offer = comment(actor=cast.cleo, request=request, text="Try this first.", offered_tier=cast.tier2)
    taken = accept_offer(actor=cast.ada, offer=offer, expected_monthly_usd=Decimal(900))
    assert taken is not None
    assert (taken.tier, taken.expected_monthly_usd) == (cast.tier2, Decimal(420))
    request.refresh_from_db()
    assert request.status == RequestStatus.CLOSED
    assert request.closed_reason == "Ada Moreno took Tier 2 instead, as Cleo Hart offered."


def test_an_offer_of_tier_1_needs_no_request(cast: Cast, asked: AccessRequest) -> None:
    offer = comment(actor=cast.ben, request=asked, text="Try this first.", offered_tier=cast.tier1)
    assert accept_offer(actor=cast.ada, offer=offer, expected_monthly_usd=Decimal(1)) is None
    assert AccessRequest.objects.get().status == RequestStatus.CLOSED


def test_offers_are_lower_by_who_decides_and_for_this_revision(cast: Cast, asked: AccessRequest) -> None:
    with pytest.raises(InvalidInputError, match="below Tier 2"):
        comment(actor=cast.ben, request=asked, text="More?", offered_tier=cast.tier3)
    with pytest.raises(InvalidInputError, match="Only who may decide"):
        comment(actor=cast.cleo, request=asked, text="Less?", offered_tier=cast.tier1)
    offer = comment(actor=cast.ben, request=asked, text="Less?", offered_tier=cast.tier1)
    with pytest.raises(NotAllowedError):
        accept_offer(actor=cast.ben, offer=offer, expected_monthly_usd=Decimal(1))
    amend(actor=cast.ada, request=asked, seen_revision=1, reason=REASON, expected_monthly_usd=Decimal(300))
    with pytest.raises(AlreadyDoneError, match="before the request changed"):
        accept_offer(actor=cast.ada, offer=offer, expected_monthly_usd=Decimal(1))
    assert Comment.objects.count() == 1
