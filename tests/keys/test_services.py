"""A service account is somebody of its own at the API; a person answers for it and makes its tokens."""

from __future__ import annotations

import pytest
from django.core.exceptions import ObjectDoesNotExist
from django.test import Client

from core.errors import InvalidInputError, NotAllowedError
from core.models import AuditEvent, Outbox
from keys.models import ApiToken, ServiceAccount
from keys.services import (
    make_token,
    open_service_account,
    report_leak,
    reveal_token,
    revoke_keys_of,
    revoke_token,
)
from teams.errors import RoleNeededError
from teams.models import Role
from tests import factories
from tests.browsing import Visitor
from tests.cast import Cast

NEW = "/keys/tokens/services/new/"


@pytest.fixture
def account(cast: Cast) -> ServiceAccount:
    """A service for which Ben answers."""
    return open_service_account(actor=cast.ann, name="Cost report", responsible=cast.ben)


def test_it_acts_as_itself_with_the_roles_it_was_given(cast: Cast, account: ServiceAccount) -> None:
    factories.RoleAssignmentFactory.create(user=account.user, role=Role.AUDITOR)
    token = make_token(actor=cast.ben, owner=account.user, name="nightly", scopes=["organisation:read"])
    secret = reveal_token(actor=cast.ben, token=token).secret
    teams = Client(headers={"Authorization": f"Bearer {secret}"}).get("/api/v1/teams/").json()["results"]
    assert {team["name"] for team in teams} >= {"Search", "Cards"}
    assert AuditEvent.objects.get(action="token.made").actor_id == cast.ben.pk


def test_it_cannot_sign_in(account: ServiceAccount) -> None:
    assert not account.user.has_usable_password()
    assert account.user.email == "cost-report@services.invalid"


@pytest.mark.parametrize("who", ["ada", "cleo", "fay", "ann"])
def test_nobody_else_makes_or_sees_its_tokens(cast: Cast, account: ServiceAccount, who: str) -> None:
    person = getattr(cast, who)
    with pytest.raises(NotAllowedError):
        make_token(actor=person, owner=account.user, name="nightly", scopes=["keys:read"])
    token = make_token(actor=cast.ben, owner=account.user, name="nightly", scopes=["keys:read"])
    assert token not in ApiToken.objects.visible_to(person)
    for act in (
        lambda: reveal_token(actor=person, token=token),
        lambda: revoke_token(actor=person, token=token, reason="Because."),
    ):
        with pytest.raises(NotAllowedError):
            act()


def test_its_tokens_end_when_who_answers_leaves(cast: Cast, account: ServiceAccount) -> None:
    token = make_token(actor=cast.ben, owner=account.user, name="nightly", scopes=["keys:read"])
    revoke_keys_of(actor=cast.ann, person=cast.ben, reason="Ben left.")
    token.refresh_from_db()
    assert token.revoked_reason == "Ben left."


def test_who_answers_is_told_of_a_leak(cast: Cast, account: ServiceAccount) -> None:
    token = make_token(actor=cast.ben, owner=account.user, name="nightly", scopes=["keys:read"])
    assert report_leak(secret=reveal_token(actor=cast.ben, token=token).secret, place="a log")
    assert Outbox.objects.get(topic="secret.leaked").recipient == cast.ben.email


def test_only_administrators_open_one(cast: Cast) -> None:
    with pytest.raises(RoleNeededError):
        open_service_account(actor=cast.cleo, name="Report", responsible=cast.ben)


def test_a_name_is_taken_once_and_a_service_answers_for_none(cast: Cast, account: ServiceAccount) -> None:
    for name, responsible, field in (
        ("cost report", cast.ben, "name"),
        ("other", account.user, "responsible"),
    ):
        with pytest.raises(InvalidInputError) as refused:
            open_service_account(actor=cast.ann, name=name, responsible=responsible)
        assert refused.value.field == field


def test_an_administrator_opens_one_and_its_person_makes_the_token(cast: Cast) -> None:
    admin = Visitor(cast.ann)
    assert admin.post(NEW, name="Report", responsible="nobody@example.com").status == 422
    assert admin.post(NEW, name="Report", responsible=cast.ben.email.upper()).status == 302
    service = ServiceAccount.objects.get().user
    entered = {"name": "nightly", "scopes": ["keys:read"], "days": "30"}

    made = Visitor(cast.ben).post("/keys/tokens/new/", owner=service.public_id, **entered)

    assert made.status == 302
    assert ApiToken.objects.get().owner == service
    assert Visitor(cast.ada).post("/keys/tokens/new/", owner=service.public_id, **entered).status == 302
    assert ApiToken.objects.filter(owner=cast.ada).count() == 1
    with pytest.raises(ObjectDoesNotExist):
        ApiToken.objects.get(owner=cast.ben)
