"""What a person chose decides how news reaches him, and no message is lost or sent twice, on any night."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import time_machine
from django.core import mail
from django.core.mail import EmailMultiAlternatives
from django.db import IntegrityError, connection, transaction
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pytest_django.fixtures import Settings

from core import clock, digests, outbox
from core.models import (
    WAITS,
    Channel,
    DeliveryAttempt,
    NewsChoice,
    NewsKind,
    Outbox,
    OutboxKind,
    Preference,
    SlackLink,
)
from core.routing import kind_of
from core.schedule import QuietHours, quiet_until
from portal.news.senders import SENDERS
from teams.models import User
from tests import factories
from tests.cast import Cast

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def put(person: User, topic: str = "request.approved", key: str = "one") -> Outbox:
    with transaction.atomic():
        message = outbox.put_mail(
            topic=topic, recipient=person.email, dedupe_key=key, subject=f"About {key}",
            body=f"Text of {key}", link="/keys/",
        )  # fmt: skip
    assert message is not None
    return message


def wish(person: User, channel: Channel | None = None, **fields: Any) -> Preference:
    """Let a person choose, for what becomes of requests."""
    made = Preference.objects.create(person=person, **fields)
    if channel:
        NewsChoice.objects.create(preference=made, kind=NewsKind.REQUESTS, channel=channel)
    return made


def counts(senders: Any = SENDERS) -> dict[str, int]:
    return {name: number for name, number in outbox.drain(senders=senders).items() if number}


@contextmanager
def at(moment: datetime) -> Iterator[None]:
    with time_machine.travel(moment, tick=False):
        yield


@pytest.mark.parametrize(
    ("topic", "kind"),
    [
        ("request.waiting", NewsKind.WAITING),
        ("budget_increase.waiting", NewsKind.WAITING),
        ("request.denied", NewsKind.REQUESTS),
        ("grant.revoked", NewsKind.KEYS),
        ("key.revoked", NewsKind.KEYS),
        ("key.leaked", None),
        ("audit.differs", None),
        ("break_glass.used", None),
    ],
)
def test_each_topic_is_of_a_kind_or_important(topic: str, kind: NewsKind | None) -> None:
    assert kind_of(topic) == kind


def test_mail_is_text_and_html_with_the_same_words_and_a_link_to_a_page(cast: Cast) -> None:
    put(cast.ada, key="<b>Tier 2</b>")

    assert counts() == {"sent": 1}

    [sent] = mail.outbox
    assert isinstance(sent, EmailMultiAlternatives)
    [(html, kind)] = sent.alternatives
    assert isinstance(html, str)
    assert isinstance(sent.body, str)
    assert kind == "text/html"
    assert "Text of <b>Tier 2</b>" in sent.body
    assert "Text of &lt;b&gt;Tier 2&lt;/b&gt;" in html
    assert "/keys/" in sent.body
    assert 'href="http://127.0.0.1:' in html
    assert "/notifications/" in sent.body


def test_subject_of_several_lines_makes_no_header(cast: Cast) -> None:
    put(cast.ada, key="one\nBcc: dan@example.com")
    assert counts() == {"sent": 1}
    assert mail.outbox[0].subject == "About one Bcc: dan@example.com"
    assert mail.outbox[0].recipients() == [cast.ada.email]


def test_what_a_person_switched_off_is_dropped_and_says_so(cast: Cast) -> None:
    wish(cast.ada, Channel.OFF)
    put(cast.ada)
    assert counts() == {"dropped": 1}
    assert Outbox.objects.get().dropped_at is not None
    assert mail.outbox == []


@pytest.mark.parametrize("topic", ["ledger.differs", "key.leaked", "break_glass.used"])
def test_important_news_comes_at_once_whatever_was_chosen(cast: Cast, topic: str) -> None:
    made = wish(cast.ada, Channel.OFF, quiet_starts=time(0), quiet_ends=time(23, 59))
    for kind in (NewsKind.KEYS, NewsKind.WAITING, NewsKind.BUDGETS):
        NewsChoice.objects.create(preference=made, kind=kind, channel=Channel.OFF)
    put(cast.ada, topic)
    assert counts() == {"sent": 1}


def test_daily_mail_has_everything_since_the_last_one(cast: Cast) -> None:
    wish(cast.ada, Channel.DIGEST, time_zone="Europe/Berlin", digest_time=time(8))
    with at(NOON):
        put(cast.ada, key="one")
        put(cast.ada, key="two")
        assert counts() == {"held": 2}
        assert digests.collect() == 0
    with at(NOON + timedelta(hours=18)):  # 08:00 in Berlin
        assert digests.collect() == 1
        assert digests.collect() == 0
        assert counts() == {"sent": 1}

    [sent] = mail.outbox
    assert sent.subject == "2 messages of the day"
    assert all(word in sent.body for word in ("About one", "Text of two", "/keys/"))
    assert set(Outbox.objects.exclude(topic="digest").values_list("digest__topic", flat=True)) == {"digest"}


def test_quiet_hours_hold_until_they_end(cast: Cast) -> None:
    wish(cast.ada, time_zone="Europe/Berlin", quiet_starts=time(22), quiet_ends=time(7))
    with at(NOON + timedelta(hours=9)):  # 23:00 in Berlin
        put(cast.ada)
        assert counts() == {"held": 1}
        assert Outbox.objects.get().next_attempt_at == NOON + timedelta(hours=17)
    with at(NOON + timedelta(hours=17)):
        assert counts() == {"sent": 1}


def test_empty_zone_is_the_organisations(cast: Cast, settings: Settings) -> None:
    settings.TIME_ZONE = "Asia/Tokyo"
    wish(cast.ada, quiet_starts=time(20), quiet_ends=time(22))
    with at(NOON):  # 21:00 in Tokyo
        put(cast.ada)
        assert counts() == {"held": 1}


def test_slack_needs_a_confirmed_account_and_mail_stands_in(cast: Cast, settings: Settings) -> None:
    settings.SLACK_BOT_TOKEN = "xoxb-test"
    wish(cast.ada, Channel.SLACK)
    slack: list[str] = []
    senders = {**SENDERS, "slack": lambda message: slack.append(message.dedupe_key)}
    put(cast.ada, key="one")
    assert counts(senders) == {"sent": 1}
    SlackLink.objects.create(person=cast.ada, slack_user="U1", confirmed_at=clock.now())
    put(cast.ada, key="two")

    assert counts(senders) == {"sent": 1}

    assert slack == ["two"]
    assert len(mail.outbox) == 1
    channels = list(DeliveryAttempt.objects.order_by("pk").values_list("channel", flat=True))
    assert channels == ["mail", "slack"]


def test_each_attempt_is_kept_with_what_came_of_it(cast: Cast) -> None:
    put(cast.ada)

    def broken(message: Outbox) -> None:
        raise OSError("no route to host")

    with at(NOON):
        Outbox.objects.update(next_attempt_at=NOON)
        assert counts({"mail": broken}) == {"retried": 1}
    with at(NOON + timedelta(seconds=29)):
        assert counts() == {}
    with at(NOON + timedelta(seconds=30)):
        assert counts() == {"sent": 1}

    log = list(DeliveryAttempt.objects.order_by("pk").values_list("delivered", "detail"))
    assert log == [(False, "OSError: no route to host"), (True, "")]


def test_run_with_slow_receivers_ends_and_the_next_one_goes_on(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        put(cast.ada, key=f"{number}")
    monkeypatch.setattr(clock, "JOB_SECONDS", 0.0)
    took = [counts().get("sent", 0) for _ in range(2)]
    monkeypatch.undo()
    assert max(took) <= 1
    assert sum(took) + counts()["sent"] == 3


def test_message_that_will_never_be_taken_is_given_up_at_once(cast: Cast) -> None:
    put(cast.ada)

    def refused(message: Outbox) -> None:
        raise outbox.RefusedError("410 Gone")

    assert counts({"mail": refused}) == {"dead": 1}
    assert Outbox.objects.get().last_error == "410 Gone"


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ("delivered_at = now(), dead_at = now()", "outbox_ends_in_one_way"),
        ("dropped_at = now(), digest_id = id", "outbox_ends_in_one_way"),
        ("delivered_at = now(), digest_at = now()", "outbox_waits_for_a_digest_or_ended"),
    ],
)
def test_message_ends_in_one_way_only(cast: Cast, change: str, rule: str) -> None:
    put(cast.ada)
    with pytest.raises(IntegrityError, match=rule), transaction.atomic():
        connection.cursor().execute(f"UPDATE core_outbox SET {change}")  # noqa: S608


def next_due() -> datetime | None:
    """Return when something that still waits should be looked at."""
    sends = Outbox.objects.filter(WAITS).order_by("next_attempt_at").values_list("next_attempt_at", flat=True)
    gathers = Outbox.objects.filter(digest_at__isnull=False).values_list("digest_at", flat=True)
    return min((moment for moment in (*sends, *gathers) if moment), default=None)


NIGHTS = {
    "Europe/Berlin": ("2026-03-28T18:00", "2026-10-24T18:00"),
    "America/New_York": ("2026-03-07T22:00", "2026-10-31T22:00"),
    "Australia/Lord_Howe": ("2026-04-04T08:00", "2026-10-03T08:00"),
    "America/Santiago": ("2026-04-04T22:00", "2026-09-05T22:00"),
    "Antarctica/Troll": ("2026-03-28T18:00", "2026-10-24T18:00"),
}
hours = st.floats(0, 40, allow_nan=False).map(lambda number: timedelta(hours=number))
walls = st.integers(0, 47).map(lambda half: time(half // 2, 30 * (half % 2)))


@given(
    night=st.sampled_from([(zone, start) for zone, starts in NIGHTS.items() for start in starts]),
    quiet=st.none() | st.tuples(walls, walls).filter(lambda pair: pair[0] != pair[1]),
    digest_time=walls,
    written=st.lists(st.tuples(hours, st.sampled_from(["request.approved", "key.revoked", "key.leaked"])),
                     min_size=1, max_size=6),
    runs=st.lists(hours, max_size=14),
    broken=st.sets(st.integers(0, 5), max_size=3),
)  # fmt: skip
@settings(
    max_examples=25, deadline=None, derandomize=True, phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
def test_no_night_loses_a_message_or_sends_it_twice(  # noqa: PLR0917  Hypothesis names them
    db: None, night: Any, quiet: Any, digest_time: time, written: Any, runs: Any, broken: set[int]
) -> None:
    """Beat runs whenever it likes, also twice or not for hours; some deliveries fail and are tried again."""
    zone, start = night[0], datetime.fromisoformat(night[1]).replace(tzinfo=UTC)
    told: Counter[str] = Counter()
    woken: list[str] = []  # an assertion in the sender would only be a failed delivery
    calls = 0
    hushed = QuietHours(starts=quiet[0], ends=quiet[1]) if quiet else None

    def sender(message: Outbox) -> None:
        nonlocal calls
        calls += 1
        if calls in broken:
            raise OSError("down")
        important = message.topic == "key.leaked"
        if hushed and not important and quiet_until(clock.now(), hushed, ZoneInfo(zone)) is not None:
            woken.append(message.dedupe_key)
        items = [item.dedupe_key for item in message.items.all()]
        told.update(items or [message.dedupe_key])

    def run() -> None:
        digests.collect()
        outbox.drain(senders={OutboxKind.MAIL.value: sender})

    with transaction.atomic():
        person = factories.UserFactory.create(name="Ida Night")
        made = wish(person, Channel.DIGEST, time_zone=zone, digest_time=digest_time,
                    quiet_starts=quiet and quiet[0], quiet_ends=quiet and quiet[1])  # fmt: skip
        assert made.pk
        steps: list[tuple[timedelta, str]] = [*written, *((moment, "") for moment in runs)]
        for number, (moment, topic) in enumerate(sorted(steps)):
            with at(start + moment):
                if topic:
                    put(person, topic, key=f"{number}")
                else:
                    run()
        while (due := next_due()) is not None:
            assert due < start + timedelta(days=9)
            with at(max(due, start + timedelta(hours=40))):
                run()
        expected = Counter(f"{number}" for number, (_, topic) in enumerate(sorted(steps)) if topic)
        transaction.set_rollback(True)
    assert (told, woken) == (expected, [])
