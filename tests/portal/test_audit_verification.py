"""The audit's seals on the Status page: late sealing and a broken chain show, administrators are told."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from django.db import connection
from pytest_django.fixtures import Settings

from core import audit, clock
from core.models import AuditEvent, Outbox, Walk
from portal.tasks import seal_audit, verify_audit
from tests.browsing import Visitor
from tests.cast import Cast


@pytest.fixture(autouse=True)
def apart(settings: Settings, tmp_path: Path) -> None:
    """Keep the anchors apart from those of other tests."""
    settings.AUDIT_ANCHOR_DIR = str(tmp_path)


def verified_again() -> int | None:
    """Verify as in the next night."""
    Walk.objects.update(begun_at=clock.now() - timedelta(days=1))
    return verify_audit()


def shown(cast: Cast, part: str) -> tuple[str, str]:
    rows = Visitor(cast.ada).get("/status/").rows("Checks table")
    return next((state, detail) for name, state, detail, *_ in rows if name == part)


def act(cast: Cast) -> AuditEvent:
    return audit.record(actor=cast.ann, action="team.renamed", subject=cast.search)


def test_events_that_nobody_seals_are_late(cast: Cast) -> None:
    act(cast)
    assert shown(cast, "Audit seal")[0] == "Working"

    with time_machine.travel(clock.now() + timedelta(minutes=11)):
        assert shown(cast, "Audit seal")[0] == "Late"
        assert seal_audit() == 1
        assert shown(cast, "Audit seal") == ("Working", "every event is sealed")


def test_edited_row_is_shown_and_mailed_once_a_day(cast: Cast) -> None:
    event = act(cast)
    seal_audit()
    assert verify_audit() == 0
    assert shown(cast, "Audit") == ("Working", "verified 0 h ago")
    assert "As it was sealed" in Visitor(cast.ada).get("/audit/").words
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE core_auditevent DISABLE TRIGGER USER")
        cursor.execute("UPDATE core_auditevent SET reason = 'Other.'")
        cursor.execute("ALTER TABLE core_auditevent ENABLE TRIGGER USER")

    assert [verify_audit(), verified_again(), verified_again()] == [None, 1, 1]
    assert "Not as it was sealed" in Visitor(cast.ada).get("/audit/").words

    assert shown(cast, "Audit")[0] == "Late"
    [mail] = Outbox.objects.all()
    assert mail.recipient == cast.ann.email
    assert event.public_id in mail.payload["body"]
