"""Reads providers' accounts, our keys there, and their bills: for those who answer for the books."""

from typing import Any

from django.db.models import CharField, Count, Exists, F, Func, OuterRef, Q, QuerySet, Value

from core.errors import NotFoundError
from core.sorting import Order, SqlColumn
from teams.models import User
from usage.models import ImportCursor, Invoice, InvoiceLine, ProviderAccount, UpstreamCredential
from usage.selectors.runs import require_books
from usage.selectors.sources import SEPARATOR

OPEN_KEYS = Q(credentials__retired_at__isnull=True, credentials__isnull=False)
LISTED = 200

# What addresses call the columns of bills, and how equal ones stand.
BILLS_BY: dict[str, SqlColumn] = {
    "number": "number",
    "account": "account__name",
    "period": "period_start",
    "total": "total_usd",
    "uploaded": "uploaded_at",
}
BILLS_TIES = ("-period_start", "number", "-pk")


def accounts_for(user: User) -> QuerySet[ProviderAccount]:
    """Return every account with `open_keys`. Raises RoleNeededError for who does not see everything."""
    require_books(user)
    return ProviderAccount.objects.annotate(open_keys=Count("credentials", filter=OPEN_KEYS))


def keys_for(user: User) -> QuerySet[UpstreamCredential]:
    """Return every registered key with its account. Raises RoleNeededError as `accounts_for` does."""
    require_books(user)
    return UpstreamCredential.objects.select_related("account", "registered_by")


def invoices_for(user: User) -> QuerySet[Invoice]:
    """Return every bill with its account, superseded ones too. Raises RoleNeededError as above."""
    require_books(user)
    return Invoice.objects.select_related("account", "uploaded_by")


def cursors_for(user: User) -> QuerySet[ImportCursor]:
    """Return how far each source has been read. Raises RoleNeededError as above."""
    require_books(user)
    return ImportCursor.objects.all()


def find_account(public_id: str) -> Any:
    """Return an account with `open_keys`. Raises NotFoundError."""
    found = ProviderAccount.objects.annotate(open_keys=Count("credentials", filter=OPEN_KEYS))
    account = found.filter(public_id=public_id).first()
    if account is None:
        raise NotFoundError("There is no such account.")
    return account


def open_accounts() -> QuerySet[ProviderAccount]:
    """Return the accounts that are not closed."""
    return ProviderAccount.objects.filter(closed_at=None)


def all_accounts() -> list[ProviderAccount]:
    """Return every account, closed ones too. One query."""
    return list(ProviderAccount.objects.all())


def open_cursors() -> QuerySet[ImportCursor, Any]:
    """Return the cursors that are not closed, with `lacks_credential` where an account has none."""
    account = Func(F("source"), Value(SEPARATOR), Value(1), function="split_part", output_field=CharField())
    theirs = ProviderAccount.objects.filter(public_id=OuterRef("account"))
    found = ImportCursor.objects.filter(closed_at=None).annotate(
        account=account, lacks_credential=Exists(theirs.filter(admin_credential=""))
    )
    return found.order_by("source")


def all_cursors() -> list[ImportCursor]:
    """Return how far each source has been read, by its name. One query."""
    return list(ImportCursor.objects.order_by("source"))


def listed_accounts() -> list[Any]:
    """Return the accounts with `open_keys`, the open ones first. One query."""
    rows = ProviderAccount.objects.annotate(open_keys=Count("credentials", filter=OPEN_KEYS))
    return list(rows.order_by(F("closed_at").asc(nulls_first=True), "provider", "name")[:LISTED])


def account_choices() -> dict[str, ProviderAccount]:
    """Return every account by its public id, for a choice. One query."""
    return {account.public_id: account for account in ProviderAccount.objects.all()}


def keys_of(account: ProviderAccount) -> list[UpstreamCredential]:
    """Return the keys of an account, the retired ones last. One query."""
    rows = account.credentials.select_related("registered_by")
    return list(rows.order_by(F("retired_at").asc(nulls_first=True), "label", "pk")[:LISTED])


def find_key(account_id: str, public_id: str) -> UpstreamCredential:
    """Return a key of an account. Raises NotFoundError."""
    key = UpstreamCredential.objects.filter(public_id=public_id, account__public_id=account_id).first()
    if key is None:
        raise NotFoundError("There is no such key.")
    return key


def invoice_page(start: int, number: int, order: Order) -> list[Invoice]:
    """Return so many bills from a place on, in an order, equal ones by the latest period. One query."""
    rows = Invoice.objects.select_related("account", "uploaded_by")
    return list(rows.order_by(*order.sql(BILLS_BY, *BILLS_TIES))[start : start + number])


def find_invoice(public_id: str) -> Invoice:
    """Return a bill with its account. Raises NotFoundError."""
    found = Invoice.objects.select_related("account", "uploaded_by").filter(public_id=public_id).first()
    if found is None:
        raise NotFoundError("There is no such bill.")
    return found


def lines_of(invoice: Invoice) -> list[InvoiceLine]:
    """Return the lines of a bill in the order of its document. One query."""
    return list(invoice.lines.order_by("pk"))


def versions_of(invoice: Invoice) -> list[Invoice]:
    """Return the other versions of a bill, the newest first. One query."""
    same = Invoice.objects.filter(account=invoice.account_id, number=invoice.number)
    return list(same.exclude(pk=invoice.pk).order_by("-pk"))
