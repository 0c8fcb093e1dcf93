"""Who is told of a budget, in what words, by which way, and who is not."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.core import mail
from django.core.mail import EmailMultiAlternatives

from budgets.models import Mode, Window
from core import clock, outbox
from core.models import Channel, NewsChoice, NewsKind, Outbox, OutboxKind, Preference
from keys.models import ServiceAccount
from portal.news.senders import SENDERS
from teams.models import RoleAssignment, User
from tests.alerts.scene import (
    NOW,
    Place,
    budget_of,
    days_before,
    look,
    mails,
    readers,
    spent,
)  # fmt: skip
from tests.cast import Cast
from tests.factories import ApiKeyFactory, LlmModelFactory, ProjectFactory, UserFactory, WebhookFactory
from tests.usage.books import book

pytestmark = pytest.mark.django_db


def place_of(cast: Cast, kind: str) -> Place:
    return {
        "key": ApiKeyFactory.create(project=cast.ranking, owner=cast.ada, name="nightly"),
        "project": cast.ranking,
        "team": cast.search,
        "department": cast.product,
        "organisation": None,
    }[kind]


@pytest.mark.parametrize(
    ("kind", "people"),
    [
        ("key", ["ada"]),
        ("project", ["ben"]),
        ("team", ["ben"]),
        ("department", ["cleo"]),
        ("organisation", ["fay", "ann"]),
    ],
)
def test_who_is_responsible_is_told_and_nobody_else(cast: Cast, kind: str, people: list[str]) -> None:
    spent(budget_of(place_of(cast, kind), "100"), "84")
    assert look() == [80]
    assert readers() == {getattr(cast, name).email for name in people}


def test_the_lead_of_another_team_is_told_nothing(cast: Cast) -> None:
    for place in (cast.ranking, cast.search, cast.product, None):
        spent(budget_of(place, "100"), "100")
    look()
    assert mails().count() == 5
    assert not readers() & {cast.eve.email, cast.dan.email, cast.olga.email}


def test_without_a_lead_the_director_is_told_and_without_him_who_holds_the_purse(cast: Cast) -> None:
    spent(budget_of(cast.ranking, "100"), "84")
    RoleAssignment.objects.filter(user=cast.ben).update(valid_until=clock.now())
    look()
    assert readers() == {cast.cleo.email}
    RoleAssignment.objects.filter(user=cast.cleo).update(valid_until=clock.now())
    spent(budget_of(cast.search, "100"), "84")
    look()
    assert readers() == {cast.cleo.email, cast.fay.email, cast.ann.email}


def test_the_key_of_somebody_who_left_is_the_leads(cast: Cast) -> None:
    spent(budget_of(place_of(cast, "key"), "100"), "84")
    User.objects.filter(pk=cast.ada.pk).update(is_active=False)
    look()
    assert readers() == {cast.ben.email}


def test_the_key_of_a_service_account_is_told_to_who_answers_for_it(cast: Cast) -> None:
    robot = UserFactory.create(name="Nightly robot")
    ServiceAccount.objects.create(user=robot, responsible=cast.dan, created_by=cast.ann)
    spent(budget_of(ApiKeyFactory.create(project=cast.ranking, owner=robot), "100"), "84")
    look()
    assert readers() == {cast.dan.email}


def test_an_alert_names_all_that_its_reader_needs(cast: Cast) -> None:
    ranking = budget_of(cast.ranking, "200")
    keys = [ApiKeyFactory.create(project=cast.ranking, owner=cast.ada, name=f"key {n}") for n in "abcd"]
    for number, key in enumerate(keys, 1):
        for day in days_before(8):
            book(cast.ranking, cast.small if number > 1 else cast.large, day, f"{number}", key=key)
    other = ApiKeyFactory.create(project=cast.fraud, owner=cast.dan, name="of others")
    book(cast.fraud, cast.frontier, days_before(1)[0], "500", key=other)
    spent(ranking, "164", held="3")
    look()
    message = mails().get().payload
    assert message["subject"] == "Ranking, each month: 80% of $200.00 is spent"
    assert message["link"] == f"/budgets/{ranking.public_id}/"
    assert message["body"].split("\n\n") == [
        (
            "$164.00 of $200.00 is spent in the window from 1 November 2026 to 1 December 2026, 00:00 UTC"
            " time, and $3.00 is held for calls in flight. 50% was passed with it."
        ),
        (
            "Forecast for the end of the window: $369.00. The limit will be passed on 14 November 2026 at"
            " this pace."
        ),
        (
            "Keys that spent most: key d of Ada Moreno $32.00, key c of Ada Moreno $24.00,"
            " key b of Ada Moreno $16.00."
        ),
        "Models that spent most: small $72.00, large $8.00.",
        "At 100%: Calls are refused with 429 until the window starts again or the limit is raised.",
    ]


def test_what_spent_most_is_of_the_calls_that_the_budget_counts(cast: Cast) -> None:
    spent(budget_of(cast.ranking, "200", only_model=cast.large), "164")
    other = LlmModelFactory.create(name="other")
    for model, amount in ((cast.large, "10"), (other, "90")):
        book(cast.ranking, model, days_before(1)[0], amount)
    look()
    body = mails().get().payload["body"]
    assert "$164.00 of $200.00 is spent by calls of large only" in body
    assert "large $10.00" in body
    assert "other" not in body


@pytest.mark.parametrize(
    ("mode", "happens"),
    [
        (Mode.HARD, "Calls are refused with 429 until the window starts again or the limit is raised."),
        (Mode.SOFT, "Calls go on and carry a warning."),
        (Mode.NOTIFY, "Calls go on; the people in charge are told."),
    ],
)
def test_an_alert_says_what_happens_at_the_limit(cast: Cast, mode: Mode, happens: str) -> None:
    ranking = budget_of(cast.ranking, "100", mode=mode)
    spent(ranking, "84")
    look()
    spent(ranking, "101")
    look()
    before, after = (message.payload["body"].split("\n\n")[-1] for message in mails())
    assert before == f"At 100%: {happens}"
    assert after == f"The limit is reached: {happens}"


def test_a_lifetime_and_a_budget_in_another_zone_name_their_window(cast: Cast) -> None:
    spent(budget_of(cast.ranking, "100", window=Window.LIFETIME), "84")
    spent(budget_of(cast.search, "100", window=Window.WEEK, time_zone="Asia/Tokyo"), "84")
    look()
    bodies = [message.payload["body"] for message in mails()]
    assert "is spent in all, and" in bodies[0]
    assert "from 9 November 2026 to 16 November 2026, 00:00 Asia/Tokyo time" in bodies[1]


def test_a_mail_has_a_text_and_the_same_as_html(cast: Cast) -> None:
    spent(budget_of(cast.ranking, "100"), "84")
    look()
    outbox.drain(senders=SENDERS)
    (sent,) = mail.outbox
    assert isinstance(sent, EmailMultiAlternatives)
    (html, kind), *_ = sent.alternatives
    assert kind == "text/html"
    for text in (str(sent.body), str(html)):
        assert "$84.00 of $100.00 is spent" in text
        assert "/budgets/bdg_" in text


def test_news_of_budgets_come_as_their_reader_chose(cast: Cast) -> None:
    wishes = Preference.objects.create(person=cast.ben)
    choice = NewsChoice.objects.create(preference=wishes, kind=NewsKind.BUDGETS, channel=Channel.DIGEST)
    spent(budget_of(cast.ranking, "100"), "84")
    look()
    assert outbox.drain(senders=SENDERS)["held"] == 1
    NewsChoice.objects.filter(pk=choice.pk).update(channel=Channel.OFF)
    spent(budget_of(cast.search, "100"), "84")
    look()
    assert outbox.drain(senders=SENDERS)["dropped"] == 1
    assert mail.outbox == []


def test_a_webhook_that_listens_is_told_once_with_the_figures(cast: Cast) -> None:
    listening = WebhookFactory.create(actions=["budget."])
    WebhookFactory.create(actions=["key."])
    ranking = budget_of(cast.ranking, "100", mode=Mode.SOFT)
    spent(ranking, "84", held="2")
    look()
    look()
    event = Outbox.objects.get(kind=OutboxKind.WEBHOOK)
    assert (event.recipient, event.topic) == (listening.public_id, "budget.alert")
    told = event.payload["data"]
    assert event.payload["type"] == "budget.alert"
    assert (told["budget"], told["percent"], told["kind"]) == (ranking.public_id, 80, "spent")
    amounts = [Decimal(told[name]) for name in ("limit_usd", "spent_usd", "held_usd")]
    assert amounts == [100, 84, 2]
    assert told["scope"] == {"kind": "project", "name": "Ranking"}
    assert told["at_the_limit"] == "At 100%: Calls go on and carry a warning."
    assert told["link"].endswith(f"/budgets/{ranking.public_id}/")


def test_a_budget_of_another_project_is_not_part_of_what_a_lead_reads(cast: Cast) -> None:
    beside = ProjectFactory.create(team=cast.search, name="Beside")
    key = ApiKeyFactory.create(project=beside, owner=cast.ada, name="beside")
    book(beside, cast.small, days_before(1)[0], "70", key=key)
    spent(budget_of(cast.ranking, "100"), "84")
    look(NOW)
    assert "beside" not in mails().get().payload["body"].lower()
