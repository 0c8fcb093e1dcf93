"""Verifies the books: runs every rule of the ledger and of usage against one snapshot of the database."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import structlog
from django.db import connection, transaction

import budgets.ledger
import gateway.ledger
import usage.selectors.ledger
from core import clock, outbox
from core.books import Finding, finding
from teams.models import Role, RoleAssignment, User

log = structlog.get_logger(__name__)

RULES = (*budgets.ledger.RULES, *usage.selectors.ledger.RULES, *gateway.ledger.RULES)
FIGURES = """
    SELECT (SELECT count(*) FROM budgets_balance), (SELECT count(*) FROM budgets_entry),
           (SELECT coalesce(sum(amount_usd), 0) FROM budgets_entry),
           (SELECT count(*) FROM budgets_reservation),
           (SELECT count(*) FROM budgets_reservation WHERE state = 'open'), (SELECT count(*) FROM usage_event)
"""
MAIL = """\
The nightly verification of the books found differences. Calls go on; find the cause before figures are used.

{differences}

`manage.py ledger_verify` repeats it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What a verification read, and every rule that did not hold."""

    at: datetime
    balances: int
    entries: int
    entries_usd: Decimal
    reservations: int
    open_reservations: int
    events: int
    rules: int
    findings: tuple[Finding, ...]

    @property
    def figures(self) -> str:
        """Return what was read, on one line."""
        return (
            f"{self.rules} rules hold: {self.balances:,} balances, {self.entries:,} entries of"
            f" ${self.entries_usd}, {self.reservations:,} reservations ({self.open_reservations:,} open),"
            f" {self.events:,} usage events"
        )


def verify(*, since: datetime | None = None) -> Verification:
    """Recompute the books, or what was touched since a moment, and return every rule that does not hold."""
    with _one_snapshot():
        findings = tuple(found for rule in RULES if (found := finding(rule, since=since)))
        with connection.cursor() as cursor:
            cursor.execute(FIGURES)
            balances, entries, entries_usd, reservations, open_reservations, events = cursor.fetchone()
    return Verification(
        at=clock.now(),
        balances=balances,
        entries=entries,
        entries_usd=entries_usd,
        reservations=reservations,
        open_reservations=open_reservations,
        events=events,
        rules=len(RULES),
        findings=findings,
    )


def tell(findings: Sequence[Finding], *, at: datetime) -> None:
    """Log every rule that does not hold and mail it to the administrators, once a day."""
    for found in findings:
        log.error(
            "ledger.differs",
            rule=found.rule,
            rows=found.count,
            first=found.first.subject,
            detail=found.first.detail,
        )
    if findings:
        _mail_administrators(findings, at)
    else:
        log.info("ledger.verified", rules=len(RULES))


def lines(findings: Sequence[Finding]) -> list[str]:
    """Return the findings as sentences, one for each rule."""
    return [
        f"{found.rule}: {found.count:,} wrong, the first is {found.first.subject}: {found.first.detail}"
        for found in findings
    ]


@contextmanager
def _one_snapshot() -> Iterator[None]:
    """Let every rule see the same moment, while calls go on; inside a transaction, what that one sees.

    Reading everything may take longer than a page, or a job, may.
    """
    is_outermost = not connection.in_atomic_block
    with transaction.atomic(), connection.cursor() as cursor:
        if is_outermost:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            cursor.execute("SET LOCAL statement_timeout = '4h'")
            cursor.execute("SET LOCAL work_mem = '128MB'")  # the replay sorts every hold and entry
        yield


@transaction.atomic
def _mail_administrators(findings: Sequence[Finding], at: datetime) -> None:
    administrators = RoleAssignment.objects.live().filter(role=Role.ADMIN).values("user")
    for person in User.objects.filter(pk__in=administrators, is_active=True):
        outbox.put_mail(
            topic="ledger.differs",
            recipient=person.email,
            dedupe_key=f"ledger:{at:%Y-%m-%d}:{person.public_id}",
            subject=f"The ledger does not recompute: {len(findings)} rules differ",
            body=MAIL.format(differences="\n".join(lines(findings))),
            link="/status/",
        )
