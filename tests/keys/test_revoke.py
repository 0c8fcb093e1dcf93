"""A key is ended by those who answer for it, once."""

from __future__ import annotations

import pytest

from core.errors import AlreadyDoneError, InvalidInputError
from core.models import AuditEvent, Outbox
from keys.models import ApiKey, KeyState
from keys.selectors import tiers_now
from keys.services import issue_key, revoke
from teams.errors import RoleNeededError
from tests import factories
from tests.cast import Cast


@pytest.fixture
def key(cast: Cast) -> ApiKey:
    return issue_key(actor=cast.ada, project=cast.ranking, name="laptop")


@pytest.mark.parametrize("name", ["ada", "ben", "cleo", "ann"])
def test_owner_lead_director_and_admin_revoke(cast: Cast, key: ApiKey, name: str) -> None:
    actor = getattr(cast, name)
    ended = revoke(actor=actor, key=key, reason=" Leaked in a log. ")
    assert ended.state == KeyState.REVOKED
    assert (ended.revoked_by, ended.revoked_reason) == (actor, "Leaked in a log.")
    event = AuditEvent.objects.get(action="key.revoked")
    assert (event.actor_id, event.before, event.after) == (
        actor.pk,
        {"state": "awaiting_reveal"},
        {"state": "revoked"},
    )


@pytest.mark.parametrize("name", ["dan", "eve", "olga", "fay", "audrey"])
def test_others_do_not_revoke(cast: Cast, key: ApiKey, name: str) -> None:
    with pytest.raises(RoleNeededError, match="Only Ada Moreno, who owns this key, or Ben Okafor"):
        revoke(actor=getattr(cast, name), key=key, reason="Because.")
    assert ApiKey.objects.get().revoked_at is None


def test_a_colleague_does_not_revoke(cast: Cast, key: ApiKey) -> None:
    colleague = factories.MembershipFactory.create(team=cast.search).user
    with pytest.raises(RoleNeededError):
        revoke(actor=colleague, key=key, reason="Because.")


def test_the_second_time_says_who_was_first(cast: Cast, key: ApiKey) -> None:
    revoke(actor=cast.ben, key=key, reason="Leaked.")
    with pytest.raises(AlreadyDoneError, match=r"Ben Okafor revoked laptop on .* UTC: Leaked") as refusal:
        revoke(actor=cast.ada, key=key, reason="Mine.")
    assert refusal.value.status == 409
    assert refusal.value.extra["by"] == "Ben Okafor"
    assert ApiKey.objects.get().revoked_reason == "Leaked."
    assert AuditEvent.objects.filter(action="key.revoked").count() == 1


@pytest.mark.parametrize("reason", ["", "  ", "x" * 241])
def test_a_reason_is_needed(cast: Cast, key: ApiKey, reason: str) -> None:
    with pytest.raises(InvalidInputError, match="Enter a reason") as refusal:
        revoke(actor=cast.ada, key=key, reason=reason)
    assert refusal.value.field == "reason"


def test_the_owner_is_told_when_another_revokes(cast: Cast, key: ApiKey) -> None:
    revoke(actor=cast.ben, key=key, reason="Leaked.")
    mail = Outbox.objects.get()
    assert (mail.recipient, mail.topic) == ("ada@example.com", "key.revoked")
    assert "Leaked." in mail.payload["body"]


def test_the_owner_is_not_told_what_he_did_himself(cast: Cast, key: ApiKey) -> None:
    revoke(actor=cast.ada, key=key, reason="Done with it.")
    assert not Outbox.objects.exists()


def test_a_revoked_key_may_call_nothing(cast: Cast, key: ApiKey) -> None:
    assert tiers_now(key) == [1]
    assert tiers_now(revoke(actor=cast.ada, key=key, reason="Done with it.")) == []
