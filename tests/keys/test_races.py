"""Two sessions at the same key: first what happens without the lock, then with it."""

from __future__ import annotations

from threading import Barrier

import pytest

from core import clock
from core.errors import AlreadyDoneError
from core.models import AuditEvent
from keys import secrets
from keys.errors import AlreadyRevealedError
from keys.models import ApiKey
from keys.services import issue_key, reveal, revoke
from tests.cast import make_cast
from tests.racing import at_once, losers, winners

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.race]


def test_without_the_lock_two_sessions_show_two_secrets() -> None:
    cast = make_cast()
    key = issue_key(actor=cast.ada, project=cast.ranking, name="laptop")
    both_have_read = Barrier(2)

    def naive_reveal() -> str:
        mine = ApiKey.objects.get(pk=key.pk)
        assert mine.revealed_at is None
        both_have_read.wait(20)
        token = secrets.new_token()
        pepper, digest = secrets.sign(token)
        ApiKey.objects.filter(pk=key.pk, secret_hmac=None).update(
            secret_hmac=digest, pepper_id=pepper, revealed_at=clock.now()
        )
        return token

    shown = winners(at_once(naive_reveal, naive_reveal))
    assert len(set(shown)) == 2


@pytest.mark.parametrize("clicks", [2, 8])
def test_one_of_many_clicks_shows_the_secret(clicks: int) -> None:
    cast = make_cast()
    key = issue_key(actor=cast.ada, project=cast.ranking, name="laptop")
    outcomes = at_once(*[lambda: reveal(actor=cast.ada, key=key)] * clicks)
    (shown,) = winners(outcomes)
    assert ApiKey.objects.get(secret_hmac__in=secrets.digests(shown.token)) == key
    assert [type(error) for error in losers(outcomes)] == [AlreadyRevealedError] * (clicks - 1)
    assert AuditEvent.objects.filter(action="key.revealed").count() == 1


def test_one_of_two_revocations_counts() -> None:
    cast = make_cast()
    key = issue_key(actor=cast.ada, project=cast.ranking, name="laptop")
    outcomes = at_once(
        lambda: revoke(actor=cast.ada, key=key, reason="Mine."),
        lambda: revoke(actor=cast.ben, key=key, reason="Lead's."),
    )
    (ended,) = winners(outcomes)
    assert [type(error) for error in losers(outcomes)] == [AlreadyDoneError]
    assert ApiKey.objects.get().revoked_reason == ended.revoked_reason
    assert AuditEvent.objects.filter(action="key.revoked").count() == 1
