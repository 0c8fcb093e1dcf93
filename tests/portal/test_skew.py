"""A machine whose clock is ten minutes off decides as all others do: by the database's clock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.core.cache import cache
from django.db import connection
from django.test import Client
from pytest_django import Settings

from approvals.models import Verdict, lent_to
from approvals.services import decide
from core import clock
from core.apps import timekeeper
from core.errors import DomainError, GoneError
from core.models import Outbox
from core.routing import Fate, route
from core.slack import is_from_slack
from core.timekeeping import Timekeeper
from gateway import views
from gateway.auth import credential_of, signed_headers
from gateway.hot.credentials import CredentialCache
from gateway.models import Gateway
from keys.models import ApiKey, ApiToken, Grant
from keys.services import reveal_token
from tests import factories
from tests.api.test_matrix import undone
from tests.cast import Cast
from tests.core.test_wishes import put, wish
from tests.fakes.slack import SIGNING_SECRET, signature
from tests.racing import at_once
from tests.sign_in.test_sessions import FIREFOX, PASSWORD, signed_in
from tests.signing import session_of, sign_in
from tests.skewing import HEED

LITTLE = timedelta(minutes=5)
RECORDS = "account_authentication_methods"

Check = Callable[[], bool]
Case = Callable[[Cast, datetime], Check]


@pytest.fixture(autouse=True)
def apart(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Count attempts for this test alone, and forget afterwards how far a clock was off."""
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    cache.clear()
    monkeypatch.setattr(clock, "_own", clock._Own())


def database_now() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now.astimezone(UTC)


def of_keys(cast: Cast, at: datetime) -> Check:
    ended, live = (
        factories.ApiKeyFactory.create(
            project=cast.ranking, owner=cast.ada, created_at=at - timedelta(days=1), expires_at=at + left
        )
        for left in (-LITTLE, LITTLE)
    )
    keys = ApiKey.objects.all()
    return lambda: (
        [keys.get(pk=key.pk).state.value for key in (ended, live)] == ["expired", "awaiting_reveal"]
    )


def of_grants(cast: Cast, at: datetime) -> Check:
    key = factories.ApiKeyFactory.create(project=cast.ranking, owner=cast.ada)
    given = [
        factories.approved_grant(key, starts_at=at - timedelta(days=1), expires_at=at + left)
        for left in (-LITTLE, LITTLE)
    ]
    grants = Grant.objects.all()
    return lambda: [grants.get(pk=grant.pk).state.value for grant in given] == ["expired", "active"]


def of_api_tokens(cast: Cast, at: datetime) -> Check:
    secrets = []
    for left in (-LITTLE, LITTLE):
        token = factories.ApiTokenFactory.create(owner=cast.ada, created_at=at - timedelta(days=1))
        secrets.append(reveal_token(actor=cast.ada, token=token).secret)
        ApiToken.objects.filter(pk=token.pk).update(expires_at=at + left)

    def status(secret: str) -> int:
        return Client(headers={"Authorization": f"Bearer {secret}"}).get("/api/v1/keys/").status_code

    return lambda: [status(secret) for secret in secrets] == [401, 200]


def of_delegations(cast: Cast, at: datetime) -> Check:
    for taker, left in ((cast.cleo, -LITTLE), (cast.ann, LITTLE)):
        began = at - timedelta(days=1)
        factories.DelegationFactory.create(
            giver=cast.ben, taker=taker, team=cast.search, created_at=began, valid_until=at + left
        )
    return lambda: [lent_to(taker).exists() for taker in (cast.cleo, cast.ann)] == [False, True]


def of_decisions(cast: Cast, at: datetime) -> Check:
    late, early = (
        factories.AccessRequestFactory.create(
            requester=cast.ada,
            project=project,
            created_at=at - timedelta(days=2),
            decide_by=at + left,
        )
        for project, left in ((cast.ranking, -LITTLE), (cast.fraud, LITTLE))
    )
    factories.RoleAssignmentFactory.create(user=cast.ben, role="lead", team=cast.fraud.team)

    def check() -> bool:
        decide(actor=cast.ben, request=early, verdict=Verdict.DENY, seen_revision=1, comment="No.")
        try:
            decide(actor=cast.ben, request=late, verdict=Verdict.DENY, seen_revision=1, comment="No.")
        except GoneError:
            return True
        return False

    return check


