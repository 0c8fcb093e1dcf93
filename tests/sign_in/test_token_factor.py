"""A token of somebody who has to have a second factor and has none does no more than his session."""

from __future__ import annotations

import pytest
from allauth.mfa.models import Authenticator
from pytest_django import Settings
from rest_framework.test import APIClient

from keys.services import make_token, open_service_account, reveal_token
from teams.models import Role, User
from tests import factories
from tests.api.test_errors import problem
from tests.api.test_tokens import call, program
from tests.api.world import World, make_world
from tests.approvals.conftest import lend
from tests.cast import Cast


@pytest.fixture
def world(cast: Cast, settings: Settings) -> World:
    """Make one of everything, where second factors are required."""
    built = make_world(cast)
    settings.MFA_REQUIRED = True
    return built


def set_up(user: User) -> None:
    Authenticator.objects.create(user=user, type=Authenticator.Type.TOTP, data={})


def test_token_from_before_the_role_waits_for_the_second_factor(world: World) -> None:
    client = program(world.cast.ada, ["keys:read", "keys:write"])
    path = f"keys/{world.key.public_id}/rename/"
    assert call(client, path, {"name": "batch"}).status_code == 200

    factories.RoleAssignmentFactory.create(user=world.cast.ada, role=Role.LEAD, team=world.cast.search)

    for body in (None, {"name": "other"}):
        refused = problem(call(client, path if body else "keys/", body), 403, "second_factor_missing")
        assert "Ada Moreno needs a second factor" in refused["detail"]
        assert refused["next_url"] == "/accounts/2fa/"
    set_up(world.cast.ada)
    assert call(client, path, {"name": "other"}).status_code == 200


def test_token_of_whom_a_role_is_lent_waits_too(world: World) -> None:
    client = program(world.cast.dan, ["keys:read"])
    assert call(client, "keys/").status_code == 200
    lend(world.cast, "ben", "dan")
    problem(call(client, "keys/"), 403, "second_factor_missing")


def test_provider_that_asks_for_factors_itself_is_believed(world: World, settings: Settings) -> None:
    settings.OIDC_PROVIDES_MFA = True
    assert call(program(world.cast.ben, ["keys:read"]), "keys/").status_code == 200


def test_service_has_no_second_factor(world: World) -> None:
    service = open_service_account(actor=world.cast.ann, name="Nightly", responsible=world.cast.ada)
    factories.RoleAssignmentFactory.create(user=service.user, role=Role.FINANCE)
    token = make_token(actor=world.cast.ada, name="ci", scopes=["keys:read"], owner=service.user)
    client = APIClient()
    secret = reveal_token(actor=world.cast.ada, token=token).secret
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    assert call(client, "keys/").status_code == 200
