"""Tier 1 keys are self-service for those who work in the project's team."""

from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine

from core import clock
from core.errors import InvalidInputError
from core.models import AuditEvent
from keys.models import ApiKey, KeyState
from keys.selectors import tiers_now
from keys.services import issue_approved_key, issue_key
from teams.errors import NotInTeamError
from teams.models import Membership, Project, Team
from tests.cast import Cast


def test_engineer_issues_a_key_that_awaits_its_reveal(cast: Cast) -> None:
    key = issue_key(actor=cast.ada, project=cast.ranking, name="  laptop ")
    assert (key.owner, key.name, key.state) == (cast.ada, "laptop", KeyState.AWAITING_REVEAL)
    assert key.secret_hmac is None
    assert tiers_now(key) == [1]


def test_a_key_lasts_180_days_unless_it_is_said(cast: Cast) -> None:
    with time_machine.travel(clock.now(), tick=False):
        key = issue_key(actor=cast.ada, project=cast.ranking, name="laptop")
        assert key.expires_at == clock.now() + timedelta(days=180)
        end = clock.now() + timedelta(days=365)
        assert (
            issue_key(actor=cast.ada, project=cast.ranking, name="server", expires_at=end).expires_at == end
        )


@pytest.mark.parametrize("days", [-1, 0, 366])
def test_an_end_that_is_past_or_too_far_is_refused(cast: Cast, days: int) -> None:
    end = clock.now() + timedelta(days=days, seconds=1 if days == 366 else 0)
    with pytest.raises(InvalidInputError, match="within the next 365 days") as refusal:
        issue_key(actor=cast.ada, project=cast.ranking, name="laptop", expires_at=end)
    assert refusal.value.field == "expires_at"


@pytest.mark.parametrize("name", ["", "   ", "x" * 81])
def test_a_key_needs_a_name(cast: Cast, name: str) -> None:
    with pytest.raises(InvalidInputError, match="Enter a name") as refusal:
        issue_key(actor=cast.ada, project=cast.ranking, name=name)
    assert refusal.value.field == "name"


def test_lead_without_a_membership_issues_a_key(cast: Cast) -> None:
    Membership.objects.filter(user=cast.ben).delete()
    assert issue_key(actor=cast.ben, project=cast.ranking, name="laptop").owner == cast.ben


@pytest.mark.parametrize("name", ["cleo", "dan", "eve", "olga", "fay", "audrey", "ann"])
def test_whoever_does_not_work_in_the_team_is_refused(cast: Cast, name: str) -> None:
    with pytest.raises(NotInTeamError, match="Ask Ben Okafor to add you"):
        issue_key(actor=getattr(cast, name), project=cast.ranking, name="laptop")
    assert not ApiKey.objects.exists()


def test_a_former_member_is_refused(cast: Cast) -> None:
    Membership.objects.filter(user=cast.ada).update(valid_until=clock.now())
    with pytest.raises(NotInTeamError):
        issue_key(actor=cast.ada, project=cast.ranking, name="laptop")


@pytest.mark.parametrize("closed", [Project, Team])
def test_a_closed_project_issues_no_keys(cast: Cast, closed: type[Project | Team]) -> None:
    closed.objects.update(archived_at=clock.now())
    project = Project.objects.select_related("team").get(pk=cast.ranking.pk)
    with pytest.raises(InvalidInputError, match="Ranking is closed"):
        issue_key(actor=cast.ada, project=project, name="laptop")


def test_issuing_is_recorded_with_its_place(cast: Cast) -> None:
    key = issue_key(actor=cast.ada, project=cast.ranking, name="laptop")
    event = AuditEvent.objects.get()
    assert (event.action, event.actor_id, event.object_id) == ("key.issued", cast.ada.pk, key.public_id)
    assert (event.team_id, event.department_id) == (cast.search.pk, cast.product.pk)
    assert event.after["project"] == "ranking"


@pytest.mark.parametrize(("days", "life"), [(30, 180), (300, 300), (999, 365)])
def test_an_approved_key_outlives_its_grant_as_far_as_a_key_may(cast: Cast, days: int, life: int) -> None:
    with time_machine.travel(clock.now(), tick=False):
        key = issue_approved_key(
            actor=cast.ben, owner=cast.ada, project=cast.ranking, name="Tier 2", days=days
        )
        assert (key.owner, key.expires_at) == (cast.ada, clock.now() + timedelta(days=life))
