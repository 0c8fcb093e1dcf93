"""The breaker in the way of calls: the settlement that goes too far stops its key, with no job to help."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection, transaction
from django.test import Client

from budgets.models import Reservation, ScopeKind, Window
from core import clock
from core.models import AuditEvent, Outbox
from keys.models import ApiKey, PlannedActivity, Suspension
from keys.services import resume
from keys.services.suspending import tell_of_suspensions
from teams.models import User
from tests import factories
from tests.gateway.conftest import Gus, World, build_world
from tests.racing import at_once
from usage.models import KeyMinute
from usage.services import expire_holds, stop_runaways

OUTPUT_TOKENS_A_DOLLAR = 500_000


@pytest.fixture
def ben(world: World) -> User:
    """Return the lead of the team."""
    person = User.objects.create_user("ben@example.com", name="Ben Okafor")
    factories.RoleAssignmentFactory.create(user=person, role="lead", team=world.team)
    return person


def burn(world: World, dollars: str) -> None:
    """Make one call that costs so much."""
    held = world.gus.authorize(world.token)
    assert held.status_code == 200, held.json()
    tokens = int(Decimal(dollars) * OUTPUT_TOKENS_A_DOLLAR)
    settled = world.gus.settle(held.json()["reservation"], input_tokens=0, output_tokens=tokens)
    assert settled.json()["charged_usd"].startswith(dollars)


def minute_passes() -> None:
    """Let what was spent so far have been a minute ago."""
    for spent in KeyMinute.objects.order_by("minute"):
        KeyMinute.objects.filter(pk=spent.pk).update(minute=spent.minute - timedelta(minutes=1))


def test_the_settlement_that_goes_too_far_stops_the_key(world: World) -> None:
    burn(world, "9")
    minute_passes()
    assert not Suspension.objects.exists()

    burn(world, "2")

    refused = world.gus.authorize(world.token)
    assert (refused.status_code, refused.json()["code"]) == (403, "key_suspended")
    why = "it spent $11.00 within an hour, more than the $10.00 that a new key may"
    assert why in refused.json()["detail"]
    assert Suspension.objects.get().key == world.key


def test_what_is_under_way_when_a_key_is_stopped_still_settles(world: World) -> None:
    under_way = world.gus.authorize(world.token).json()["reservation"]
    burn(world, "11")

    settled = world.gus.settle(under_way)

    assert (settled.status_code, settled.json()["status"]) == (200, "settled")


def test_a_key_is_looked_at_once_a_minute(world: World) -> None:
    burn(world, "1")
    burn(world, "11")
    assert not Suspension.objects.exists()

    minute_passes()
    burn(world, "0.1")

    assert Suspension.objects.exists()


def test_other_keys_of_the_project_go_on(world: World) -> None:
    other = factories.ApiKeyFactory.create(project=world.project, owner=world.ada)
    token = factories.revealed(other)
    burn(world, "11")

    assert world.gus.authorize(token).status_code == 200


def test_the_lead_resumes_a_key_and_it_is_not_stopped_for_what_is_past(world: World, ben: User) -> None:
    burn(world, "11")
    resume(actor=ben, key=world.key)

    minute_passes()
    burn(world, "9")

    assert world.gus.authorize(world.token).status_code == 200
    assert Suspension.objects.count() == 1


def test_a_key_that_goes_on_as_fast_is_stopped_again(world: World, ben: User) -> None:
    burn(world, "11")
    resume(actor=ben, key=world.key)
    minute_passes()
    soon = clock.now() + timedelta(minutes=2)
    KeyMinute.objects.create(key_id=world.key.pk, minute=soon.replace(second=0, microsecond=0), cost_usd=11)

    assert stopped_at(world, soon) == 1


def stopped_at(world: World, moment: datetime) -> int:
    """Look at the key as if it were another time."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT usage_stop_runaways(%s, %s)", [[world.key.pk], moment])
        stopped: int = cursor.fetchone()[0]
    return stopped


