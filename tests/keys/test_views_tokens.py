"""API tokens on their pages: made, shown in one answer, revoked; nobody sees another's."""

from __future__ import annotations

import re

import pytest

from keys.models import ApiToken
from keys.secrets import API_TOKEN_PATTERN
from tests import factories
from tests.browsing import Page, Visitor
from tests.cast import Cast

TOKENS = "/keys/tokens/"
TABLE = "API tokens table"


def secrets_in(page: Page) -> list[str]:
    return re.findall(API_TOKEN_PATTERN, page.response.content.decode())


def make(visitor: Visitor, **change: object) -> Page:
    return visitor.post(
        f"{TOKENS}new/", **{"name": "report", "scopes": ["keys:read"], "days": "30", **change}
    )


def test_a_token_is_made_and_shown_once(cast: Cast) -> None:
    visitor = Visitor(cast.ada)
    reveal_path = make(visitor).response["Location"]
    assert secrets_in(visitor.get(reveal_path)) == []

    shown = visitor.post(reveal_path)

    assert len(set(secrets_in(shown))) == 1
    assert "no-store" in shown.response["Cache-Control"]
    again = visitor.post(reveal_path)
    assert (again.status, secrets_in(again)) == (409, [])
    (row,) = visitor.get(TOKENS).rows(TABLE)
    assert row[1:3] == ["Live", "See keys and grants"]
    assert row[4] == "never"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": ""}, "Enter a name"),
        ({"scopes": []}, "Choose what the token is good for"),
        ({"scopes": ["everything"]}, "Choose among what is offered"),
        ({"days": "9999"}, "Choose one of the lengths"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(cast: Cast, change: dict[str, object], says: str) -> None:
    page = make(Visitor(cast.ada), **change)
    assert page.status == 422
    assert says in page.words
    assert not ApiToken.objects.exists()


def test_a_token_is_revoked_with_a_reason(cast: Cast) -> None:
    token = factories.ApiTokenFactory.create(owner=cast.ada)
    path = f"{TOKENS}{token.public_id}/revoke/"
    visitor = Visitor(cast.ada)
    assert "It was never used." in visitor.get(path).words
    assert visitor.post(path, reason="").status == 422
    assert visitor.post(path, reason="Lost.").response["Location"] == TOKENS
    token.refresh_from_db()
    assert (token.revoked_by, token.revoked_reason) == (cast.ada, "Lost.")
    assert visitor.post(path, reason="Again.").status == 409


def test_an_administrator_does_not_see_the_tokens_of_others(cast: Cast) -> None:
    token = factories.ApiTokenFactory.create(owner=cast.ada)
    visitor = Visitor(cast.ann)
    assert visitor.get(TOKENS).rows(TABLE) == []
    for act in ("reveal", "revoke"):
        assert visitor.post(f"{TOKENS}{token.public_id}/{act}/", reason="Because.").status == 404


def test_the_list_costs_the_same_for_one_and_for_ten(cast: Cast) -> None:
    visitor = Visitor(cast.ada)
    factories.ApiTokenFactory.create(owner=cast.ada)
    one = len(visitor.queries(TOKENS))
    factories.ApiTokenFactory.create_batch(9, owner=cast.ada)
    assert len(visitor.queries(TOKENS)) == one
