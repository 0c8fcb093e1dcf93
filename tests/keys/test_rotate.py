"""A rotation gives a key another secret; the one before goes on for its overlap, and two are live at most."""

from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine
from django.db import IntegrityError, transaction

from core import clock
from core.errors import InvalidInputError
from core.models import AuditEvent, Outbox
from keys import secrets
from keys.errors import AlreadyRevealedError, KeyEndedError, NotRevealedError, RotationRunningError
from keys.models import ApiKey
from keys.services import end_previous_secret, issue_key, reveal, revoke, rotate
from teams.errors import RoleNeededError
from tests.cast import Cast, make_cast
from tests.racing import at_once, losers, winners


@pytest.fixture
def key(cast: Cast) -> ApiKey:
    return reveal(actor=cast.ada, key=issue_key(actor=cast.ada, project=cast.ranking, name="laptop")).key


def test_nothing_changes_until_the_owner_reveals(cast: Cast, key: ApiKey) -> None:
    asked = rotate(actor=cast.ada, key=key)
    assert (asked.masked, asked.state, asked.previous_until) == (key.masked, "live", None)
    assert (asked.awaits_successor, asked.rotation_overlap_hours) == (True, 24)


def test_both_secrets_stand_for_one_key_during_the_overlap(cast: Cast, key: ApiKey) -> None:
    old = bytes(key.secret_hmac or b"")
    with time_machine.travel(clock.now() + timedelta(seconds=1), tick=False):
        shown = reveal(actor=cast.ada, key=rotate(actor=cast.ada, key=key, overlap_hours=48))
        ends = clock.now() + timedelta(hours=48)
    mine = ApiKey.objects.get()
    assert bytes(mine.secret_hmac or b"") in secrets.digests(shown.token)
    assert (bytes(mine.previous_hmac or b""), mine.previous_until) == (old, ends)
    assert (mine.previous_masked, mine.awaits_successor) == (key.masked, False)
    event = AuditEvent.objects.get(action="key.rotated")
    assert (event.before, event.after["masked"]) == ({"masked": key.masked}, mine.masked)


def test_the_same_rotation_again_changes_nothing(cast: Cast, key: ApiKey) -> None:
    first = rotate(actor=cast.ada, key=key, overlap_hours=1)
    assert rotate(actor=cast.ada, key=key, overlap_hours=1).rotation_asked_at == first.rotation_asked_at
    assert AuditEvent.objects.filter(action="key.rotation_asked").count() == 1


def test_the_successor_is_shown_once(cast: Cast, key: ApiKey) -> None:
    reveal(actor=cast.ada, key=rotate(actor=cast.ada, key=key))
    with pytest.raises(AlreadyRevealedError):
        reveal(actor=cast.ada, key=key)


def test_a_third_secret_waits_until_the_first_has_ended(cast: Cast, key: ApiKey) -> None:
    reveal(actor=cast.ada, key=rotate(actor=cast.ada, key=key))
    with pytest.raises(RotationRunningError, match="has two live secrets"):
        rotate(actor=cast.ada, key=key)
    ended = end_previous_secret(actor=cast.ada, key=key)
    assert not ended.previous_is_live
    assert rotate(actor=cast.ada, key=key).awaits_successor


def test_ending_the_older_secret_never_ends_its_successor(cast: Cast, key: ApiKey) -> None:
    shown = reveal(actor=cast.ada, key=rotate(actor=cast.ada, key=key))
    for _ in range(2):
        end_previous_secret(actor=cast.ben, key=key)
    mine = ApiKey.objects.get()
    assert (mine.state, mine.revoked_at) == ("live", None)
    assert bytes(mine.secret_hmac or b"") in secrets.digests(shown.token)
    assert AuditEvent.objects.filter(action="key.previous_secret_ended").count() == 1


@pytest.mark.parametrize("hours", [-1, 169])
def test_an_overlap_is_of_a_week_at_most(cast: Cast, key: ApiKey, hours: int) -> None:
    with pytest.raises(InvalidInputError, match="0 to 168 hours"):
        rotate(actor=cast.ada, key=key, overlap_hours=hours)


def test_a_key_without_a_secret_has_none_to_replace(cast: Cast) -> None:
    with pytest.raises(NotRevealedError):
        rotate(actor=cast.ada, key=issue_key(actor=cast.ada, project=cast.ranking, name="new"))


def test_a_revoked_key_gets_no_secret(cast: Cast, key: ApiKey) -> None:
    rotate(actor=cast.ada, key=key)
    revoke(actor=cast.ada, key=key, reason="Lost.")
    for act in (lambda: rotate(actor=cast.ada, key=key), lambda: reveal(actor=cast.ada, key=key)):
        with pytest.raises(KeyEndedError):
            act()


def test_the_lead_asks_and_the_owner_is_told_and_reveals(cast: Cast, key: ApiKey) -> None:
    rotate(actor=cast.ben, key=key)
    mail = Outbox.objects.get(topic="key.rotation_asked")
    assert (mail.recipient, mail.payload["link"]) == (cast.ada.email, f"/keys/{key.public_id}/reveal/")
    assert reveal(actor=cast.ada, key=key).token


@pytest.mark.parametrize("who", ["dan", "eve", "olga", "fay", "audrey"])
def test_others_neither_rotate_nor_end(cast: Cast, key: ApiKey, who: str) -> None:
    for act in (rotate, end_previous_secret):
        with pytest.raises(RoleNeededError):
            act(actor=getattr(cast, who), key=key)


def test_raw_sql_neither_swaps_a_secret_nor_revives_one(cast: Cast, key: ApiKey) -> None:
    fresh = secrets.sign(secrets.new_token())[1]
    rows = ApiKey.objects.filter(pk=key.pk)
    week = clock.now() + timedelta(days=8)
    whole = {"previous_pepper_id": 1, "previous_until": clock.now() + timedelta(days=1)}
    changes: list[dict[str, object]] = [
        {"secret_hmac": fresh},
        {"secret_hmac": fresh, "previous_hmac": key.secret_hmac, **whole},
        {"previous_hmac": fresh, **whole},
        {"rotation_asked_at": clock.now(), "rotation_overlap_hours": 200},
        {"rotation_asked_at": clock.now()},
    ]
    for change in changes:
        with pytest.raises(IntegrityError), transaction.atomic():
            rows.update(**change)
    reveal(actor=cast.ada, key=rotate(actor=cast.ada, key=key))
    changes = [{"previous_until": week}, {"previous_hmac": fresh}, {"previous_hmac": None}]
    for change in changes:
        with pytest.raises(IntegrityError), transaction.atomic():
            rows.update(**change)


@pytest.mark.django_db(transaction=True)
@pytest.mark.race
def test_of_many_clicks_one_shows_the_successor() -> None:
    cast = make_cast()
    key = reveal(actor=cast.ada, key=issue_key(actor=cast.ada, project=cast.ranking, name="laptop")).key
    rotate(actor=cast.ada, key=key)
    outcomes = at_once(*[lambda: reveal(actor=cast.ada, key=key)] * 6)
    (shown,) = winners(outcomes)
    assert [type(error) for error in losers(outcomes)] == [AlreadyRevealedError] * 5
    assert bytes(ApiKey.objects.get().secret_hmac or b"") in secrets.digests(shown.token)
