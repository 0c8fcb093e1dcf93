"""The sealed audit: whoever writes to the database is found, and by the row."""

from __future__ import annotations

import hmac
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from pytest_django.fixtures import Settings
from structlog.testing import capture_logs

from core import anchors, audit, seal
from core.models import AuditEvent, AuditSeal
from tests.cast import Cast

GUARDED = ("core_auditevent", "core_auditseal")


@pytest.fixture(autouse=True)
def anchored(settings: Settings, tmp_path: Path) -> Path:
    """Keep the anchors of each test apart."""
    settings.AUDIT_ANCHOR_DIR = str(tmp_path / "anchors")
    return tmp_path / "anchors" / anchors.FILE_NAME


@pytest.fixture
def unguarded(db: None) -> Iterator[None]:
    """Be somebody who owns the tables and has switched the guards off."""
    with connection.cursor() as cursor:
        for table in GUARDED:
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        yield
        for table in GUARDED:
            cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")


def act(cast: Cast, times: int = 1) -> list[AuditEvent]:
    """Do something that is recorded."""
    return [
        audit.record(
            actor=cast.ada, action="team.renamed", subject=cast.search, before={"name": "Search"},
            after={"name": f"Find {number}"}, reason="Clearer.",
        )
        for number in range(times)
    ]  # fmt: skip


def sealed(cast: Cast, *sizes: int) -> list[list[AuditEvent]]:
    """Record and seal, several times."""
    ranges = []
    for size in sizes:
        ranges.append(act(cast, size))
        assert seal.seal_due() == size
    return ranges


def broken() -> list[str]:
    return [f"{each.subject} {each.detail}" for each in seal.verify().broken]


def test_clean_audit_verifies_and_says_what_is_not_sealed_yet(
    cast: Cast, capsys: pytest.CaptureFixture[str]
) -> None:
    sealed(cast, 3, 2)
    act(cast)

    call_command("audit_verify")

    head = AuditSeal.objects.get(number=2).head
    said = f"5 events in 2 seals are as they were sealed, head {head[:16]}; 1 not sealed yet\n"
    assert capsys.readouterr().out == said


def test_sealing_again_seals_nothing(cast: Cast) -> None:
    sealed(cast, 2)
    assert seal.seal_due() == 0
    assert AuditSeal.objects.count() == len(anchors.read()) == 1


def test_many_events_are_sealed_in_several_ranges(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seal, "MOST_EVENTS", 2)
    act(cast, 5)
    assert seal.seal_due() == 5
    assert list(AuditSeal.objects.values_list("events", flat=True)) == [2, 2, 1]
    assert broken() == []


@pytest.mark.usefixtures("unguarded")
@pytest.mark.parametrize(
    "change",
    [
        "reason = overlay(reason placing 'B' from 1)",  # one bit: C and B
        "actor_label = 'Ben'",
        "at = at + interval '1 microsecond'",
        "after = '{}'",
        "team_id = 7",
        "on_behalf_of_id = 7",
        "policy_version = 7",
        "ip_address = '192.0.2.1'",
        "request_id = 'x'",
        "api_token = 'x'",
        "object_id = 'x'",
    ],
)
def test_edited_row_is_named_and_no_other(cast: Cast, change: str) -> None:
    _, [_, second, _] = sealed(cast, 2, 3)
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE core_auditevent SET {change} WHERE id = {second.pk}")  # noqa: S608

    with pytest.raises(CommandError) as refused:
        call_command("audit_verify")

    assert refused.value.returncode == 1
    assert str(refused.value) == (
        f"event {second.pk} ({second.public_id}, team.renamed) is not as it was sealed in seal 2"
    )


@pytest.mark.usefixtures("unguarded")
def test_removed_row_is_named(cast: Cast) -> None:
    [[_, second, _]] = sealed(cast, 3)
    AuditEvent.objects.filter(pk=second.pk).delete()
    assert broken() == [f"event {second.pk} is gone from seal 1"]


