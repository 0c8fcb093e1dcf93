"""Service accounts on their page: who answers for each, and handing one over."""

from __future__ import annotations

import pytest

from core.errors import InvalidInputError
from core.models import AuditEvent
from keys.models import ServiceAccount
from keys.services import hand_over_service, make_token, open_service_account
from teams.errors import RoleNeededError
from tests.browsing import Visitor
from tests.cast import Cast

PAGE = "/keys/tokens/services/"
TABLE = "Service accounts table"


@pytest.fixture
def account(cast: Cast) -> ServiceAccount:
    """Return the service that Ada answers for."""
    return open_service_account(actor=cast.ann, name="Nightly report", responsible=cast.ada)


def test_who_answers_for_a_service_sees_it_and_administrators_see_all(
    cast: Cast, account: ServiceAccount
) -> None:
    make_token(actor=cast.ada, owner=account.user, name="ci", scopes=["keys:read"])
    for person in (cast.ada, cast.ann, cast.audrey):
        (row,) = Visitor(person).get(PAGE).rows(TABLE)
        assert (row[0], row[1], row[3]) == ("Nightly report", "Ada Moreno", "1")
    assert Visitor(cast.ben).get(PAGE).rows(TABLE) == []


def test_a_service_is_handed_over_and_its_tokens_end(cast: Cast, account: ServiceAccount) -> None:
    token = make_token(actor=cast.ada, owner=account.user, name="ci", scopes=["keys:read"])
    page = f"{PAGE}{account.user.public_id}/hand-over/"
    ada = Visitor(cast.ada)
    assert ada.post(page, responsible="nobody@example.com").status == 422
    assert ada.post(page, responsible=cast.ben.email).status == 302
    account.refresh_from_db()
    token.refresh_from_db()
    assert account.responsible == cast.ben
    assert "Ben Okafor answers for Nightly report now" in token.revoked_reason
    row = AuditEvent.objects.get(action="service_account.handed_over")
    assert (row.before, row.after) == (
        {"responsible": cast.ada.public_id},
        {"responsible": cast.ben.public_id},
    )
    assert Visitor(cast.ada).get(page).status == 404


def test_only_who_answers_for_it_or_an_administrator_hands_over(cast: Cast, account: ServiceAccount) -> None:
    for person in (cast.ben, cast.audrey):
        with pytest.raises(RoleNeededError):
            hand_over_service(actor=person, account=account, responsible=cast.ben)
    with pytest.raises(InvalidInputError):
        hand_over_service(actor=cast.ann, account=account, responsible=account.user)
    assert hand_over_service(actor=cast.ann, account=account, responsible=cast.ada) == account
    assert not AuditEvent.objects.filter(action="service_account.handed_over").exists()
