"""Calls the API with whatever its OpenAPI document allows and forbids, and holds the answers against it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import cycle, repeat
from typing import Any, ClassVar

import pytest
import schemathesis
from django.conf import settings
from django.core import signals
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, transaction
from hypothesis import HealthCheck, Phase
from hypothesis import settings as examples
from schemathesis import AuthContext, Case
from schemathesis.core import NotSet

from portal.api import openapi_document
from tests.api.acts import proposed_price, proposed_repricing, row_of_a_gateway, softly_closed, token_of
from tests.api.test_matrix import elsewhere, lent, proposed
from tests.api.world import Caller, World

TOKEN = "t" * 32
# 400 is "not what the document says": a call that it allows may be refused for any other reason only.
ALLOWED_CALLS = ["2xx", "403", "404", "409", "410", "412", "422"]
CONFIG = {
    "generation": {"mode": "all", "database": "none", "with-security-parameters": False},
    "checks": {"positive_data_acceptance": {"expected-statuses": ALLOWED_CALLS}},
}
FEW = examples(
    max_examples=8,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
MANY = examples(FEW, max_examples=40, derandomize=False, phases=[Phase.explicit, Phase.generate])
# The coverage phase adds the borders of every value to these.
LEAST_CALLS = 2_000
calls_made: list[str] = []


def api(**phases: bool) -> Any:
    """Load the document, with the application behind it in this process."""
    chosen = {name: {"enabled": enabled} for name, enabled in phases.items()}
    config = schemathesis.Config.from_dict({**CONFIG, "phases": chosen})
    schema = schemathesis.openapi.from_dict(openapi_document(), config=config)
    schema.app = get_wsgi_application()
    schema.config.base_url = "http://testserver"
    schema.auth(refresh_interval=None)(SignedIn)
    return schema


class SignedIn:
    """Sends the sessions of these people, in turn."""

    # The calls at the borders are made when tests are collected, before anybody can sign in.
    sessions: ClassVar[Iterator[str]] = repeat("")

    def get(self, case: Case[Any], context: AuthContext) -> str:
        """Return a session."""
        return next(self.sessions)

    def set(self, case: Case[Any], data: str, context: AuthContext) -> None:
        """Put the cookies and the token into a call."""
        case.headers.update({"X-CSRFToken": TOKEN})
        case.cookies.update({settings.SESSION_COOKIE_NAME: data, "csrftoken": TOKEN})


@pytest.fixture
def known(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Sign in the administrator and the engineer, and give an id that exists for every prefix.

    The handler must not close the connection whose transaction the test is in.
    """
    monkeypatch.setattr("socket.getaddrinfo", nobody_is_found)
    both = signals.request_started, signals.request_finished
    for signal in both:
        signal.disconnect(close_old_connections)
    callers = [Caller(world.cast.ann), Caller(world.cast.ada)]
    SignedIn.sessions = cycle(each.client.cookies[settings.SESSION_COOKIE_NAME].value for each in callers)
    yield known_ids(world)
    for signal in both:
        signal.connect(close_old_connections)


some, everything = api(coverage=False), api(coverage=True)


@some.parametrize()
@FEW
def test_answers_are_as_documented(case: Case[Any], known: dict[str, str]) -> None:
    call(case, known)


@pytest.mark.full
@pytest.mark.timeout(1_800)
@everything.parametrize()
@MANY
def test_answers_are_as_documented_at_length(case: Case[Any], known: dict[str, str]) -> None:
    call(case, known)


@pytest.mark.full
def test_enough_calls_were_made_at_length(capsys: pytest.CaptureFixture[str]) -> None:
    """Print how many calls the run made; a part of it, chosen by hand, makes fewer."""
    with capsys.disabled():
        print(f"\n{len(calls_made):,} calls of {len(set(calls_made))} operations, 0 failures")
    assert len(calls_made) >= LEAST_CALLS


def call(case: Case[Any], known: dict[str, str]) -> None:
    """Make one call, about what exists as often as not, and take its effects back."""
    case.path_parameters = real(case.path_parameters, known)
    case.query = real(case.query, known)
    case.body = real(case.body, known)
    if settings.SESSION_COOKIE_NAME in (case.cookies or {}):
        case.cookies[settings.SESSION_COOKIE_NAME] = next(SignedIn.sessions)
    if leaves_out_what_may_be_left_out(case):
        return
    calls_made.append(case.operation.label)
    with transaction.atomic():
        case.call_and_validate(headers={"Accept-Encoding": "identity"})
        transaction.set_rollback(True)


def leaves_out_what_may_be_left_out(case: Case[Any]) -> bool:
    """Whether no body is sent where none is needed, which schemathesis takes for a violation."""
    wrong = (
        [part for part, info in case.meta.components.items() if info.mode.is_negative] if case.meta else []
    )
    needed = case.operation.definition.raw.get("requestBody", {}).get("required", False)
    return wrong == ["body"] and isinstance(case.body, NotSet) and not needed


def known_ids(world: World) -> dict[str, str]:
    """Return an id that exists for every prefix."""
    cast = world.cast
    objects = (
        cast.product, cast.search, cast.ranking, cast.ada, cast.large, cast.large.prices.order_by("pk")[0],
        world.budget, world.rate_limit, world.fresh_key, world.grant, world.request, world.discrepancy,
        lent(world), proposed(world), proposed(world).base, world.event, world.webhook, world.message,
        cast.ben.role_assignments.get(), row_of_a_gateway(), softly_closed(), proposed_price(world),
        token_of(cast.ada), proposed_repricing(world), world.gateway,
    )  # fmt: skip
    known = {each.public_id.partition("_")[0]: each.public_id for each in objects}
    return {**known, "ses": elsewhere(cast.ada)}


def nobody_is_found(*_: object, **__: object) -> None:
    """Stand in for the name server: it would be asked for thousands of invented hosts."""
    raise OSError


def real(value: Any, known: dict[str, str]) -> Any:
    """Replace about half of the ids by one that exists."""
    match value:
        case dict():
            return {name: real(inner, known) for name, inner in value.items()}
        case list():
            return [real(inner, known) for inner in value]
        case str() if match := re.fullmatch(r"([a-z]{3})_[0-9A-Za-z]{18}", value):
            return known.get(match[1], value) if value[-1] < "W" else value
    return value
