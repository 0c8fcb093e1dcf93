"""A key that is stopped for a time, on its page: why, by whom, and who lets it go on."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from django.test import override_settings

from core import clock
from keys.models import ApiKey, PlannedActivity, Suspension, SuspensionCause
from keys.services import plan_activity, suspend
from tests import factories
from tests.browsing import Visitor
from tests.cast import Cast
from usage.models import KeyMinute

WHY = "It loops."
FAST = "it spent $59.00 within an hour"


@pytest.fixture
def key(cast: Cast) -> ApiKey:
    made = factories.ApiKeyFactory.create(owner=cast.ada, project=cast.ranking, name="nightly batch")
    factories.revealed(made)
    return made


def at(key: ApiKey, act: str = "") -> str:
    return f"/keys/{key.public_id}/{act}"


def stopped_by_the_breaker(key: ApiKey) -> None:
    now = clock.now() - timedelta(minutes=5)
    ApiKey.objects.filter(pk=key.pk).update(
        suspended_at=now, suspended_reason="it spent $59.00 within an hour"
    )
    Suspension.objects.create(
        key=key,
        cause=SuspensionCause.VELOCITY,
        reason=FAST,
        evidence={"minutes": ["0"] * 58 + ["29", "30"]},
        suspended_at=now,
    )


def test_page_says_why_the_breaker_stopped_a_key_and_shows_the_hour(cast: Cast, key: ApiKey) -> None:
    stopped_by_the_breaker(key)

    page = Visitor(cast.ada).get(at(key))

    assert "Suspended 5 minutes ago" in page.words
    assert f"Purser suspended it: {FAST} Calls with it are refused with 403." in page.words
    assert 'class="spark"' in page.response.content.decode()
    assert "refused with 403. The lead of the team can resume it." in page.words
    assert "Resume the key" not in page.words


def test_lead_resumes_with_one_click(cast: Cast, key: ApiKey) -> None:
    stopped_by_the_breaker(key)
    ben = Visitor(cast.ben)
    assert "Resume the key" in ben.get(at(key)).words

    ben.post(at(key, "resume/"))
    page = ben.get(at(key))

    assert "nightly batch goes on. What it spent before is not held against it." in page.words
    key.refresh_from_db()
    assert key.state == "live"


def test_the_second_click_says_that_it_was_resumed(cast: Cast, key: ApiKey) -> None:
    stopped_by_the_breaker(key)
    ben = Visitor(cast.ben)
    ben.post(at(key, "resume/"))

    again = ben.post(at(key, "resume/"))

    assert again.status == 409
    assert "nightly batch is not suspended" in again.words


def test_a_link_in_a_mail_resumes_nothing(cast: Cast, key: ApiKey) -> None:
    stopped_by_the_breaker(key)

    page = Visitor(cast.ben).get(at(key, "resume/"))

    assert "Resume the key nightly batch?" in page.words
    assert "it is suspended again if it goes on as fast" in page.words
    assert Suspension.objects.get().resumed_at is None


def test_owner_suspends_with_a_reason(cast: Cast, key: ApiKey) -> None:
    ada = Visitor(cast.ada)
    asked = ada.get(at(key, "suspend/"))
    assert "Calls with it are refused with 403 at once" in asked.words

    empty = ada.post(at(key, "suspend/"), reason=" ")
    assert (empty.status, "Enter why you suspend the key" in empty.words) == (422, True)
    ada.post(at(key, "suspend/"), reason=WHY)
    page = ada.get(at(key))

    assert f"Ada Moreno suspended it: {WHY}" in page.words
    assert Suspension.objects.get().suspended_by == cast.ada


def test_page_says_how_fast_a_key_may_spend(cast: Cast, key: ApiKey) -> None:
    minute = clock.now().replace(second=0, microsecond=0)
    KeyMinute.objects.create(key_id=key.pk, minute=minute, cost_usd=Decimal("3.5"))

    words = Visitor(cast.ada).get(at(key)).words

    assert "It is suspended when it spends more than $10.00 within an hour; now $3.50 count." in words
    assert "Plan more for a time" not in words
    assert "Plan more for a time" in Visitor(cast.ben).get(at(key)).words


@override_settings(TIME_ZONE="Europe/Berlin")
def test_lead_plans_activity_by_the_clock_on_the_wall(cast: Cast, key: ApiKey) -> None:
    ben, tomorrow = Visitor(cast.ben), clock.now().date() + timedelta(days=1)
    entered = {"hours": "6", "most_usd_an_hour": "80", "reason": "Backfill."}

    ben.post(at(key, "plan/"), starts_at=f"{tomorrow}T12:00", **entered)

    made = PlannedActivity.objects.get()
    assert made.starts_at == datetime.combine(tomorrow, time(12), ZoneInfo("Europe/Berlin"))
    assert made.ends_at - made.starts_at == timedelta(hours=6)
    assert "Up to $80.00 an hour from" in ben.get(at(key)).words


def test_a_plan_without_a_start_starts_now(cast: Cast, key: ApiKey) -> None:
    Visitor(cast.ben).post(at(key, "plan/"), hours="2", most_usd_an_hour="80", reason="Backfill.")

    assert abs(PlannedActivity.objects.get().starts_at - clock.now()) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("entered", "says"),
    [
        ({"hours": ""}, "Enter how many hours it lasts"),
        ({"hours": "169"}, "less than or equal to 168"),
        ({"starts_at": "tomorrow"}, "Enter a day and a time such as 2026-12-01 18:00"),
        ({"starts_at": "2020-01-01T10:00"}, "Let it start between now and 90 days from now."),
        ({"most_usd_an_hour": ""}, "Enter the most that it will spend within an hour"),
        ({"most_usd_an_hour": "0"}, "more than 0"),
        ({"reason": ""}, "Enter what the activity is for"),
    ],
)
def test_what_is_wrong_with_a_plan_is_said_and_kept(
    cast: Cast, key: ApiKey, entered: dict[str, str], says: str
) -> None:
    wanted = {"starts_at": "", "hours": "2", "most_usd_an_hour": "80", "reason": "Backfill."}

    page = Visitor(cast.ben).post(at(key, "plan/"), **(wanted | entered))

    assert page.status == 422
    assert says in page.words
    assert not PlannedActivity.objects.exists()


def test_lead_cancels_a_plan(cast: Cast, key: ApiKey) -> None:
    now = clock.now()
    plan = plan_activity(
        actor=cast.ben,
        key=key,
        starts_at=now,
        ends_at=now + timedelta(hours=2),
        most_usd_an_hour=Decimal(80),
        reason="Backfill.",
    )
    ben = Visitor(cast.ben)
    assert "Planned: Backfill." in ben.get(at(key, f"plan/{plan.public_id}/cancel/")).words

    ben.post(at(key, f"plan/{plan.public_id}/cancel/"))
    page = ben.get(at(key))

    assert "The planned activity of nightly batch is cancelled." in page.words
    assert "Up to $80.00" not in page.words


def test_the_list_of_keys_shows_which_are_suspended(cast: Cast, key: ApiKey) -> None:
    suspend(actor=cast.ada, key=key, reason=WHY)

    assert "Suspended" in Visitor(cast.ada).get("/keys/").words
