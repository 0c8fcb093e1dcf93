"""Stopping a key for a time, letting it go on, and planning activity that would stop it."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from core import clock
from core.errors import AlreadyDoneError, InvalidInputError
from core.models import AuditEvent, Outbox
from keys.errors import KeyEndedError, NotRevealedError, NotSuspendedError, PlanEndedError
from keys.models import ApiKey, PlannedActivity, Suspension, SuspensionCause
from keys.services import cancel_activity, plan_activity, resume, revoke, suspend
from teams.errors import RoleNeededError
from tests import factories
from tests.cast import Cast

WHY = "It loops."


@pytest.fixture
def key(cast: Cast) -> ApiKey:
    made = factories.ApiKeyFactory.create(owner=cast.ada, project=cast.ranking, name="nightly batch")
    factories.revealed(made)
    return made


def plan(cast: Cast, key: ApiKey, **changes: Any) -> PlannedActivity:
    now = clock.now()
    wanted: dict[str, Any] = {
        "actor": cast.ben,
        "starts_at": now + timedelta(hours=1),
        "ends_at": now + timedelta(hours=5),
        "most_usd_an_hour": Decimal(80),
        "reason": "Backfill of the index.",
    }
    return plan_activity(key=key, **(wanted | changes))


def test_a_suspended_key_keeps_its_secret_and_says_why(cast: Cast, key: ApiKey) -> None:
    suspension = suspend(actor=cast.ben, key=key, reason=f" {WHY} ")

    key.refresh_from_db()
    assert (key.state, key.suspended_reason) == ("suspended", WHY)
    assert (suspension.cause, suspension.suspended_by, suspension.reason) == ("person", cast.ben, WHY)
    event = AuditEvent.objects.get(action="key.suspended")
    assert (event.actor_label, event.reason, event.after["cause"]) == (cast.ben.label, WHY, "person")


@pytest.mark.parametrize("who", ["ada", "ben", "cleo", "ann"])
def test_its_owner_and_those_who_oversee_it_suspend_a_key(cast: Cast, key: ApiKey, who: str) -> None:
    suspend(actor=getattr(cast, who), key=key, reason=WHY)

    told = list(Outbox.objects.filter(topic="key.suspended").values_list("recipient", flat=True))
    assert told == ([] if who == "ada" else [cast.ada.email])


@pytest.mark.parametrize("who", ["dan", "eve", "olga", "fay", "audrey"])
def test_nobody_else_does(cast: Cast, key: ApiKey, who: str) -> None:
    with pytest.raises(RoleNeededError):
        suspend(actor=getattr(cast, who), key=key, reason=WHY)
    assert not Suspension.objects.exists()


@pytest.mark.parametrize("who", ["ben", "cleo", "ann"])
def test_those_who_oversee_it_resume_a_key(cast: Cast, key: ApiKey, who: str) -> None:
    suspend(actor=cast.ada, key=key, reason=WHY)

    ended = resume(actor=getattr(cast, who), key=key, reason="Mended.")

    key.refresh_from_db()
    assert (key.state, key.suspended_at, key.suspended_reason) == ("live", None, "")
    assert (ended.resumed_by, ended.resumed_reason) == (getattr(cast, who), "Mended.")
    assert AuditEvent.objects.get(action="key.resumed").reason == "Mended."
    assert Outbox.objects.get(topic="key.resumed").recipient == cast.ada.email


@pytest.mark.parametrize("who", ["ada", "dan", "eve", "fay"])
def test_its_owner_does_not_resume_it(cast: Cast, key: ApiKey, who: str) -> None:
    suspend(actor=cast.ada, key=key, reason=WHY)

    with pytest.raises(RoleNeededError, match="Only Ben Okafor, lead of the team"):
        resume(actor=getattr(cast, who), key=key)
    key.refresh_from_db()
    assert key.suspended_at is not None


def test_suspending_twice_says_since_when_and_why(cast: Cast, key: ApiKey) -> None:
    suspend(actor=cast.ben, key=key, reason=WHY)

    with pytest.raises(AlreadyDoneError, match=f"is suspended since .* UTC: {WHY}"):
        suspend(actor=cast.ada, key=key, reason="Again.")
    assert Suspension.objects.count() == 1


def test_resuming_twice_is_refused(cast: Cast, key: ApiKey) -> None:
    suspend(actor=cast.ben, key=key, reason=WHY)
    resume(actor=cast.ben, key=key)

    with pytest.raises(NotSuspendedError):
        resume(actor=cast.cleo, key=key)
    assert AuditEvent.objects.filter(action="key.resumed").count() == 1


def test_a_revoked_key_is_neither_suspended_nor_resumed(cast: Cast, key: ApiKey) -> None:
    suspend(actor=cast.ben, key=key, reason=WHY)
    revoke(actor=cast.ben, key=key, reason="Leaked.")

    with pytest.raises(KeyEndedError):
        resume(actor=cast.ben, key=key)
    with pytest.raises(KeyEndedError):
        suspend(actor=cast.ben, key=key, reason=WHY)


def test_a_key_without_a_secret_has_nothing_to_suspend(cast: Cast) -> None:
    waiting = factories.ApiKeyFactory.create(owner=cast.ada, project=cast.ranking)

    with pytest.raises(NotRevealedError):
        suspend(actor=cast.ben, key=waiting, reason=WHY)


@pytest.mark.parametrize("reason", ["", "  ", "x" * 241])
def test_a_reason_is_asked_for(cast: Cast, key: ApiKey, reason: str) -> None:
    with pytest.raises(InvalidInputError):
        suspend(actor=cast.ben, key=key, reason=reason)


def test_a_plan_is_kept_with_who_and_why_and_its_owner_is_told(cast: Cast, key: ApiKey) -> None:
    made = plan(cast, key)

    assert (made.planned_by, made.most_usd_an_hour, made.cancelled_at) == (cast.ben, 80, None)
    event = AuditEvent.objects.get(action="key.activity_planned")
    assert event.after["most_usd_an_hour"] == "80"
    assert Outbox.objects.get(topic="key.activity_planned").recipient == cast.ada.email


@pytest.mark.parametrize("who", ["ada", "dan", "eve", "fay", "audrey"])
def test_only_those_who_oversee_a_key_plan_for_it(cast: Cast, key: ApiKey, who: str) -> None:
    made = plan(cast, key)

    with pytest.raises(RoleNeededError):
        plan(cast, key, actor=getattr(cast, who))
    with pytest.raises(RoleNeededError):
        cancel_activity(actor=getattr(cast, who), key=key, plan_id=made.public_id)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"starts_at": timedelta(hours=-1)}, "starts_at"),
        ({"starts_at": timedelta(days=91), "ends_at": timedelta(days=91, hours=1)}, "starts_at"),
        ({"ends_at": timedelta(hours=1)}, "ends_at"),
        ({"ends_at": timedelta(days=7, hours=2)}, "ends_at"),
        ({"most_usd_an_hour": Decimal(0)}, "most_usd_an_hour"),
        ({"most_usd_an_hour": Decimal("1000000.01")}, "most_usd_an_hour"),
    ],
)
def test_a_plan_has_a_time_and_an_amount_that_make_sense(
    cast: Cast, key: ApiKey, changes: dict[str, Any], field: str
) -> None:
    now = clock.now()
    moments = {
        name: now + value if isinstance(value, timedelta) else value for name, value in changes.items()
    }

    with pytest.raises(InvalidInputError) as refused:
        plan(cast, key, **moments)
    assert refused.value.field == field
    assert not PlannedActivity.objects.exists()


def test_a_plan_does_not_outlive_its_key(cast: Cast) -> None:
    short = factories.ApiKeyFactory.create(
        owner=cast.ada, project=cast.ranking, expires_at=clock.now() + timedelta(hours=3)
    )

    with pytest.raises(InvalidInputError, match="expires on"):
        plan(cast, short)


def test_a_plan_is_cancelled_once(cast: Cast, key: ApiKey) -> None:
    made = plan(cast, key)

    first = cancel_activity(actor=cast.cleo, key=key, plan_id=made.public_id)
    again = cancel_activity(actor=cast.ben, key=key, plan_id=made.public_id)

    assert (first.cancelled_by, again.cancelled_by, again.cancelled_at) == (
        cast.cleo,
        cast.cleo,
        first.cancelled_at,
    )
    assert AuditEvent.objects.filter(action="key.activity_cancelled").count() == 1


def test_a_plan_that_is_over_or_of_another_key_is_not_cancelled(cast: Cast, key: ApiKey) -> None:
    other = factories.ApiKeyFactory.create(owner=cast.ada, project=cast.ranking)
    elsewhere = plan(cast, other)
    ended = PlannedActivity.objects.create(
        key=key,
        starts_at=clock.now() - timedelta(hours=2),
        ends_at=clock.now() - timedelta(hours=1),
        most_usd_an_hour=1,
        reason=WHY,
        planned_by=cast.ben,
    )

    for gone in (elsewhere, ended):
        with pytest.raises(PlanEndedError):
            cancel_activity(actor=cast.ben, key=key, plan_id=gone.public_id)


def open_suspension(key: ApiKey, at: datetime) -> Suspension:
    return Suspension.objects.create(key=key, cause=SuspensionCause.VELOCITY, reason="fast", suspended_at=at)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"reason": "other"}, "keeps its facts"),
        ({"evidence": {"hour_usd": "0"}}, "keeps its facts"),
        ({"suspended_at": clock.now()}, "keeps its facts"),
        ({"resumed_at": clock.now()}, "suspension_is_ended_by_a_person"),
    ],
)
def test_the_database_keeps_the_facts_of_a_suspension(
    cast: Cast, key: ApiKey, change: dict[str, Any], name: str
) -> None:
    open_suspension(key, clock.now() - timedelta(hours=1))

    with pytest.raises(IntegrityError, match=name), transaction.atomic():
        Suspension.objects.update(**change)


def test_the_database_lets_one_suspension_of_a_key_be_open(key: ApiKey) -> None:
    open_suspension(key, clock.now())

    with pytest.raises(IntegrityError, match="suspension_is_the_only_open_one"), transaction.atomic():
        open_suspension(key, clock.now())


def test_the_database_keeps_a_plan_as_it_was_planned(cast: Cast, key: ApiKey) -> None:
    plan(cast, key)

    with pytest.raises(IntegrityError, match="stays as it was planned"), transaction.atomic():
        PlannedActivity.objects.update(most_usd_an_hour=Decimal(1000))
    with pytest.raises(IntegrityError, match="stays as it was planned"), transaction.atomic():
        PlannedActivity.objects.get().delete()
