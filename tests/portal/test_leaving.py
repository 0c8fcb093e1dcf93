"""The leaver rule: in one transaction nothing of a leaver is live any more, whatever happens beside it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from threading import Event

import pytest
from allauth.usersessions.models import UserSession
from django.db.models import Q
from django.test import Client

from approvals.models import AccessRequest, BudgetRequest, Delegation, RequestStatus, Verdict
from approvals.services import ask_increase, break_glass, decide, delegate, expire_due
from budgets.models import ScopeKind
from core import clock
from core.errors import DomainError
from core.models import AuditEvent, Outbox
from keys.models import ApiKey, ApiToken, Grant
from keys.services import issue_key, make_token, open_service_account
from portal.leaving import LEAVING, TEAM_ENDINGS, consequences
from teams.errors import NotInTeamError
from teams.models import Role, User
from teams.selectors import roles_of
from teams.services import deactivate_person, end_membership
from tests import factories
from tests.api.world import World, make_world, open_budget
from tests.approvals.conftest import ask_for, lend
from tests.browsing import Visitor
from tests.cast import Cast, make_cast
from tests.racing import at_once, while_it_waits
from tests.signing import sign_in

WHY = "The contract ended."


def leave(cast: Cast, who: User | None = None) -> User:
    """Let Ada leave, as the page and the directory do."""
    return deactivate_person(actor=cast.ann, user=who or cast.ada, reason=WHY, endings=LEAVING.endings)


def nothing_is_live(person: User) -> None:
    """Hold the person against the rule."""
    person.refresh_from_db()
    roles = roles_of(person)
    assert not person.is_active
    assert not roles.member_of | roles.leads | roles.directs
    assert not ApiKey.objects.filter(owner=person, revoked_at__isnull=True).exists()
    assert not Grant.objects.filter(key__owner=person, revoked_at__isnull=True).exists()
    assert not AccessRequest.objects.pending().filter(beneficiary=person).exists()
    assert not BudgetRequest.objects.pending().filter(requester=person).exists()
    assert not ApiToken.objects.visible_to(person).filter(revoked_at__isnull=True).exists()
    lent = Delegation.objects.live().filter(Q(giver=person) | Q(taker=person))
    assert not lent.exists()
    assert not UserSession.objects.filter(user=person).exists()


@pytest.fixture
def world(cast: Cast) -> World:
    """Make one of everything of Ada's."""
    made = make_world(cast)
    ask_increase(actor=cast.ada, budget=made.budget, limit_usd=Decimal(600), reason="A launch in December.")
    lend(cast, "ben", "ada")
    make_token(actor=cast.ada, name="ci", scopes=["keys:read"])
    program = open_service_account(actor=cast.ann, name="Nightly report", responsible=cast.ada)
    make_token(actor=cast.ada, owner=program.user, name="nightly", scopes=["usage:read"])
    return made


def test_nothing_of_a_leaver_is_live(world: World) -> None:
    ada = Client()
    sign_in(ada, world.cast.ada)
    UserSession.objects.create(
        user=world.cast.ada, ip="192.0.2.1", session_key=ada.session.session_key, user_agent=""
    )

    leave(world.cast)

    nothing_is_live(world.cast.ada)
    assert ada.get("/keys/").status_code == 302
    event = AuditEvent.objects.get(action="person.deactivated")
    assert event.reason == WHY
    assert event.after == {
        "is_active": False,
        "memberships": 1,
        "roles": 0,
        "requests": 1,
        "increases": 1,
        "delegations": 1,
        "keys": 2,
        "sessions": 1,
    }
    closed = AccessRequest.objects.get(pk=world.request.pk)
    assert (closed.status, closed.closed_reason) == (RequestStatus.CLOSED, f"Ada Moreno has left: {WHY}")


def test_others_keep_what_they_have(world: World) -> None:
    cast = world.cast
    dans = factories.ApiKeyFactory.create(owner=cast.dan, project=cast.fraud)
    asked = factories.AccessRequestFactory.create(requester=cast.dan, project=cast.fraud)

    leave(cast)

    dans.refresh_from_db()
    assert dans.revoked_at is None
    assert AccessRequest.objects.get(pk=asked.pk).status == RequestStatus.PENDING


