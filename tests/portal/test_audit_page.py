"""The audit as people read it: filters, before and after, paging, CSV, what it asks."""

from __future__ import annotations

import csv
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from pytest_django.fixtures import Settings

from approvals.models import AccessRequest
from approvals.services import comment
from budgets.models import ScopeKind
from core import audit, clock, seal
from core.models import AuditEvent
from keys.services import rename_key
from portal.audit import views
from teams.models import User
from teams.services import rename_person, rename_project, rename_team
from tests import factories
from tests.api.world import open_budget
from tests.approvals.conftest import ask_for
from tests.browsing import Page, Visitor
from tests.cast import Cast

AUDIT = "/audit/"


def record(cast: Cast, **values: Any) -> AuditEvent:
    """Let Ben rename team Search, unless said otherwise."""
    fields: dict[str, Any] = {
        "actor": cast.ben, "action": "team.renamed", "subject": cast.search, "team_id": cast.search.pk,
        "department_id": cast.product.pk, "before": {"name": "Search"}, "after": {"name": "Find"},
        "reason": "Shorter.",
    }  # fmt: skip
    return audit.record(**fields | values)


def subjects(page: Page) -> list[str]:
    """Return what the listed events are about."""
    return [row[1].removesuffix(" team") for row in page.rows("events-h")]


def test_line_says_what_who_why_and_what_changed(cast: Cast) -> None:
    record(cast, on_behalf_of=cast.cleo)

    [row] = Visitor(cast.audrey).get(AUDIT).rows("events-h")

    assert row == [
        "Team renamed team.renamed",
        "Search Search team",
        "Ben Okafor ben@example.com for Cleo Hart",
        "name: Search → Find Shorter.",
        "just now",
    ]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"actor": "okafor"}, ["Search"]),
        ({"actor": "BEN@"}, ["Search"]),
        ({"actor": "cleo"}, ["Cards"]),
        ({"actor": "purser"}, ["Ranking"]),
        ({"action": "team."}, ["Cards", "Search"]),
        ({"action": "project.archived"}, ["Ranking"]),
        ({"object": "rank"}, ["Ranking"]),
        ({"from": "2026-03-02", "to": "2026-03-02"}, ["Cards"]),
        ({"to": "2026-03-01"}, ["Search"]),
        ({"from": "2026-03-03"}, ["Ranking"]),
        ({"from": "2026-02-31"}, ["Ranking", "Cards", "Search"]),
        ({"from": "0001-01-01", "to": "9999-12-31"}, ["Ranking", "Cards", "Search"]),
        ({"actor": "ben", "action": "project."}, []),
    ],
)
def test_filters_leave_what_was_asked_for(cast: Cast, query: dict[str, str], found: list[str]) -> None:
    with time_machine.travel("2026-03-01T12:00Z", tick=False):
        record(cast)
    with time_machine.travel("2026-03-02T12:00Z", tick=False):
        record(cast, actor=cast.dan, on_behalf_of=cast.cleo, subject=cast.cards, team_id=cast.cards.pk)
    with time_machine.travel("2026-03-03T12:00Z", tick=False):
        record(cast, actor=None, action="project.archived", subject=cast.ranking)

    page = Visitor(cast.audrey).get(AUDIT, **query)

    assert [row.removesuffix(" team").split()[0] for row in subjects(page)] == found
    assert ("this one was left out" in page.words) == (query.get("from") == "2026-02-31")


def test_object_and_team_filter_by_their_ids(cast: Cast) -> None:
    record(cast)
    record(cast, subject=cast.cards, team_id=cast.cards.pk)
    visitor = Visitor(cast.ann)

    assert subjects(visitor.get(AUDIT, object=cast.cards.public_id)) == ["Cards Cards"]
    assert subjects(visitor.get(AUDIT, team=cast.search.public_id)) == ["Search Search"]


def test_days_are_the_organisations(cast: Cast, settings: Settings) -> None:
    settings.TIME_ZONE = "America/New_York"
    with time_machine.travel("2026-03-02T03:00Z", tick=False):  # 22:00 of the first in New York
        record(cast)

    assert len(subjects(Visitor(cast.ann).get(AUDIT, to="2026-03-01"))) == 1
    assert subjects(Visitor(cast.ann).get(AUDIT, **{"from": "2026-03-02"})) == []


