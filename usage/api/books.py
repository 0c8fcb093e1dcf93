"""What others say of our usage, in the API: sources, providers' accounts, our keys there, and their bills."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from core.errors import InvalidInputError
from core.rest.fields import id_pattern
from core.rest.schema import operation
from core.rest.views import NounViewSet, referred
from usage import services
from usage.invoices import InvoiceDocumentError, Line, read_amount, read_lines
from usage.models import ImportCursor, Invoice, ProviderAccount, UpstreamCredential
from usage.selectors.accounts import accounts_for, all_accounts, cursors_for, invoices_for, keys_for
from usage.selectors.sources import accounts_by_id
from usage.serializers_books import (
    InvoiceCreateIn,
    InvoiceOut,
    InvoiceQuery,
    ProviderAccountOut,
    SourceOut,
    UpstreamKeyCreateIn,
    UpstreamKeyOut,
    UpstreamKeyQuery,
)


class SourceViewSet(NounViewSet):
    """Who tells what was used, and how far that is read; for finance, auditors and administrators."""

    noun = "source"
    out = SourceOut
    reads_refuse = (403,)
    lookup_value_regex = r"[0-9A-Za-z_:-]{1,40}"

    def get_queryset(self) -> QuerySet[ImportCursor]:
        """Return all cursors, to those who may see them."""
        return cursors_for(self.actor)

    def about(self, rows: Sequence[Any]) -> dict[str, Any]:
        """Return the accounts of providers, which say whether there is a credential."""
        return {"accounts": accounts_by_id(all_accounts())}

    def by_id(self, rows: QuerySet[Any], public_id: str) -> QuerySet[Any]:
        """Narrow cursors down to one source."""
        return rows.filter(source=public_id)


class ProviderAccountViewSet(NounViewSet):
    """Accounts at providers; for finance, auditors and administrators."""

    noun = "account"
    out = ProviderAccountOut
    reads_refuse = (403,)
    lookup_value_regex = id_pattern("pac")

    def get_queryset(self) -> QuerySet[ProviderAccount]:
        """Return all accounts, to those who may see them."""
        return accounts_for(self.actor)


class UpstreamKeyViewSet(NounViewSet):
    """Our keys at providers; usage on any other is a bypass. For finance, auditors and administrators."""

    noun = "key"
    out = UpstreamKeyOut
    list_query = UpstreamKeyQuery
    reads_refuse = (403,)
    lookup_value_regex = id_pattern("upc")

    def get_queryset(self) -> QuerySet[UpstreamCredential]:
        """Return all keys, to those who may see them."""
        return keys_for(self.actor)

    def chosen(self, rows: QuerySet[UpstreamCredential]) -> QuerySet[UpstreamCredential]:
        """Narrow the list down to an account."""
        return self.narrowed(rows, account="account__public_id")

    @operation(takes=UpstreamKeyCreateIn, gives=UpstreamKeyOut, status=201, refuses=(403, 409, 422))
    def create(self, request: Request) -> Response:
        """Register a key by its id at the provider. Only administrators may."""
        wanted = self.body(UpstreamKeyCreateIn)
        account = referred(
            accounts_for(self.actor), field="account", noun="account", public_id=wanted.pop("account")
        )
        return self.created(services.register_key(actor=self.actor, account=account, **wanted))


class InvoiceViewSet(NounViewSet):
    """Bills of providers, every version; for finance, auditors and administrators."""

    noun = "invoice"
    out = InvoiceOut
    list_query = InvoiceQuery
    reads_refuse = (403,)
    lookup_value_regex = id_pattern("inv")

    def get_queryset(self) -> QuerySet[Invoice]:
        """Return all bills with their lines, to those who may see them."""
        return invoices_for(self.actor).prefetch_related("lines")

    def chosen(self, rows: QuerySet[Invoice]) -> QuerySet[Invoice]:
        """Narrow the list down to an account."""
        return self.narrowed(rows, account="account__public_id")

    @operation(takes=InvoiceCreateIn, gives=InvoiceOut, status=201, refuses=(403, 409, 422))
    def create(self, request: Request) -> Response:
        """Keep a bill; one with the number of a bill that is there supersedes it."""
        wanted = self.body(InvoiceCreateIn)
        account = referred(
            accounts_for(self.actor), field="account", noun="account", public_id=wanted["account"]
        )
        return self.created(
            services.upload_invoice(
                actor=self.actor,
                account=account,
                number=wanted["number"],
                period_start=wanted["first_day"],
                period_end=day_after(wanted["last_day"]),
                currency=wanted["currency"],
                total_usd=amount_of(wanted["total"]),
                lines=lines_of(wanted["lines"]),
            )
        )


def lines_of(rows: Sequence[Mapping[str, Any]]) -> tuple[Line, ...]:
    """Return the lines of a bill. Raises InvalidInputError that names each line at fault."""
    try:
        return read_lines(rows)
    except InvoiceDocumentError as error:
        raise InvalidInputError(str(error), field="lines") from error


def amount_of(text: str) -> Decimal:
    """Return an amount that may be negative. Raises InvalidInputError."""
    try:
        return read_amount(text)
    except ValueError as error:
        raise InvalidInputError(str(error), field="total") from error


def day_after(day: date) -> date:
    """Return the day after, with which a period ends. Raises InvalidInputError for the last one there is."""
    if day == date.max:
        raise InvalidInputError("Choose an earlier day.", field="last_day")
    return day + timedelta(days=1)