def test_it_happens_whole_or_not_at_all(world: World) -> None:
    def broken(**_: object) -> dict[str, int]:
        raise ConnectionError("an app to the left failed")

    with pytest.raises(ConnectionError):
        deactivate_person(
            actor=world.cast.ann, user=world.cast.ada, reason=WHY, endings=(*LEAVING.endings, broken)
        )

    world.cast.ada.refresh_from_db()
    assert world.cast.ada.is_active
    assert AccessRequest.objects.get(pk=world.request.pk).status == RequestStatus.PENDING
    assert not ApiKey.objects.filter(revoked_at__isnull=False).exists()
    assert not AuditEvent.objects.filter(action__in=("person.deactivated", "key.revoked")).exists()


def test_the_page_says_before_what_ends_and_ends_it(world: World) -> None:
    cast = world.cast
    ann = Visitor(cast.ann)
    path = f"/people/{cast.ada.public_id}/leave/"

    page = ann.get(path)

    for line in consequences(cast.ada):
        assert line.text in page.words
    assert "The key prod of project Ranking" in page.words
    assert "The API token ci (" in page.words
    assert "of Nightly report is revoked." in page.words
    assert "Delegations from and to this person end: 1." in page.words
    assert "The service Nightly report stays" in page.words
    assert ann.post(path, reason="").status == 422
    assert User.objects.get(pk=cast.ada.pk).is_active
    assert ann.post(path, reason=WHY).status == 302
    nothing_is_live(cast.ada)
    assert ann.get(path).status == 409


def test_a_lead_who_leaves_is_named_with_what_stays_behind(cast: Cast) -> None:
    lines = [each.text for each in consequences(cast.ben)]

    assert "Team lead of Search: the role ends." in lines
    assert "Project Ranking stays and still names this person as its owner: name another one." in lines


def test_who_comes_back_has_nothing(world: World) -> None:
    cast = world.cast
    leave(cast)

    assert (
        Visitor(cast.ann).post(f"/people/{cast.ada.public_id}/return/", reason="Hired again.").status == 302
    )

    cast.ada.refresh_from_db()
    assert cast.ada.is_active
    assert not roles_of(cast.ada).member_of
    assert not ApiKey.objects.filter(owner=cast.ada, revoked_at__isnull=True).exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.race
def test_without_the_lock_a_key_issued_meanwhile_outlives_him() -> None:
    cast = make_cast()
    has_looked, has_left = Event(), Event()

    def naive_issue() -> ApiKey:
        assert User.objects.get(pk=cast.ada.pk).is_active
        has_looked.set()
        assert has_left.wait(20)
        return factories.ApiKeyFactory.create(owner=cast.ada, project=cast.ranking)

    def leave_then() -> None:
        assert has_looked.wait(20)
        leave(cast)
        has_left.set()

    at_once(naive_issue, leave_then)

    assert ApiKey.objects.filter(owner=cast.ada, revoked_at__isnull=True).exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.race
@pytest.mark.parametrize("round_", range(5))
def test_whatever_is_issued_and_approved_while_he_leaves_is_not_live_after(round_: int) -> None:
    cast = make_cast()
    asked = ask_for(cast)

    outcomes = at_once(
        lambda: leave(cast),
        lambda: issue_key(actor=cast.ada, project=cast.ranking, name=f"laptop {round_}"),
        lambda: decide(actor=cast.ben, request=asked, verdict=Verdict.APPROVE, seen_revision=1),
    )

    failed = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert all(isinstance(error, DomainError) for error in failed), failed
    nothing_is_live(cast.ada)


def test_what_is_past_its_time_expires_and_is_not_closed(cast: Cast) -> None:
    late = factories.AccessRequestFactory.create(
        requester=cast.ada, project=cast.ranking, created_at=clock.now() - timedelta(days=8)
    )
    leave(cast)
    late.refresh_from_db()
    assert late.state == RequestStatus.EXPIRED
    expire_due()
    late.refresh_from_db()
    assert late.status == RequestStatus.EXPIRED


def leave_team(cast: Cast) -> object:
    """Take Ada out of team Search, as the page and the API do."""
    return end_membership(
        actor=cast.cleo, team=cast.search, user=cast.ada, reason="Moved to Cards.", endings=TEAM_ENDINGS
    )


LEFT_TEAM = "Ada Moreno has left team Search: Moved to Cards."