def test_row_written_between_two_ranges_is_named(cast: Cast) -> None:
    unused = act(cast)[0].pk + 1
    seal.seal_due()
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval('core_auditevent_id_seq')")
    sealed(cast, 1)
    [late] = act(cast)
    late.pk, late.public_id = unused, "aud_of_the_past"

    late.save(force_insert=True)

    assert broken() == [f"event {unused} was added between two sealed ranges"]


def test_row_written_into_a_sealed_range_is_named(cast: Cast) -> None:
    unused = act(cast)[0].pk + 1
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval('core_auditevent_id_seq')")
    sealed_later = act(cast)[0]
    seal.seal_due()
    sealed_later.pk, sealed_later.public_id = unused, "aud_of_the_past"

    sealed_later.save(force_insert=True)

    assert broken() == [f"event {unused} (aud_of_the_past) was added to a sealed range"]


@pytest.mark.usefixtures("unguarded")
def test_cut_tail_is_named_by_the_anchors(cast: Cast) -> None:
    _, tail = sealed(cast, 2, 2)
    AuditSeal.objects.filter(number=2).delete()
    AuditEvent.objects.filter(pk__gte=tail[0].pk).delete()

    assert broken() == [f"seal 2 is cut off, with events {tail[0].pk} to {tail[1].pk}"]


@pytest.mark.usefixtures("unguarded")
def test_nothing_is_sealed_over_a_cut_tail(cast: Cast) -> None:
    _, tail = sealed(cast, 2, 2)
    AuditSeal.objects.filter(number=2).delete()
    AuditEvent.objects.filter(pk__gte=tail[0].pk).delete()
    act(cast)

    with capture_logs() as logs:
        assert seal.seal_due() == 0

    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["audit.cut"]
    assert broken() != []


@pytest.mark.usefixtures("unguarded")
def test_chain_rebuilt_without_the_key_is_found(cast: Cast, settings: Settings) -> None:
    [[first, second]] = sealed(cast, 2)
    AuditEvent.objects.filter(pk=first.pk).update(reason="Another reason.")
    AuditSeal.objects.all().delete()
    key, settings.AUDIT_HMAC_KEY = settings.AUDIT_HMAC_KEY, b"a key of the attacker's own making"
    assert seal._seal_range(second.pk) == 2
    settings.AUDIT_HMAC_KEY = key

    found = broken()

    assert "seal 1 was not made with this key, or was rewritten" in found
    assert any(line.startswith(f"event {first.pk} (") for line in found)


def test_seals_of_a_key_before_verify_with_it_and_not_without(cast: Cast, settings: Settings) -> None:
    sealed(cast, 2)
    settings.AUDIT_HMAC_OLD_KEYS = [settings.AUDIT_HMAC_KEY]
    settings.AUDIT_HMAC_KEY = b"the next key, of this year's rotation"
    act(cast)
    assert seal.seal_due() == 1
    assert broken() == []
    assert AuditSeal.objects.values("key_id").distinct().count() == 2
    settings.AUDIT_HMAC_OLD_KEYS = []
    assert "seal 1 was not made with this key, or was rewritten" in broken()


@pytest.mark.usefixtures("unguarded")
def test_a_seal_from_before_keys_had_names_verifies(cast: Cast, settings: Settings) -> None:
    sealed(cast, 2)
    AuditSeal.objects.update(key_id="")
    settings.AUDIT_HMAC_OLD_KEYS = [settings.AUDIT_HMAC_KEY]
    settings.AUDIT_HMAC_KEY = b"the next key, of this year's rotation"
    assert broken() == []


@pytest.mark.usefixtures("unguarded")
def test_chain_rebuilt_with_the_key_is_not_the_one_anchored(cast: Cast) -> None:
    [[first, second]] = sealed(cast, 2)
    AuditEvent.objects.filter(pk=first.pk).update(reason="Another reason.")
    AuditSeal.objects.all().delete()
    assert seal._seal_range(second.pk) == 2

    assert [line.split(" at ")[0] for line in broken()] == ["seal 1 is not the one anchored"]


