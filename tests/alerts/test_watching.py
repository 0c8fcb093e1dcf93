"""The watch reads each call once, warns once a project and day, and only who is responsible."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from math import sqrt

import pytest
from django.db import connection
from django.db.models import Sum
from django.test.utils import CaptureQueriesContext

from core import clock
from core.models import Outbox, OutboxKind
from keys.models import ApiKey
from teams.models import Project
from tests.alerts.scene import DAY, HOUR, MINUTE, NOW
from tests.api.world import Caller
from tests.browsing import Visitor
from tests.cast import Cast, make_cast
from tests.factories import ApiKeyFactory, ProjectFactory, SpendWarningFactory, WebhookFactory
from tests.racing import at_once
from tests.usage.books import book
from usage.drift import SLOT, SLOTS_AN_HOUR, WEEK, WEEKS
from usage.models import SpendDrift, SpendPace, SpendWarning, SpendWatch
from usage.services import forget_pace, watch_spend
from usage.services.alerts.watching import LAG, MOST_TOGETHER

LEAK_STARTS = NOW - 2 * HOUR
USUAL_SLOT_USD = Decimal("0.25")
CALL = """
    INSERT INTO usage_event (source, external_id, at, recorded_at, key_id, owner_id, project_id, team_id,
      department_id, model_id, tier_id, calls, cost_usd, input_tokens, cached_tokens, cache_write_tokens,
      output_tokens, reasoning_tokens, units, finish, cache_hit, estimated, late, provider_call_id)
    SELECT 'gw_test', %(name)s, %(at)s, %(at)s, k.id, k.owner_id, p.id, p.team_id, t.department_id, m.id,
      m.tier_id, 1, %(usd)s, 10, 0, 0, 10, 0, '{}', 'stop', false, false, false, ''
    FROM keys_apikey k JOIN teams_project p ON p.id = k.project_id JOIN teams_team t ON t.id = p.team_id,
      catalog_llmmodel m WHERE k.id = %(key)s AND m.id = %(model)s
"""
pytestmark = pytest.mark.django_db


def call(key: ApiKey, cast: Cast, usd: str, at: datetime) -> None:
    """Let a key make one call."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT usage_make_partitions(%s::date, %s::date)", [at, at])
        name = f"{key.pk} {at.isoformat()}"
        cursor.execute(
            CALL, {"name": name, "at": at, "key": key.pk, "model": cast.small.pk, "usd": Decimal(usd)}
        )


def known(project: Project, *, weeks: int = WEEKS) -> None:
    """Let a project have spent $3 in every hour of the last weeks around these hours of the week."""
    SpendDrift.objects.create(project=project, watched_since=NOW - weeks * WEEK - DAY)
    SpendPace.objects.bulk_create(
        SpendPace(
            project=project,
            hour=NOW - week * WEEK + hour * HOUR,
            root_sum=SLOTS_AN_HOUR * sqrt(USUAL_SLOT_USD),
            cost_usd=SLOTS_AN_HOUR * USUAL_SLOT_USD,
        )
        for week in range(1, weeks + 1)
        for hour in range(-30, 30)
    )


def looked_until(moment: datetime) -> None:
    SpendWatch.objects.update_or_create(pk=1, defaults={"through": moment})


