"""A person sees where he is signed in, and ends it there."""

from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine
from allauth.usersessions.models import UserSession
from django.core.cache import cache
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from core import clock
from core.models import AuditEvent
from teams import services
from teams.browsers import browser_of
from teams.models import User
from teams.services.sessions import LastSeen
from tests.browsing import Page
from tests.cast import Cast
from tests.sign_in.test_second_factor import set_up_app

SEEN = 'UPDATE "usersessions_usersession" SET "last_seen_at"'
PASSWORD = "a password of the tests, 2026"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0"
EDGE = "Mozilla/5.0 (Windows NT 10.0; Win64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36 Edg/140.0"


@pytest.fixture(autouse=True)
def own_counter(settings: Settings) -> None:
    """Count attempts for this test alone."""
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    cache.clear()


def signed_in(user: User, browser: str) -> Client:
    """Sign somebody in by the form, in a browser of his."""
    if not user.check_password(PASSWORD):  # another one would end what was signed in before
        user.set_password(PASSWORD)
        user.save()
    client = Client(headers={"User-Agent": browser})
    answer = client.post("/accounts/login/", {"login": user.email, "password": PASSWORD})
    assert answer.status_code == 302
    return client


def test_every_browser_is_listed_and_this_one_marked(cast: Cast) -> None:
    cast.ada.set_password(PASSWORD)
    cast.ada.save()
    clients = []
    for browser in (FIREFOX, EDGE):
        client = Client(headers={"User-Agent": browser})
        client.post("/accounts/login/", {"login": cast.ada.email, "password": PASSWORD})
        clients.append(client)

    rows = Page(clients[0].get("/sessions/")).rows("Sign-ins table")

    assert [(row[0], row[-1].split(":")[0].strip()) for row in rows] == [
        ("Edge on Windows", "Sign out there"),
        ("Firefox on Linux", "This browser"),
    ]


def test_signing_out_there_ends_that_session_and_is_recorded(cast: Cast) -> None:
    cast.ada.set_password(PASSWORD)
    cast.ada.save()
    here, there = Client(headers={"User-Agent": FIREFOX}), Client(headers={"User-Agent": EDGE})
    for client in (here, there):
        client.post("/accounts/login/", {"login": cast.ada.email, "password": PASSWORD})
    session = UserSession.objects.get(user=cast.ada, user_agent=EDGE)

    path = f"/sessions/{session.pk}/end/"

    asked = Page(here.get(path))
    refused = Page(here.post(path, {"reason": " "}))

    assert "Sign out of Edge on Windows at 127.0.0.1?" in asked.words
    assert "Keys and API tokens go on" in asked.words
    assert (refused.status, "Enter why" in refused.words) == (422, True)
    assert there.get("/keys/").status_code == 200

    assert here.post(path, {"reason": "It was lost."}).status_code == 302

    assert there.get("/keys/").status_code == 302
    assert here.get("/keys/").status_code == 200
    event = AuditEvent.objects.get(action="person.sessions_ended")
    assert (event.after["sessions"], event.reason) == (1, "It was lost.")
    assert here.get(path).status_code == here.post(path, {"reason": "Again."}).status_code == 404


def test_sign_ins_are_listed_and_ended_over_the_api(cast: Cast) -> None:
    here, dan = signed_in(cast.ada, FIREFOX), signed_in(cast.dan, EDGE)
    there = Client(headers={"User-Agent": EDGE})
    there.post("/accounts/login/", {"login": cast.ada.email, "password": PASSWORD})

    rows = here.get("/api/v1/me/sessions/").json()["results"]

    assert [(row["browser"], row["is_this_one"]) for row in rows] == [
        ("Edge on Windows", False),
        ("Firefox on Linux", True),
    ]
    paths = [f"/api/v1/me/sessions/{row['id']}/end/" for row in rows]
    assert str(there.session.session_key) not in str(rows)
    why = {"reason": "It was lost."}
    assert dan.post(paths[0], why, "application/json").status_code == 404
    assert here.post(paths[1], why, "application/json").json()["code"] == "already_done"
    assert list(here.post(paths[0], {}, "application/json").json()["errors"]) == ["reason"]
    assert there.get("/keys/").status_code == 200
    assert here.post(paths[0], why, "application/json").status_code == 200
    assert here.post(paths[0], why, "application/json").status_code == 404
    assert there.get("/keys/").status_code == 302
    event = AuditEvent.objects.get(action="person.sessions_ended")
    assert (event.actor_id, event.reason) == (cast.ada.pk, "It was lost.")


