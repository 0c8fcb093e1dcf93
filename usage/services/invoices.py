"""Keeps providers' bills: lines sum to the total, another upload of a number supersedes the one before."""

import hashlib
from collections.abc import Sequence
from datetime import date
from decimal import Decimal

import orjson
from django.db import transaction

from core import audit, clock
from core.errors import AlreadyDoneError, InvalidInputError
from core.money import ZERO, format_usd
from teams.models import User
from usage.invoices import Line, not_dollars
from usage.models import Invoice, InvoiceLine, ProviderAccount
from usage.services.cursors import require_bookkeeper

MAX_NUMBER = 100
MAX_DAYS = 400
DOLLARS = "USD"


@transaction.atomic
def upload_invoice(
    *,
    actor: User,
    account: ProviderAccount,
    number: str,
    period_start: date,
    period_end: date,
    currency: str,
    total_usd: Decimal,
    lines: Sequence[Line],
) -> Invoice:
    """Keep a bill for [period_start, period_end).

    Raises RoleNeededError; InvalidInputError for another currency than US dollars, an empty period, and lines
    that do not sum to the total; AlreadyDoneError for the very bill that is there.
    """
    require_bookkeeper(actor, "upload invoices")
    number = number.strip()
    if not number or len(number) > MAX_NUMBER or "\x00" in number:
        raise InvalidInputError(
            f"Enter the number of the bill, up to {MAX_NUMBER} characters.", field="number"
        )
    if currency.strip().upper() != DOLLARS:
        raise InvalidInputError(not_dollars(currency), field="currency")
    if not 0 < (period_end - period_start).days <= MAX_DAYS:
        raise InvalidInputError(
            f"The last day must not be before the first, and within {MAX_DAYS} days of it.",
            field="period_end",
        )
    _require_sum(lines, total_usd)
    ProviderAccount.objects.select_for_update(no_key=True).order_by("pk").get(pk=account.pk)
    digest = _digest(period_start, period_end, total_usd, lines)
    before = account.invoices.filter(number=number, superseded_at=None).first()
    if before is not None and before.document_hash == digest:
        raise AlreadyDoneError(f"This very bill is there since {before.uploaded_at:%-d %B %Y}.")
    now = clock.now()
    if before is not None:
        before.superseded_at = now
        before.save(update_fields=["superseded_at"])
    invoice = Invoice.objects.create(
        account=account, number=number, period_start=period_start, period_end=period_end, total_usd=total_usd,
        document_hash=digest, uploaded_at=now, uploaded_by=actor,
    )  # fmt: skip
    InvoiceLine.objects.bulk_create(
        InvoiceLine(
            invoice=invoice, description=line.description, model_name=line.model_name, quantity=line.quantity,
            amount_usd=line.amount_usd,
        )
        for line in lines
    )  # fmt: skip
    audit.record(
        actor=actor,
        action="invoice.uploaded",
        subject=invoice,
        before={"supersedes": before.public_id, "total_usd": before.total_usd} if before else {},
        after={
            "account": account,
            "number": number,
            "valid_from": period_start,
            "valid_until": period_end,
            "total_usd": total_usd,
            "lines": len(lines),
        },
    )
    return invoice


def _require_sum(lines: Sequence[Line], total_usd: Decimal) -> None:
    found = sum((line.amount_usd for line in lines), ZERO)
    if not lines or found != total_usd:
        raise InvalidInputError(
            f"The {len(lines):,} lines sum to {_exact(found)}, and the total is {_exact(total_usd)}:"
            f" {_exact(total_usd - found)} is missing.",
            field="total_usd",
        )


def _exact(amount: Decimal) -> str:
    """Write an amount with all its decimals, so that no difference is hidden by rounding."""
    places = -int(amount.normalize().as_tuple().exponent)
    return format_usd(amount, places=max(2, places))


def _digest(start: date, end: date, total_usd: Decimal, lines: Sequence[Line]) -> str:
    told = [[line.description, line.model_name, str(line.quantity), f"{line.amount_usd:f}"] for line in lines]
    return hashlib.sha256(orjson.dumps([str(start), str(end), f"{total_usd:f}", told])).hexdigest()