@pytest.mark.usefixtures("unguarded")
def test_mark_changed_with_its_row_is_found(cast: Cast) -> None:
    [[first, _]] = sealed(cast, 2)
    AuditEvent.objects.filter(pk=first.pk).update(reason="Another reason.")
    row = AuditEvent.objects.values(*seal.READ).get(pk=first.pk)
    forged = hmac.digest(b"guessed", seal.START + seal._canonical(row), "sha256")
    kept = AuditSeal.objects.get()
    AuditSeal.objects.update(marks=seal.MARK.pack(first.pk, forged) + bytes(kept.marks)[seal.MARK.size :])

    found = broken()

    assert len(found) == 2  # its row, and the next one, which was chained to the mark that stood here
    assert found[0].startswith(f"event {first.pk} (")


def test_lost_anchors_are_no_clean_audit(cast: Cast, anchored: Path) -> None:
    sealed(cast, 1)
    anchored.unlink()
    assert broken() == [f"the anchors are gone from {anchored}: nothing proves the end"]


def test_anchor_is_a_line_of_the_file_and_of_the_log(cast: Cast, anchored: Path) -> None:
    with capture_logs() as logs:
        [[first, last]] = sealed(cast, 2)

    [line] = anchored.read_text().splitlines()
    kept = AuditSeal.objects.get()
    anchor = json.loads(line)
    assert (anchor["seal"], anchor["head"]) == (1, kept.head)
    assert (anchor["first_event_id"], anchor["last_event_id"]) == (first.pk, last.pk)
    [logged] = [each for each in logs if each["event"] == "audit.anchored"]
    assert anchor.items() <= logged.items()
    assert anchored.stat().st_mode & 0o777 == 0o600


def test_seal_whose_anchor_was_not_written_is_anchored_the_next_time(cast: Cast, anchored: Path) -> None:
    sealed(cast, 1, 1)
    lines = anchored.read_text().splitlines(keepends=True)
    anchored.write_text(lines[0] + lines[1][:20])  # killed in the middle of the line

    assert seal.seal_due() == 0

    assert anchored.read_text() == "".join(lines)


@pytest.mark.django_db(transaction=True)
def test_event_of_an_unfinished_transaction_keeps_later_ones_unsealed(cast: Cast) -> None:
    """An id is given before the commit: sealing past it would make a row in a closed range."""
    written, finish = threading.Event(), threading.Event()

    def slow_act() -> None:
        with transaction.atomic():
            act(cast)
            written.set()
            assert finish.wait(10)
        connection.close()

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(slow_act)
        assert written.wait(10)
        with transaction.atomic():
            [later] = act(cast)
        assert seal.seal_due() == 0
        finish.set()
        slow.result()
    assert seal.seal_due() == 2
    assert AuditSeal.objects.get().last_event_id == later.pk
    assert broken() == []


@pytest.mark.parametrize("statement", ["UPDATE core_auditseal SET events = 2", "DELETE FROM core_auditseal"])
def test_seal_is_never_changed(cast: Cast, statement: str) -> None:
    sealed(cast, 1)
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        connection.cursor().execute(statement)


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ("1, 2, 1, 1, '{mark}', '{head}'", "audit_seal_closes_a_range"),
        ("1, 1, 2, 2, '{mark}', '{head}'", "audit_seal_marks_each_event"),
        ("1, 1, 1, 1, '{mark}', 'x'", "audit_seal_head_is_an_hmac"),
    ],
)
def test_seal_that_seals_nothing_is_refused(db: None, values: str, rule: str) -> None:
    written = values.format(mark="\\x" + "00" * 40, head="0" * 64)
    with pytest.raises(DatabaseError, match=rule), transaction.atomic():
        connection.cursor().execute(
            "INSERT INTO core_auditseal"  # noqa: S608
            " (number, first_event_id, last_event_id, events, marks, head, sealed_at)"
            f" VALUES ({written}, now())"
        )