def leak(key: ApiKey, cast: Cast, *, usd_a_slot: str = "3", since: datetime = LEAK_STARTS) -> None:
    """Let a key spend the same in every slot from a moment to now."""
    for number in range((NOW - since) // SLOT):
        call(key, cast, usd_a_slot, since + number * SLOT + MINUTE)


def look(moment: datetime) -> int:
    """Look at each five minutes up to a moment, as the job does."""
    through = SpendWatch.objects.get().through
    assert through is not None
    looks = (moment - LAG - through) // SLOT
    return sum(watch_spend(at=through + number * SLOT + LAG) for number in range(1, looks + 1))


@pytest.fixture
def key(cast: Cast) -> ApiKey:
    """Give ada a key of a project that has spent the same for five weeks; the watch is up to date."""
    known(cast.ranking)
    looked_until(LEAK_STARTS)
    return ApiKeyFactory.create(project=cast.ranking, owner=cast.ada, name="loop")


def test_a_leak_is_warned_of_once_a_day_with_its_figures(cast: Cast, key: ApiKey) -> None:
    leak(key, cast)
    book(cast.ranking, cast.small, NOW.date(), "72", key=key, owner=cast.ada)
    assert look(NOW) == 1
    warning = SpendWarning.objects.get()
    assert (warning.project, warning.day, warning.since) == (cast.ranking, NOW.date(), LEAK_STARTS)
    assert (warning.usd_per_hour, warning.usual_usd_per_hour) == (36, 3)
    mail = Outbox.objects.get(topic="spend.warning")
    assert mail.recipient == cast.ben.email
    assert mail.payload["subject"] == "Ranking spends more than it usually does"
    assert mail.payload["link"] == f"/projects/{cast.ranking.public_id}/"
    assert mail.payload["body"].startswith(
        "Since 10 November 2026, 10:00 UTC, Ranking spends $36.00 an hour, where $3.00 is usual"
    )
    assert "Keys that spent most: loop of Ada Moreno $72.00." in mail.payload["body"]


def test_spend_as_it_usually_is_makes_no_warning(cast: Cast, key: ApiKey) -> None:
    leak(key, cast, usd_a_slot="0.30")
    assert look(NOW) == 0


def test_a_project_is_known_for_four_weeks_before_it_is_warned_of(cast: Cast) -> None:
    known(cast.ranking, weeks=3)
    looked_until(LEAK_STARTS)
    leak(ApiKeyFactory.create(project=cast.ranking, owner=cast.ada), cast)
    assert look(NOW) == 0


def test_each_call_is_read_once_and_kept_as_sums_of_its_hour(cast: Cast, key: ApiKey) -> None:
    leak(key, cast)
    for _ in range(3):
        watch_spend(at=NOW)
    rows = SpendPace.objects.filter(hour__gte=LEAK_STARTS, hour__lt=NOW).order_by("hour")
    slots = (NOW - LAG - LEAK_STARTS) // SLOT
    assert rows.aggregate(usd=Sum("cost_usd"))["usd"] == 3 * slots
    assert next(row.root_sum for row in rows) == pytest.approx(SLOTS_AN_HOUR * sqrt(3))
    assert SpendWatch.objects.get().through == NOW - LAG


def test_after_a_pause_the_watch_goes_on_from_where_it_was_a_piece_at_a_time(cast: Cast, key: ApiKey) -> None:
    looked_until(NOW - 10 * HOUR)
    leak(key, cast)
    told = [watch_spend(at=NOW) for _ in range(4)]
    assert (sum(told), told[-1]) == (1, 0)
    assert SpendWatch.objects.get().through == NOW - LAG


def test_a_first_look_goes_back_four_weeks(cast: Cast) -> None:
    assert watch_spend(at=NOW) == 0
    assert SpendWatch.objects.get().through == NOW - LAG - WEEKS * WEEK + MOST_TOGETHER


def test_the_lead_of_another_team_learns_nothing(cast: Cast, key: ApiKey) -> None:
    leak(key, cast)
    look(NOW)
    told = set(Outbox.objects.values_list("recipient", flat=True))
    assert told == {cast.ben.email}
    assert Caller(cast.eve).get("spend-warnings/").json()["results"] == []


def test_a_webhook_that_listens_is_told_the_figures(cast: Cast, key: ApiKey) -> None:
    WebhookFactory.create(actions=["spend."])
    leak(key, cast)
    look(NOW)
    told = Outbox.objects.get(kind=OutboxKind.WEBHOOK).payload["data"]
    assert told["project"]["code"] == "ranking"
    assert Decimal(told["spent_usd_per_hour"]) == 36


def test_hours_that_no_usual_is_made_of_are_forgotten(cast: Cast) -> None:
    for days in (34, 36):
        SpendPace.objects.create(
            project=cast.ranking, hour=clock.now() - days * DAY, root_sum=1, cost_usd=Decimal(1)
        )
    assert forget_pace() == 1


@pytest.mark.parametrize("number", [5, 50])
def test_a_look_asks_as_often_for_5_projects_as_for_50(cast: Cast, number: int) -> None:
    for _ in range(number):
        project = ProjectFactory.create(team=cast.search)
        known(project)
        key = ApiKeyFactory.create(project=project, owner=cast.ada)
        book(project, cast.small, NOW.date(), "72", key=key)
        for slot in range(12):
            call(key, cast, "9", LEAK_STARTS + slot * SLOT)
    looked_until(LEAK_STARTS)
    with CaptureQueriesContext(connection) as asked:
        assert watch_spend(at=LEAK_STARTS + HOUR + LAG) == number
    assert len(asked) == 18


@pytest.mark.race
@pytest.mark.django_db(transaction=True)
def test_two_looks_at_once_read_each_call_once_and_warn_once() -> None:
    cast = make_cast()
    known(cast.ranking)
    looked_until(LEAK_STARTS)
    leak(ApiKeyFactory.create(project=cast.ranking, owner=cast.ada), cast)
    told = at_once(*[lambda: watch_spend(at=NOW)] * 3)
    assert sorted(told) == [0, 0, 1]
    slots = (NOW - LAG - LEAK_STARTS) // SLOT
    read = SpendPace.objects.filter(hour__gte=LEAK_STARTS, hour__lt=NOW).aggregate(usd=Sum("cost_usd"))
    assert read["usd"] == 3 * slots


def test_the_overview_says_it_for_a_day_to_who_sees_the_project(cast: Cast) -> None:
    SpendWarningFactory.create(project=cast.ranking)
    SpendWarningFactory.create(project=cast.fraud, warned_at=clock.now() - 25 * HOUR)
    text = "Ranking spends more than it usually does. $8.00 an hour since"
    assert text in Visitor(cast.ben).get("/").words
    assert text in Visitor(cast.cleo).get("/").words
    for stranger in (cast.eve, cast.dan):
        assert "than it usually does" not in Visitor(stranger).get("/").words


def test_the_api_lists_the_warnings_of_what_the_person_may_see(cast: Cast) -> None:
    mine = SpendWarningFactory.create(project=cast.ranking)
    other = SpendWarningFactory.create(project=cast.fraud)

    def listed(who: object, **query: str) -> list[str]:
        answer = Caller(who).get("spend-warnings/", **query)  # type: ignore[arg-type]
        return [row["id"] for row in answer.json()["results"]]

    assert listed(cast.ben) == [mine.public_id]
    assert listed(cast.fay) == [other.public_id, mine.public_id]
    assert listed(cast.fay, project=cast.ranking.public_id) == [mine.public_id]
    shown = Caller(cast.ada).get(f"spend-warnings/{mine.public_id}/").json()
    assert shown["project"]["code"] == "ranking"
    assert Decimal(shown["usd_per_hour"]) == 8
    assert Caller(cast.eve).get(f"spend-warnings/{mine.public_id}/").status_code == 404