def of_quiet_hours(cast: Cast, at: datetime) -> Check:
    for person, starts, ends in ((cast.ada, -LITTLE, LITTLE), (cast.ben, LITTLE, 3 * LITTLE)):
        wish(person, time_zone="UTC", quiet_starts=(at + starts).time(), quiet_ends=(at + ends).time())
        put(person, key=person.email)
    messages = Outbox.objects.order_by("pk")
    return lambda: [route(each, clock.now()).fate for each in messages] == [Fate.WAIT, Fate.SEND]


def of_slack(_: Cast, at: datetime) -> Check:
    headers = signature("text=help", int(at.timestamp()))
    return lambda: is_from_slack(
        body=b"text=help",
        timestamp=headers["X-Slack-Request-Timestamp"],
        signature=headers["X-Slack-Signature"],
    )


def of_gateways(_: Cast, at: datetime) -> Check:
    gateway, path = Gateway.objects.create(name="gus", live_versions=[1]), "/gateway/v1/authorize"

    def check() -> bool:
        views._credentials = CredentialCache()
        headers = signed_headers(
            credential=credential_of(gateway),
            method="POST",
            target=path,
            body=b"{}",
            now_seconds=at.timestamp(),
        )
        said = Client().post(path, b"{}", "application/json", headers=headers).json()["code"]
        return bool(said == "invalid_request")

    return check


def of_confirmations(cast: Cast, at: datetime) -> Check:
    """One signed in four minutes ago on another machine, one eight minutes ago."""
    clients = []
    for minutes in (8, 4):
        client = Client()
        sign_in(client, cast.ben)
        session = session_of(client)
        shown = {"method": "password", "at": (at - timedelta(minutes=minutes)).timestamp()}
        session.update({RECORDS: [shown]})
        session.save()
        clients.append(client)
    return lambda: [each.get("/budgets/?format=csv").status_code for each in clients] == [302, 200]


def of_sign_ins(cast: Cast, _: datetime) -> Check:
    """When somebody signs in here, another machine reads how long ago that was."""
    cast.ada.set_password(PASSWORD)
    cast.ada.save()

    def check() -> bool:
        (shown,) = session_of(signed_in(cast.ada, FIREFOX))[RECORDS]
        return bool(abs(shown["at"] - database_now().timestamp()) < 30)

    return check


CASES: tuple[Case, ...] = (
    of_keys,
    of_grants,
    of_api_tokens,
    of_delegations,
    of_decisions,
    of_quiet_hours,
    of_slack,
    of_gateways,
    of_confirmations,
    of_sign_ins,
)
HELD_BY_THE_DATABASE = {(of_decisions, -10)}  # who is late is refused by the database's clock as well


@pytest.mark.parametrize("minutes", [-10, 10])
@pytest.mark.parametrize("case", CASES)
def test_clock_that_is_off_decides_nothing(
    case: Case, minutes: int, cast: Cast, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SLACK_SIGNING_SECRET = SIGNING_SECRET
    right = case(cast, database_now())
    with time_machine.travel(database_now() + timedelta(minutes=minutes), tick=True):
        if (case, minutes) not in HELD_BY_THE_DATABASE:
            assert not said(right), "the control: by its own clock it is wrong"
        monkeypatch.setattr(clock, "heed", HEED)
        Timekeeper().ask(connection=connection)
        assert said(right)


def said(right: Check) -> bool:
    """Ask, and take back what that did; a refusal is wrong."""
    with undone():
        try:
            return right()
        except DomainError:
            return False


def test_clock_within_five_seconds_is_left_alone() -> None:
    before = clock.now()
    HEED(before + timedelta(seconds=4))
    assert clock._own.behind == timedelta()
    HEED(before - timedelta(minutes=10))
    assert abs(clock.now() - before + timedelta(minutes=10)) < timedelta(seconds=3)
    HEED(datetime.now(UTC))  # and it follows when it was set right
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=3)


@pytest.mark.django_db(transaction=True)
def test_every_process_asks_once_a_minute_with_a_connection_that_it_opens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[datetime] = []
    monkeypatch.setattr(clock, "heed", told.append)
    monkeypatch.setattr(timekeeper, "_asked_at", float("-inf"))

    def opens() -> Any:
        connection.ensure_connection()

    at_once(opens)
    at_once(opens)

    assert len(told) == 1
    assert abs(told[0] - clock.now()) < timedelta(minutes=1)