def test_nobody_ends_the_session_of_another(cast: Cast) -> None:
    dan, ada = signed_in(cast.dan, FIREFOX), signed_in(cast.ada, EDGE)
    session = UserSession.objects.get(user=cast.ada)

    path = f"/sessions/{session.pk}/end/"
    assert dan.get(path).status_code == 404
    assert dan.post(path, {"reason": "Not mine."}).status_code == 404
    assert ada.get("/keys/").status_code == 200


def test_all_sessions_of_a_person_end(cast: Cast) -> None:
    ada, dan = signed_in(cast.ada, FIREFOX), signed_in(cast.dan, EDGE)

    assert services.end_sessions(actor=cast.ann, user=cast.ada, reason="It was lost.") == 1

    assert ada.get("/keys/").status_code == 302
    assert dan.get("/keys/").status_code == 200


def test_looking_at_the_list_changes_nothing(cast: Cast) -> None:
    ada = signed_in(cast.ada, FIREFOX)
    before = list(UserSession.objects.filter(user=cast.ada).values())

    ada.get("/sessions/")

    assert list(UserSession.objects.filter(user=cast.ada).values()) == before


def test_last_use_is_shown_and_written_once_a_minute(cast: Cast) -> None:
    start = clock.now().replace(second=0, microsecond=0) + timedelta(minutes=1)
    with time_machine.travel(start, tick=False) as time:
        here, there = signed_in(cast.ada, FIREFOX), signed_in(cast.ada, EDGE)
        written = []
        for seconds in (20, 39, 1, 30, 90):
            time.shift(seconds)
            with CaptureQueriesContext(connection) as captured:
                there.get("/keys/")
            written.append(sum(SEEN in each["sql"] for each in captured.captured_queries))
        assert written == [0, 0, 1, 0, 1]  # signing in counts too
        assert UserSession.objects.get(user_agent=EDGE).last_seen_at == start + timedelta(seconds=180)
        time.shift(timedelta(hours=3))
        rows = {row[0]: row[-2] for row in Page(here.get("/sessions/")).rows("Sign-ins table")}
    assert rows == {"Firefox on Linux": "now", "Edge on Windows": "3 hours ago"}


def test_processes_together_write_once_a_minute(cast: Cast) -> None:
    signed_in(cast.ada, FIREFOX)
    session = UserSession.objects.get()
    start = session.last_seen_at.replace(second=0, microsecond=0) + timedelta(minutes=1)
    one, other = LastSeen(), LastSeen()
    for seconds, process in ((5, one), (50, other), (55, one)):
        with time_machine.travel(start + timedelta(seconds=seconds), tick=False):
            process.saw(session.session_key)
    session.refresh_from_db()
    assert session.last_seen_at == start + timedelta(seconds=5)


def test_page_opens_where_the_database_takes_no_writes(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    ada = signed_in(cast.ada, FIREFOX)

    def refuses(self: LastSeen, session_key: str) -> None:
        raise OperationalError("cannot execute UPDATE in a read-only transaction")

    monkeypatch.setattr(LastSeen, "saw", refuses)
    assert ada.get("/keys/").status_code == 200


@pytest.mark.parametrize(
    ("user_agent", "named"),
    [(FIREFOX, "Firefox on Linux"), (EDGE, "Edge on Windows"), ("curl/8.0", "A program"), ("", "A program")],
)
def test_browsers_are_named_as_people_do(user_agent: str, named: str) -> None:
    assert browser_of(user_agent) == named


def test_a_new_factor_ends_what_was_signed_in_without_it_elsewhere(
    cast: Cast, settings: Settings, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    """A password alone, stolen before, would go on past the factor."""
    settings.MFA_REQUIRED = True
    there, here = signed_in(cast.ben, EDGE), signed_in(cast.ben, FIREFOX)
    others = signed_in(cast.ada, EDGE)

    with django_capture_on_commit_callbacks(execute=True):
        set_up_app(here)

    assert here.get("/keys/").status_code == 200
    assert there.get("/keys/")["Location"].startswith("/accounts/login/")
    assert others.get("/keys/").status_code == 200
    event = AuditEvent.objects.get(action="person.sessions_ended")
    assert (event.actor_id, event.object_id, event.after["sessions"]) == (cast.ben.pk, cast.ben.public_id, 1)
    assert "second factor" in event.reason


@pytest.mark.parametrize("change", ["totp_deactivated", "recovery_codes_generated"])
def test_other_changes_leave_sign_ins_as_they_are(cast: Cast, change: str) -> None:
    there = signed_in(cast.ada, EDGE)
    services.record_sign_in_change(user=cast.ada, change=change, session_key="")
    assert there.get("/keys/").status_code == 200