def test_who_leaves_a_team_waits_for_nothing_there(world: World) -> None:
    cast = world.cast
    increase = BudgetRequest.objects.get(requester=cast.ada)

    leave_team(cast)

    for mine, action in ((world.request, "request.closed"), (increase, "budget_increase.closed")):
        mine.refresh_from_db()
        event = AuditEvent.objects.get(action=action)
        mail = Outbox.objects.get(topic=action)
        assert (mine.status, event.reason) == (RequestStatus.CLOSED, LEFT_TEAM)
        assert (mail.recipient, mail.payload["body"]) == (cast.ada.email, LEFT_TEAM)
    after = AuditEvent.objects.get(action="team.member_left").after
    assert after == {"member": cast.ada.public_id, "requests": 1, "increases": 1, "keys": 2}
    world.grant.refresh_from_db()
    assert world.grant.revoked_reason == LEFT_TEAM


def test_what_waits_elsewhere_and_for_others_goes_on(world: World) -> None:
    cast = world.cast
    factories.MembershipFactory.create(user=cast.ada, team=cast.cards)
    others = [
        factories.AccessRequestFactory.create(requester=cast.ada, project=cast.fraud),
        factories.AccessRequestFactory.create(
            requester=factories.MembershipFactory.create(team=cast.search).user, project=cast.ranking
        ),
    ]

    leave_team(cast)

    assert {row.status for row in AccessRequest.objects.filter(pk__in=[each.pk for each in others])} == {
        RequestStatus.PENDING
    }


def test_who_still_answers_for_the_team_keeps_asking_for_its_budget(world: World) -> None:
    """A director works in a team too, at times; her request for more budget never was a member's."""
    cast = world.cast
    factories.RoleAssignmentFactory.create(user=cast.ada, role=Role.DIRECTOR, department=cast.product)

    leave_team(cast)

    assert BudgetRequest.objects.get(requester=cast.ada).status == RequestStatus.PENDING


def test_leaving_a_team_happens_whole_or_not_at_all(world: World) -> None:
    def broken(**_: object) -> dict[str, int]:
        raise ConnectionError("an app to the left failed")

    with pytest.raises(ConnectionError):
        end_membership(
            actor=world.cast.cleo,
            team=world.cast.search,
            user=world.cast.ada,
            reason=WHY,
            endings=(*TEAM_ENDINGS, broken),
        )

    assert AccessRequest.objects.get(pk=world.request.pk).status == RequestStatus.PENDING
    assert world.cast.search.pk in roles_of(world.cast.ada).member_of
    assert not Outbox.objects.filter(topic="request.closed").exists()


def asks(cast: Cast) -> object:
    return ask_for(cast)


def breaks_the_glass(cast: Cast) -> object:
    return break_glass(actor=cast.ada, project=cast.ranking, tier=cast.tier2, reason="All searches fail now.")


def asks_for_money(cast: Cast) -> object:
    budget = open_budget(cast, ScopeKind.PROJECT, cast.ranking.pk, "500")
    return ask_increase(actor=cast.ada, budget=budget, limit_usd=Decimal(600), reason="A launch in December.")


def lends_to_her(cast: Cast) -> object:
    now = clock.now()
    return delegate(
        actor=cast.ben,
        taker=cast.ada,
        role=Role.LEAD,
        team=cast.search,
        valid_from=now,
        valid_until=now + timedelta(days=2),
    )


def makes_a_token(cast: Cast) -> object:
    return make_token(actor=cast.ada, name="ci", scopes=["keys:read"])


@pytest.fixture
def emergencies(transactional_db: None) -> Cast:
    """Return the cast under a policy that lets people break the glass, in committed rows."""
    people = make_cast()
    factories.new_policy(people.tier2, [("lead", 1)], break_glass_hours=4, break_glass_cap_usd=Decimal(50))
    return people


@pytest.mark.race
@pytest.mark.parametrize("act", [asks, breaks_the_glass, asks_for_money, lends_to_her, makes_a_token])
def test_nothing_begins_for_a_person_who_leaves_meanwhile(
    emergencies: Cast, act: Callable[[Cast], object]
) -> None:
    refused = while_it_waits(lambda: leave(emergencies), lambda: act(emergencies))

    assert isinstance(refused, DomainError), refused
    nothing_is_live(emergencies.ada)


@pytest.mark.race
@pytest.mark.parametrize("act", [asks, breaks_the_glass])
def test_nothing_begins_in_a_team_that_one_leaves_meanwhile(
    emergencies: Cast, act: Callable[[Cast], object]
) -> None:
    refused = while_it_waits(lambda: leave_team(emergencies), lambda: act(emergencies))

    assert isinstance(refused, NotInTeamError), refused
    assert not AccessRequest.objects.pending().exists()
    assert not ApiKey.objects.filter(owner=emergencies.ada, revoked_at__isnull=True).exists()
