"""The secret exists in exactly one answer."""

from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine
from django.db import IntegrityError, connection, transaction

from core import clock
from core.errors import NotAllowedError
from core.models import AuditEvent, Outbox
from keys import secrets
from keys.errors import AlreadyRevealedError, KeyEndedError
from keys.models import ApiKey, KeyState
from keys.services import issue_key, reveal, revoke
from tests.cast import Cast


@pytest.fixture
def key(cast: Cast) -> ApiKey:
    return issue_key(actor=cast.ada, project=cast.ranking, name="laptop")


def test_owner_reveals_a_wellformed_secret(cast: Cast, key: ApiKey) -> None:
    shown = reveal(actor=cast.ada, key=key)
    assert secrets.is_wellformed(shown.token)
    assert shown.key.state == KeyState.LIVE
    assert ApiKey.objects.get(secret_hmac__in=secrets.digests(shown.token)) == key


def test_only_the_ends_of_the_secret_are_kept_for_display(cast: Cast, key: ApiKey) -> None:
    shown = reveal(actor=cast.ada, key=key)
    assert shown.key.masked == f"{shown.token[:13]}…{shown.token[-4:]}"


def test_the_second_reveal_is_refused_with_metadata_only(cast: Cast, key: ApiKey) -> None:
    shown = reveal(actor=cast.ada, key=key)
    with pytest.raises(AlreadyRevealedError, match="was not kept") as refusal:
        reveal(actor=cast.ada, key=key)
    assert refusal.value.status == 409
    assert refusal.value.extra["masked"] == shown.key.masked
    assert shown.token not in str(vars(refusal.value))


@pytest.mark.parametrize("name", ["ben", "cleo", "dan", "audrey", "ann"])
def test_nobody_but_the_owner_reveals(cast: Cast, key: ApiKey, name: str) -> None:
    with pytest.raises(NotAllowedError, match="Only Ada Moreno"):
        reveal(actor=getattr(cast, name), key=key)
    assert ApiKey.objects.get().revealed_at is None


def test_a_leaver_reveals_nothing(cast: Cast, key: ApiKey) -> None:
    cast.ada.is_active = False
    with pytest.raises(NotAllowedError):
        reveal(actor=cast.ada, key=key)


def test_a_revoked_key_is_not_revealed(cast: Cast, key: ApiKey) -> None:
    revoke(actor=cast.ben, key=key, reason="Not needed.")
    with pytest.raises(KeyEndedError, match=r"was revoked on .*: Not needed"):
        reveal(actor=cast.ada, key=key)


def test_an_expired_key_is_not_revealed(cast: Cast, key: ApiKey) -> None:
    with (
        time_machine.travel(clock.now() + timedelta(days=180)),
        pytest.raises(KeyEndedError, match="expired on") as refusal,
    ):
        reveal(actor=cast.ada, key=key)
    assert refusal.value.status == 410


def test_the_secret_is_in_no_row_and_in_no_representation(cast: Cast, key: ApiKey) -> None:
    shown = reveal(actor=cast.ada, key=key)
    random_part = shown.token[len(secrets.PREFIX) : -secrets.CHECKSUM_CHARACTERS]
    with connection.cursor() as cursor:
        cursor.execute("SELECT k::text FROM keys_apikey k UNION ALL SELECT a::text FROM core_auditevent a")
        rows = " ".join(text for (text,) in cursor.fetchall())
    assert shown.key.last4 in rows
    assert random_part not in rows + repr(shown) + str(shown.key.__dict__)
    assert not Outbox.objects.exists()


def test_the_reveal_is_recorded_without_the_secret(cast: Cast, key: ApiKey) -> None:
    shown = reveal(actor=cast.ada, key=key)
    event = AuditEvent.objects.get(action="key.revealed")
    assert (event.actor_id, event.after) == (cast.ada.pk, {"masked": shown.key.masked})


def test_raw_sql_cannot_give_a_key_another_secret(cast: Cast, key: ApiKey) -> None:
    reveal(actor=cast.ada, key=key)
    with pytest.raises(IntegrityError, match="keeps its project, owner and secret"), transaction.atomic():
        ApiKey.objects.update(secret_hmac=b"x" * 32)
