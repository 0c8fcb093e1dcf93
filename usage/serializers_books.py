"""How sources, providers' accounts, our keys there, their bills, and acts on the books look in the API."""

from rest_framework import serializers

from catalog.models import Provider
from core.reasons import MOST_CHARACTERS
from core.rest.fields import MONTH_PATTERN, Day, Moment, PublicId, Text, Usd, WholeNumber
from core.rest.serializers import In, NamedOut, Out, PageQuery
from usage.invoices import DESCRIPTION, MODEL
from usage.models import Finish, ImportCursor, ProviderAccount, SourceKind
from usage.selectors.sources import state_of
from usage.tokens import MAX_TOKENS

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


class QuarantineBookIn(In):
    """The call that a row should have told of, as far as the row does not tell it rightly, and how one knows.

    Tokens are inclusive totals.
    """

    external_id = Text(max_length=MAX_NAME, required=False, help_text="What the gateway calls it.")
    at = Moment(required=False, help_text="It decides prices, budgets and windows.")
    key = PublicId("key", required=False, help_text="Its project pays.")
    model = Text(max_length=MAX_NAME, required=False, help_text="The name of the model that served.")
    finish = serializers.ChoiceField(Finish.choices, required=False)
    input_tokens = WholeNumber(min_value=0, max_value=MAX_TOKENS, required=False)
    cached_tokens = WholeNumber(min_value=0, max_value=MAX_TOKENS, required=False)
    cache_write_tokens = WholeNumber(min_value=0, max_value=MAX_TOKENS, required=False)
    output_tokens = WholeNumber(min_value=0, max_value=MAX_TOKENS, required=False)
    reasoning_tokens = WholeNumber(min_value=0, max_value=MAX_TOKENS, required=False)
    reason = Text(max_length=MOST_CHARACTERS, help_text="How one knows: a log, a bill, a mail.")


class QuarantineDismissIn(In):
    """Why a row is not booked; kept with it."""

    reason = Text(max_length=MOST_CHARACTERS)


class DiscrepancyAssignIn(In):
    """Who looks after a difference: somebody of finance or an administrator; null is nobody."""

    owner = PublicId("usr", allow_null=True)


class DiscrepancyCloseIn(In):
    """Why; it stays with the difference, and in the ledger where an entry is made."""

    reason = Text(max_length=MOST_CHARACTERS)


class PeriodSoftCloseIn(In):
    """Which month is softly closed."""

    month = serializers.RegexField(MONTH_PATTERN, trim_whitespace=False, help_text="Such as 2026-11.")


class PeriodReopenIn(In):
    """Why a closed month is opened again; kept in the audit."""

    reason = Text(max_length=MOST_CHARACTERS)


class UpstreamKeyQuery(PageQuery):
    """Which keys to list."""

    account = PublicId("pac", required=False)


class InvoiceQuery(PageQuery):
    """Which bills to list."""

    account = PublicId("pac", required=False)