def test_activity_that_was_planned_is_let_through(world: World, ben: User) -> None:
    now = clock.now()
    PlannedActivity.objects.create(
        key=world.key,
        starts_at=now - timedelta(hours=1),
        ends_at=now + timedelta(hours=1),
        most_usd_an_hour=50,
        reason="Backfill.",
        planned_by=ben,
    )
    burn(world, "40")
    assert world.gus.authorize(world.token).status_code == 200

    minute_passes()
    burn(world, "11")

    assert world.gus.authorize(world.token).json()["code"] == "key_suspended"
    assert Suspension.objects.get().cause == "plan"


def test_charges_for_calls_of_long_ago_are_no_pace(world: World) -> None:
    world.price(world.small, "request", "20")
    world.gus.authorize(world.token)
    ended = clock.now() - timedelta(hours=7)
    Reservation.objects.update(authorized_at=ended - timedelta(minutes=10), expires_at=ended)

    expire_holds()

    assert not KeyMinute.objects.exists()
    assert not Suspension.objects.exists()


def test_charges_count_in_the_minute_of_their_call(world: World) -> None:
    held = world.gus.authorize(world.token).json()["reservation"]
    then = clock.now() - timedelta(minutes=7)
    Reservation.objects.update(authorized_at=then)

    world.gus.settle(held, input_tokens=0, output_tokens=OUTPUT_TOKENS_A_DOLLAR)

    spent = KeyMinute.objects.get()
    assert (spent.minute, spent.cost_usd) == (then.replace(second=0, microsecond=0), 1)


def test_owner_and_lead_and_webhooks_are_told_once(world: World, ben: User) -> None:
    factories.WebhookFactory.create(actions=["key."])
    world.budget("team", kind=ScopeKind.TEAM, limit="100", window=Window.MONTH)
    burn(world, "11")

    assert [tell_of_suspensions(), tell_of_suspensions()] == [1, 0]

    suspension = Suspension.objects.get()
    mails = Outbox.objects.filter(topic="key.suspended", kind="mail").order_by("recipient")
    assert [mail.recipient for mail in mails] == [world.ada.email, ben.email]
    assert {mail.payload["link"] for mail in mails} == {f"/keys/{world.key.public_id}/"}
    assert suspension.reason in mails[0].payload["body"]
    told = Outbox.objects.get(kind="webhook")
    event = AuditEvent.objects.get(action="key.suspended")
    assert (told.topic, told.payload["data"]["id"]) == ("key.suspended", event.public_id)


@pytest.mark.race
@pytest.mark.django_db(transaction=True)
class TestTogether:
    """Several sessions at once."""

    @pytest.fixture
    def world(self, transactional_db: None) -> World:
        return build_world()

    def test_two_watchers_suspend_a_key_once(self, world: World) -> None:
        burn(world, "9")
        KeyMinute.objects.update(cost_usd=11)

        assert sorted(at_once(stop_runaways, stop_runaways, stop_runaways)) == [0, 0, 1]
        assert Suspension.objects.count() == 1
        assert AuditEvent.objects.filter(action="key.suspended").count() == 1

    def test_a_key_that_somebody_holds_is_stopped_a_minute_later(self, world: World) -> None:
        burn(world, "9")
        KeyMinute.objects.update(cost_usd=11)
        with transaction.atomic():
            ApiKey.objects.select_for_update(no_key=True).get()
            assert at_once(stop_runaways) == [0]

        assert stop_runaways() == 1

    def test_calls_that_settle_together_stop_the_key_once_and_none_is_lost(self, world: World) -> None:
        held = [world.gus.authorize(world.token).json()["reservation"] for _ in range(6)]

        def settle(reservation: str) -> int:
            gus = Gus(world.gus.gateway, Client())
            answer = gus.settle(reservation, input_tokens=0, output_tokens=12 * OUTPUT_TOKENS_A_DOLLAR)
            return int(answer.status_code)

        assert at_once(*(lambda each=each: settle(each) for each in held)) == [200] * 6
        assert Suspension.objects.count() == 1
        assert KeyMinute.objects.get().cost_usd == 72