def test_people_projects_and_keys_among_the_values_are_named(cast: Cast) -> None:
    key = factories.ApiKeyFactory.create(name="nightly", project=cast.ranking, owner=cast.ada)
    ids = {"member": cast.ada.public_id, "project": cast.ranking.public_id, "key": key.public_id}
    event = record(cast, before={}, after={**ids, "models": ["large", "larger"], "teams": []})

    rows = Visitor(cast.ben).get(f"{AUDIT}{event.public_id}/").rows("changes-h")

    assert sorted(rows) == [
        ["Key", "—", f"nightly ({key.public_id})"],
        ["Member", "—", f"Ada Moreno ({cast.ada.public_id})"],
        ["Models", "—", "large, larger"],
        ["Project", "—", f"Ranking ({cast.ranking.public_id})"],
        ["Teams", "—", "—"],
    ]


@pytest.mark.parametrize("who", ["audrey", "ben"])
def test_what_has_no_name_among_the_values_is_put_into_words_of_its_time(cast: Cast, who: str) -> None:
    key = factories.ApiKeyFactory.create(name="nightly", project=cast.ranking, owner=cast.ada)
    grant = factories.approved_grant(key, granted_by=cast.ben)
    request = AccessRequest.objects.get()
    said = comment(actor=cast.ada, request=ask_for(cast), text="Why {} so? " + "x" * 90)
    budget = open_budget(cast, ScopeKind.TEAM, cast.search.pk, "1000")
    about: tuple[Any, ...] = (grant, request, request.policy, request.decisions.get(), said, budget)
    event = record(cast, before={}, after={f"v{number}": each for number, each in enumerate(about)})
    rename_key(actor=cast.ada, key=key, name="hourly")
    rename_project(actor=cast.cleo, project=cast.ranking, name="Order", reason="Shorter.")
    rename_team(actor=cast.cleo, team=cast.search, name="Find", reason="Shorter.")
    rename_person(actor=cast.ann, user=cast.ben, name="Ben King", reason="Married.")

    rows = Visitor(getattr(cast, who)).get(f"{AUDIT}{event.public_id}/").rows("changes-h")

    assert [row[2] for row in sorted(rows)] == [
        f"{words} ({each.public_id})"
        for words, each in zip(
            (
                "Tier 2 for nightly",
                "Tier 2 for Ranking",
                f"Tier 2 policy, version {request.policy.version}",
                "Ben Okafor approved",
                "“Why {} so? " + "x" * 69 + "”",
                "Search team, monthly budget",
            ),
            about,
            strict=True,
        )
    ]


@pytest.mark.parametrize(("who", "named"), [("audrey", True), ("ben", False)])
def test_teams_and_departments_among_the_values_are_named_to_who_sees_all(
    cast: Cast, who: str, named: bool
) -> None:
    event = record(cast, before={"team": cast.cards.public_id}, after={"department": cast.payments.public_id})

    words = Visitor(getattr(cast, who)).get(f"{AUDIT}{event.public_id}/").words

    assert cast.cards.public_id in words
    assert (f"Cards ({cast.cards.public_id})" in words) == named
    assert (f"Payments ({cast.payments.public_id})" in words) == named


def test_event_shows_before_and_after_and_whence_to_who_sees_everything(cast: Cast) -> None:
    with audit.origin(request_id="abc123", ip_address="192.0.2.7"):
        event = record(cast, before={"name": "Search", "size": 3}, after={"name": "Find", "size": 3},
                       policy_version=4)  # fmt: skip
    path = f"{AUDIT}{event.public_id}/"

    page = Visitor(cast.audrey).get(path)

    assert page.rows("changes-h") == [["Name changed", "Search", "Find"], ["Size", "3", "3"]]
    assert all(word in page.words for word in ("Shorter.", "version 4", "abc123", "192.0.2.7", "Not sealed"))
    assert "192.0.2.7" not in Visitor(cast.ben).get(path).words


def test_sealed_events_say_so(cast: Cast, settings: Settings, tmp_path: Any) -> None:
    settings.AUDIT_ANCHOR_DIR = str(tmp_path)
    record(cast)
    seal.seal_due()
    record(cast)

    newest, older = Visitor(cast.ann).get(AUDIT).rows("events-h")

    assert (newest[4], older[4]) == ("just now", "just now sealed")


def test_list_goes_on_where_the_page_ended(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "PAGE_ROWS", 2)
    for number in range(5):
        record(cast, reason=f"number {number}", after={"name": "Search"})
    visitor = Visitor(cast.ann)
    read, path = [], f"{AUDIT}?action=team."
    while path:
        page = visitor.get(path)
        read += [row[3] for row in page.rows("events-h")]
        record(cast, action="team.moved")  # what comes while somebody reads shifts nothing
        path = next((link for link in page.links if "before=" in link), "")

    assert [text for text in read if text] == [f"number {number}" for number in (4, 3, 2, 1, 0)]


