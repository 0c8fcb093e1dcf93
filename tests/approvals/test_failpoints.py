"""Every flow of an approval stopped at every step: nothing is half done, and the retry has one effect."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, connection
from pytest_django import Settings

from approvals import services
from approvals.models import AccessRequest, Verdict
from approvals.services.increases.deciding import decide_increase
from budgets.models import ScopeKind
from core import seal
from core.errors import DomainError
from core.models import AuditEvent
from keys import services as keys
from keys.models import ApiKey, Grant
from portal import ledger
from tests import factories
from tests.api.world import open_budget
from tests.approvals.conftest import REASON, ask_for
from tests.cast import Cast, make_cast
from tests.gateway.failpoints import How, failpoints, stop_at

pytestmark = pytest.mark.django_db(transaction=True)

MOST_STEPS = 100
WHY = "A test of what is stopped."
Act = Callable[[], Any]


def again(row: Any) -> Any:
    """Read a row anew, as whoever tries again does."""
    return type(row).objects.get(pk=row.pk)


def submit(cast: Cast) -> Act:
    return lambda: ask_for(cast)


def amend(cast: Cast) -> Act:
    asked = ask_for(cast)
    wish: dict[str, Any] = {"reason": REASON, "duration_days": 1, "expected_monthly_usd": Decimal(1)}
    return lambda: services.amend(actor=cast.ada, request=again(asked), seen_revision=1, **wish)


def withdraw(cast: Cast) -> Act:
    asked = ask_for(cast)
    return lambda: services.withdraw(actor=cast.ada, request=again(asked))


def decided(cast: Cast, asked: AccessRequest, **said: Any) -> Act:
    how: dict[str, Any] = {"actor": cast.ben, "verdict": Verdict.APPROVE, "seen_revision": 1} | said
    return lambda: services.decide(request=again(asked), **how)


def approve(cast: Cast) -> Act:
    return decided(cast, ask_for(cast))


def deny(cast: Cast) -> Act:
    return decided(cast, ask_for(cast), verdict=Verdict.DENY, comment=WHY)


def approve_the_first_of_two(cast: Cast) -> Act:
    factories.new_policy(cast.tier2, [("lead", 1), ("director", 1)])
    return decided(cast, ask_for(cast))


def break_the_glass(cast: Cast) -> Act:
    factories.new_policy(cast.tier2, [("lead", 1)], break_glass_hours=4, break_glass_cap_usd=Decimal(50))
    return lambda: services.break_glass(actor=cast.ada, project=cast.ranking, tier=cast.tier2, reason=REASON)


def raise_a_budget(cast: Cast) -> Act:
    budget = open_budget(cast, ScopeKind.PROJECT, cast.ranking.pk, "50")
    asked = services.ask_increase(actor=cast.ada, budget=budget, limit_usd=Decimal(100), reason=REASON)
    return lambda: decide_increase(
        actor=cast.ben, request=again(asked), verdict=Verdict.APPROVE, seen_revision=1
    )


def issue_a_key(cast: Cast) -> Act:
    return lambda: keys.issue_key(actor=cast.ada, project=cast.ranking, name="nightly")


def reveal_a_key(cast: Cast) -> Act:
    key = factories.ApiKeyFactory.create(project=cast.ranking, owner=cast.ada)
    return lambda: keys.reveal(actor=cast.ada, key=again(key))


def live(cast: Cast) -> ApiKey:
    key: ApiKey = factories.ApiKeyFactory.create(project=cast.ranking, owner=cast.ada)
    factories.revealed(key)
    return key


def rotate_a_key(cast: Cast) -> Act:
    key = live(cast)
    return lambda: keys.rotate(actor=cast.ada, key=again(key), overlap_hours=24)


def revoke_a_key(cast: Cast) -> Act:
    key = live(cast)
    factories.approved_grant(key, tier_number=2, granted_by=cast.ben)
    return lambda: keys.revoke(actor=cast.ada, key=again(key), reason=WHY)


def revoke_a_grant(cast: Cast) -> Act:
    grant = factories.approved_grant(live(cast), tier_number=2, granted_by=cast.ben)
    return lambda: keys.revoke_grant(actor=cast.ben, grant=Grant.objects.get(pk=grant.pk), reason=WHY)


# Each flow with the fewest rows that it changes.
FLOWS: dict[Callable[[Cast], Act], int] = {
    submit: 4,
    amend: 4,
    withdraw: 2,
    approve: 6,
    deny: 3,
    approve_the_first_of_two: 3,
    break_the_glass: 6,
    raise_a_budget: 4,
    issue_a_key: 2,
    reveal_a_key: 2,
    rotate_a_key: 2,
    revoke_a_key: 4,
    revoke_a_grant: 3,
}


@pytest.fixture
def cast(transactional_db: None, settings: Settings, tmp_path: Path) -> Iterator[Cast]:
    settings.AUDIT_ANCHOR_DIR = str(tmp_path)
    made = make_cast()
    with failpoints():
        yield made


def everything() -> str:
    """Return a digest of every row of every table."""
    digest = hashlib.sha256()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = current_schema()::regnamespace"
            " AND relkind = 'r' AND relname <> 'failpoint' ORDER BY 1"
        )
        for (table,) in cursor.fetchall():
            cursor.execute(f"SELECT t::text FROM {table} t ORDER BY 1")  # noqa: S608  a name from the catalogue
            digest.update(repr((table, cursor.fetchall())).encode())
    return digest.hexdigest()


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.__name__)
def test_flow_stopped_at_any_step_did_nothing_and_its_retry_has_one_effect(
    cast: Cast, flow: Callable[[Cast], Act]
) -> None:
    act = flow(cast)
    events = AuditEvent.objects.count()
    before = everything()
    for step in range(1, MOST_STEPS):
        with stop_at(step, How.RAISE) as stop:
            done = attempt(act)
        assert done is not stop.happened, f"step {step}"
        if not stop.happened:
            break
        assert everything() == before, f"stopped at step {step}, it did something"
    else:
        pytest.fail("it never ended")

    assert step > FLOWS[flow], "the sweep saw too few steps"
    assert AuditEvent.objects.count() > events
    assert ledger.verify().findings == ()
    seal.seal_due()
    assert seal.verify().broken == ()


def attempt(act: Act) -> bool:
    """Act, and say whether it was done."""
    with contextlib.suppress(DatabaseError):
        act()
        return True
    return False


def test_the_same_decision_again_has_no_second_effect(cast: Cast) -> None:
    act = approve(cast)
    act()
    before = everything()
    with contextlib.suppress(DomainError):
        act()
    assert everything() == before


def test_flow_of_two_transactions_would_be_caught(cast: Cast) -> None:
    """The control: two keys issued one after the other are half done when stopped between them."""
    before = everything()

    def issue_several() -> None:
        for number in range(9):
            keys.issue_key(actor=cast.ada, project=cast.ranking, name=f"nightly {number}")

    with stop_at(FLOWS[issue_a_key] * 3, How.RAISE) as stop:
        assert not attempt(issue_several)
    assert stop.happened
    assert everything() != before
