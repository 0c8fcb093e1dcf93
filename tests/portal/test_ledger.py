"""The nightly verification: what differs is logged, mailed to administrators, shown on /status/."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from structlog.testing import capture_logs

from budgets.models import Balance, Budget, ScopeKind
from core import clock
from core.models import Outbox, Walk
from portal import ledger
from portal.tasks import verify_ledger
from tests.browsing import Visitor
from tests.cast import Cast
from tests.factories import BudgetFactory


@pytest.fixture
def wrong(cast: Cast) -> Budget:
    """Make a balance that no entry explains."""
    budget: Budget = BudgetFactory.create(project=cast.ranking, scope_kind=ScopeKind.PROJECT)
    now = clock.now()
    Balance.objects.create(budget=budget, window_start=now, window_end=now + timedelta(days=1), spent_usd=7)
    return budget


def shown(cast: Cast) -> tuple[str, str]:
    rows = Visitor(cast.ada).get("/status/").rows("Checks table")
    return next((state, detail) for name, state, detail, *_ in rows if name == "Ledger")


def test_right_books_are_said_to_be_so_and_nobody_is_told(cast: Cast) -> None:
    assert shown(cast)[1].startswith("not verified yet")

    assert verify_ledger() == {}

    assert shown(cast) == ("Working", "verified 0 h ago")
    assert not Outbox.objects.exists()


def test_wrong_books_are_logged_mailed_and_shown(cast: Cast, wrong: Budget) -> None:
    with capture_logs() as logs:
        assert verify_ledger() == {"balance_is_its_entries_and_holds": 1}

    [alarm] = [line for line in logs if line["event"] == "ledger.differs"]
    assert alarm["log_level"] == "error"
    assert alarm["first"].startswith(wrong.public_id)
    [mail] = Outbox.objects.all()
    assert mail.recipient == cast.ann.email
    assert wrong.public_id in mail.payload["body"]
    state, detail = shown(cast)
    assert state == "Late"
    assert "balance_is_its_entries_and_holds" in detail


def test_administrators_are_told_once_a_day(cast: Cast, wrong: Budget) -> None:
    assert verify_ledger()
    Walk.objects.update(begun_at=clock.now() - timedelta(days=1))
    assert verify_ledger()

    assert Outbox.objects.count() == 1


def test_verification_that_no_longer_runs_is_late(cast: Cast) -> None:
    verify_ledger()
    Walk.objects.update(ended_at=clock.now() - timedelta(hours=27))

    assert shown(cast) == ("Late", "verified 27 h ago")


@pytest.mark.django_db(transaction=True)
def test_every_rule_sees_one_moment_and_may_take_its_time(transactional_db: None) -> None:
    with ledger._one_snapshot():
        settings = [_setting(name) for name in ("transaction_isolation", "transaction_read_only")]
        assert [*settings, _setting("statement_timeout")] == ["repeatable read", "on", "4h"]
    assert (_setting("transaction_isolation"), _setting("statement_timeout")) == ("read committed", "30s")


def _setting(name: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting(%s)", [name])
        value: str = cursor.fetchone()[0]
    return value