def test_csv_has_every_filtered_row_and_runs_nothing(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "PAGE_ROWS", 1)
    cast.search.name = "=cmd|' /C calc'!A0"
    record(cast, reason="@SUM(A1)")
    record(cast, reason="+1")
    record(cast, action="project.archived")

    answer = Visitor(cast.ann).client.get(AUDIT, {"action": "team.", "format": "csv"})

    assert answer["Content-Disposition"].startswith('attachment; filename="audit-')
    rows = list(csv.DictReader(answer.getvalue().decode().splitlines()))
    assert [row["reason"] for row in rows] == ["'+1", "'@SUM(A1)"]
    assert rows[0]["object"] == "'=cmd|' /C calc'!A0"
    assert (rows[0]["before"], rows[0]["after"]) == ('{"name": "Search"}', '{"name": "Find"}')


def test_csv_has_only_what_the_person_may_read(cast: Cast) -> None:
    record(cast)
    answer = Visitor(cast.dan).client.get(AUDIT, {"format": "csv"})
    assert len(answer.getvalue().decode().splitlines()) == 1


@pytest.mark.parametrize("who", ["ada", "ben", "ann"])
def test_page_asks_as_often_for_fifty_events_as_for_five(cast: Cast, who: str) -> None:
    for _ in range(5):
        record(cast, actor=cast.ada, on_behalf_of=cast.ben)
    few = Visitor(getattr(cast, who)).queries(AUDIT)
    for number in range(45):
        team = factories.TeamFactory.create(department=cast.product)
        person = factories.UserFactory.create(name=f"Somebody {number}")
        record(cast, actor=cast.ada, on_behalf_of=person, team_id=team.pk)

    assert len(Visitor(getattr(cast, who)).queries(AUDIT)) == len(few) <= 8


def test_empty_list_says_why(cast: Cast) -> None:
    assert "Nothing was done yet" in Visitor(cast.dan).get(AUDIT).words
    assert "Nothing like this was done" in Visitor(cast.dan).get(AUDIT, actor="nobody").words


def test_old_events_are_listed_with_their_day(cast: Cast) -> None:
    with time_machine.travel(clock.now() - timedelta(days=60)):
        record(cast)
    [row] = Visitor(cast.ann).get(AUDIT).rows("events-h")
    assert row[4].startswith("on ")


def test_rename_changes_no_label_of_the_past_and_todays_name_stands_beside_it(cast: Cast) -> None:
    key = factories.ApiKeyFactory.create(owner=cast.ada, project=cast.ranking, name="batch")
    about = (cast.search, cast.ranking, key, cast.ada)
    for subject in about:
        record(cast, subject=subject, on_behalf_of=cast.cleo)
    before = list(AuditEvent.objects.values())
    renamed_team = rename_team(actor=cast.cleo, team=cast.search, name="Find", reason="Shorter.")
    rename_project(actor=cast.cleo, project=cast.ranking, name="Order", reason="Shorter.")
    rename_key(actor=cast.ada, key=key, name="nightly")
    for person, name in ((cast.ada, "Ada King"), (cast.ben, "Ben King"), (cast.cleo, "Cleo King")):
        rename_person(actor=cast.ann, user=person, name=name, reason="Married.")
    later = record(cast, subject=renamed_team, actor=User.objects.get(pk=cast.ben.pk))

    assert list(AuditEvent.objects.filter(pk__in=[row["id"] for row in before]).values()) == before
    page = Visitor(cast.audrey).get(AUDIT)
    rows = [row[1:3] for row in page.rows("events-h")]
    who = "Ben Okafor now Ben King ben@example.com for Cleo Hart, now Cleo King"
    assert rows[0] == ["Find Find team", "Ben King ben@example.com"]
    assert rows[-4:] == [
        ["Ada Moreno now Ada King Search team, now Find", who],
        ["batch now nightly Search team, now Find", who],
        ["Ranking now Order Search team, now Find", who],
        ["Search now Find Search team, now Find", who],
    ]
    oldest = AuditEvent.objects.earliest("pk")
    words = Visitor(cast.audrey).get(f"{AUDIT}{oldest.public_id}/").words
    assert all(now in words for now in ("(now Find)", "(now Ben King)"))
    assert later.object_label == "Find"
    sheet = Visitor(cast.audrey).client.get(AUDIT, {"format": "csv"}).getvalue().decode()
    assert sheet.count("Cleo Hart") >= 4


def test_moments_among_the_values_are_written_as_elsewhere(cast: Cast) -> None:
    after = {"ends_at": "2026-12-02T02:00:00+00:00"}
    audit.record(actor=cast.ann, action="key.activity_planned", subject=cast.search, after=after)

    assert "ends at: 2 December 2026, 02:00 UTC" in Visitor(cast.ann).get(AUDIT).words
