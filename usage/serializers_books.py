"""How sources, providers' accounts, our keys there, and their bills look in the API."""

from rest_framework import serializers

from catalog.models import Provider
from core.rest.fields import Day, Moment, PublicId, Text, Usd
from core.rest.serializers import In, NamedOut, Out, PageQuery
from usage.invoices import DESCRIPTION, MODEL
from usage.models import ImportCursor, ProviderAccount, SourceKind
from usage.selectors.sources import state_of

MAX_NAME, MAX_HOLDER, MAX_AMOUNT, MAX_CURRENCY = 100, 40, 40, 8
MOST_LINES = 100  # what fits into a body; the page takes longer bills


class SourceOut(Out):
    """A gateway's journal or log, or a report of a provider's account, and how far it is read."""

    id = serializers.CharField(source="source")
    kind = serializers.ChoiceField(SourceKind.choices)
    state = serializers.SerializerMethodField()
    last_read_at = Moment(source="last_success_at", allow_null=True)
    figures_until = Moment(source="last_row_at", allow_null=True)
    rows_read = serializers.IntegerField()
    failures = serializers.IntegerField(help_text="In a row.")
    error = serializers.CharField(source="last_error")
    next_attempt_at = Moment(allow_null=True, help_text="Empty is with the next scan.")

    def get_state(self, cursor: ImportCursor) -> str:
        """How it stands: read, never, late, failing, no_credential or closed."""
        return state_of(cursor, self.context["accounts"]).value


class ProviderAccountOut(Out):
    """What a provider bills together. The admin key is referred to, never held."""

    id = serializers.CharField(source="public_id")
    provider = serializers.ChoiceField(Provider.choices)
    name = serializers.CharField(help_text="The organisation's id at the provider.")
    has_credential = serializers.SerializerMethodField()
    base_url = serializers.CharField(help_text="Empty is the provider's own address.")
    registered_keys = serializers.IntegerField(source="open_keys")
    created_at = Moment()
    closed_at = Moment(allow_null=True)

    def get_has_credential(self, account: ProviderAccount) -> bool:
        """Whether it is entered where the admin key is."""
        return bool(account.admin_credential)


class AccountNameOut(Out):
    """The account that something belongs to."""

    id = serializers.CharField(source="public_id")
    provider = serializers.CharField()
    name = serializers.CharField()


class UpstreamKeyOut(Out):
    """One of our keys at a provider, by the id that the provider's reports use."""

    id = serializers.CharField(source="public_id")
    account = AccountNameOut()
    external_id = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]  # a declared field, which the metaclass takes away
    held_by = serializers.CharField(help_text="The id of the gateway that holds it; empty: used elsewhere.")
    registered_at = Moment()
    registered_by = NamedOut(allow_null=True)
    retired_at = Moment(allow_null=True)


class UpstreamKeyCreateIn(In):
    """A key to register. Never send the key itself."""

    account = PublicId("pac")
    external_id = Text(max_length=MAX_NAME)
    label = Text(max_length=MAX_NAME)  # type: ignore[assignment]  # a declared field, which the metaclass takes away
    held_by = Text(max_length=MAX_HOLDER, required=False, default="")


class InvoiceLineOut(Out):
    """One line of a bill; credits are negative."""

    description = serializers.CharField()
    model = serializers.CharField(source="model_name")
    quantity = serializers.DecimalField(max_digits=28, decimal_places=6, allow_null=True)
    amount_usd = Usd()


class InvoiceOut(Out):
    """A provider's bill for the days from first_day to last_day, both included."""

    id = serializers.CharField(source="public_id")
    account = AccountNameOut()
    number = serializers.CharField()
    first_day = Day(source="period_start")
    last_day = Day()
    total_usd = Usd()
    lines = InvoiceLineOut(many=True)
    uploaded_at = Moment()
    uploaded_by = NamedOut(allow_null=True)
    superseded_at = Moment(allow_null=True, help_text="Set when the bill was uploaded again.")


class InvoiceLineIn(In):
    """One line of a bill."""

    description = Text(max_length=DESCRIPTION)
    model = Text(max_length=MODEL, required=False)
    quantity = Text(max_length=MAX_AMOUNT, required=False, help_text="A decimal number.")
    amount = Text(max_length=MAX_AMOUNT, help_text="US dollars, such as 12.50, or -12.50 for a credit.")


class InvoiceCreateIn(In):
    """A bill to keep. Its lines sum to its total."""

    account = PublicId("pac")
    number = Text(max_length=MAX_NAME)
    first_day = Day()
    last_day = Day(help_text="Included.")
    currency = Text(max_length=MAX_CURRENCY, required=False, default="USD", help_text="Only USD is kept.")
    total = Text(max_length=MAX_AMOUNT, help_text="US dollars, negative for a credit note.")
    lines = serializers.ListField(child=InvoiceLineIn(), max_length=MOST_LINES)


class UpstreamKeyQuery(PageQuery):
    """Which keys to list."""

    account = PublicId("pac", required=False)


class InvoiceQuery(PageQuery):
    """Which bills to list."""

    account = PublicId("pac", required=False)
