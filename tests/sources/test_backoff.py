"""A source that fails is asked later and later, as it asks for, and at once when somebody wants it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from core.models import AuditEvent
from gateway.tasks import reports_of
from teams.errors import RoleNeededError
from tests.cast import Cast
from tests.fakes import reports as fake
from tests.fakes.reports import ADMIN_KEY, Reports, Trouble
from usage.models import ImportCursor, ProviderAccount, SourceKind
from usage.ports import SourceUnavailableError
from usage.services import cursors, pull_report, read_now
from usage.services.reports import source_name


def read(account: ProviderAccount) -> ImportCursor:
    pull_report(account=account, kind=SourceKind.USAGE, reports=reports_of(account))
    return ImportCursor.objects.get(source=source_name(account, SourceKind.USAGE))


def test_the_wait_doubles_with_each_failure_and_a_success_ends_it(
    openai: ProviderAccount, provider: Reports, clockwork: time_machine.Traveller
) -> None:
    waits: list[float] = []
    cursor = ImportCursor()
    for _ in range(10):
        provider.troubles = [Trouble(status=500)]
        cursor = read(openai)
        assert cursor.next_attempt_at is not None
        waits.append((cursor.next_attempt_at - datetime.now(UTC)).total_seconds() / 60)
        asked = len(provider.asked)
        clockwork.move_to(cursor.next_attempt_at - timedelta(seconds=1))
        read(openai)
        assert len(provider.asked) == asked, "asked before its time"
        clockwork.shift(1)
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 240, 240]
    assert cursor.failures == 10
    cursor = read(openai)
    assert (cursor.failures, cursor.last_error) == (0, "")
    assert cursor.next_attempt_at is not None
    again = cursor.next_attempt_at - datetime.now(UTC)
    assert timedelta(hours=1) <= again < timedelta(hours=1, minutes=10)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7200", 7200),
        ("Fri, 20 Nov 2026 13:00:00 GMT", 3600),
        ("5", 60),
        ("999999999999", 86_400),
        ("soon", 60),
        ("-5", 60),
        ("Fri, 20 Nov 2026 11:00:00 GMT", 60),
    ],
)
def test_retry_after_is_honoured_within_reason(
    openai: ProviderAccount, provider: Reports, header: str, seconds: int
) -> None:
    provider.troubles = [Trouble(status=429, headers={"Retry-After": header})]
    cursor = read(openai)
    assert cursor.last_error == "OpenAI asks to be called less often (429)."
    assert cursor.next_attempt_at == datetime(2026, 11, 20, 12, tzinfo=UTC) + timedelta(seconds=seconds)


def test_a_journal_never_waits_longer_than_five_minutes(clockwork: time_machine.Traveller) -> None:
    cursors.open_cursor(source="gw_x", kind=SourceKind.JOURNAL)
    for _ in range(20):
        cursors.note_failure(source="gw_x", error=SourceUnavailableError("down"))
    assert ImportCursor.objects.get().next_attempt_at == datetime(2026, 11, 20, 12, 5, tzinfo=UTC)


def test_who_asks_has_it_read_at_once_and_asking_twice_changes_nothing(
    openai: ProviderAccount, provider: Reports, cast: Cast
) -> None:
    provider.troubles = [Trouble(status=500)]
    name = read(openai).source
    provider.tell(fake.OPENAI_USAGE, datetime(2026, 11, 18, tzinfo=UTC).date(), fake.openai_usage())
    for _ in range(2):
        read_now(actor=cast.fay, source=name)
    assert read(openai).rows_read == 1
    assert AuditEvent.objects.filter(action="source.read_asked", object_id=name).count() == 2
    with pytest.raises(RoleNeededError):
        read_now(actor=cast.audrey, source=name)


def test_a_missing_credential_is_a_failure_that_names_it_and_calls_nobody(
    openai: ProviderAccount, provider: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PURSER_ADMIN_KEY_TEST")
    cursor = read(openai)
    assert cursor.last_error == (
        "The admin credential is missing. The environment variable PURSER_ADMIN_KEY_TEST is not set for the"
        " worker."
    )
    assert provider.asked == []
    assert cursor.last_success_at is None


def test_a_wrong_key_is_nowhere_in_what_is_kept(
    openai: ProviderAccount,
    provider: Reports,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The provider repeats the key in its refusal; nobody else does."""
    monkeypatch.setenv("PURSER_ADMIN_KEY_TEST", f"{ADMIN_KEY}-wrong")
    cursor = read(openai)
    assert cursor.last_error == "OpenAI refused the admin key (401)."
    out, err = capfd.readouterr()
    assert ADMIN_KEY not in out + err + repr(vars(cursor))


def test_a_private_address_is_called_only_where_a_setting_allows_it(
    openai: ProviderAccount, provider: Reports, settings: object
) -> None:
    settings.PROVIDER_ALLOWED_NETWORKS = []  # type: ignore[attr-defined]
    cursor = read(openai)
    assert cursor.last_error == (
        "The address of OpenAI may not be called: 127.0.0.1 is not on the public internet."
    )
    assert provider.asked == []
