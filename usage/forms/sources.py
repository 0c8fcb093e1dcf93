"""What people enter about providers' accounts, our keys there, and their bills."""

from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import UploadedFile

from catalog.models import Provider
from core.forms import AMOUNT_ATTRIBUTES, ReasonField
from core.reasons import MOST_CHARACTERS
from core.uploads import MAX_FILE_BYTES
from usage.invoices import InvoiceDocumentError, Line, read_amount, read_document
from usage.services.registry import MAX_NAME, MAX_REFERENCE

PLAIN = {"autocomplete": "off", "spellcheck": "false"}
REFERENCE_HELP = (
    "env: and a variable, or file: and a path, such as env:PURSER_ADMIN_KEY_OPENAI. The key itself is never"
    " entered here."
)


class CredentialForm(forms.Form):
    """Where the admin key of an account is."""

    admin_credential = forms.CharField(
        label="Where its admin key is",
        max_length=MAX_REFERENCE,
        required=False,
        help_text=REFERENCE_HELP,
        widget=forms.TextInput(attrs=PLAIN),
    )


class AccountForm(CredentialForm):
    """A new account."""

    field_order = ("provider", "name", "admin_credential", "base_url")
    provider = forms.ChoiceField(label="Provider", choices=Provider.choices)
    name = forms.CharField(
        label="Organisation's id at the provider",
        max_length=MAX_NAME,
        widget=forms.TextInput(attrs=PLAIN),
        error_messages={"required": "Enter the id that the provider calls the organisation by"},
    )
    base_url = forms.URLField(
        label="Address of its API",
        max_length=200,
        required=False,
        assume_scheme="https",
        help_text="Leave it empty for the provider's own.",
    )


class KeyForm(forms.Form):
    """A key of ours at a provider. `gateways` are names by public id."""

    external_id = forms.CharField(
        label="The key's id at the provider",
        max_length=MAX_NAME,
        error_messages={"required": "Enter the id of the key at the provider"},
        help_text="As its usage report names it, such as key_abc or apikey_01abc. Never the key itself.",
        widget=forms.TextInput(attrs=PLAIN),
    )
    label = forms.CharField(
        label="What you call it",
        max_length=MAX_NAME,
        error_messages={"required": "Enter what you call the key"},
    )
    held_by = forms.ChoiceField(
        label="Gateway that holds it",
        required=False,
        help_text="Leave it empty for a key that is used elsewhere on purpose.",
    )

    def __init__(self, *args: Any, gateways: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["held_by"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [
            ("", "None: it is used elsewhere"),
            *sorted(gateways.items(), key=lambda one: one[1]),
        ]


class WhyForm(forms.Form):
    """Why something ends."""

    reason = ReasonField(label="Reason", max_length=MOST_CHARACTERS)


class InvoiceForm(forms.Form):
    """A provider's bill: what stands on top of it, and a document with its lines."""

    account = forms.ChoiceField(label="Account")
    number = forms.CharField(
        label="Number of the bill",
        max_length=100,
        widget=forms.TextInput(attrs=PLAIN),
        error_messages={"required": "Enter the number of the bill"},
    )
    first_day = forms.DateField(
        label="First day",
        widget=forms.DateInput(attrs={"type": "date"}),
        error_messages={"required": "Enter the first day of the bill"},
    )
    last_day = forms.DateField(
        label="Last day",
        help_text="Included.",
        widget=forms.DateInput(attrs={"type": "date"}),
        error_messages={"required": "Enter the last day of the bill"},
    )
    currency = forms.CharField(
        label="Currency",
        max_length=8,
        initial="USD",
        error_messages={"required": "Enter the currency, such as USD"},
        widget=forms.TextInput(attrs={"class": "short", **PLAIN}),
    )
    total = forms.CharField(
        label="Total",
        max_length=40,
        error_messages={"required": "Enter the total of the bill"},
        help_text="As the bill says, all its decimals. The lines must sum to it.",
        widget=forms.TextInput(attrs=AMOUNT_ATTRIBUTES),
    )
    document = forms.FileField(
        label="Lines",
        error_messages={"required": "Choose the file with the lines of the bill"},
        help_text="CSV with the columns description, model, quantity and amount, or JSON with the same names;"
        " 1 MiB at most. After an error it has to be chosen again.",
    )

    def __init__(self, *args: Any, accounts: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["account"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = list(accounts.items())

    def clean_total(self) -> Decimal:
        """Return the amount, negative for a credit note."""
        try:
            return read_amount(self.cleaned_data["total"])
        except ValueError as error:
            raise ValidationError(str(error)) from error

    def clean_document(self) -> tuple[Line, ...]:
        """Return the lines; an error names each line at fault."""
        file: UploadedFile[bytes] = self.cleaned_data["document"]
        if (file.size or 0) > MAX_FILE_BYTES:
            raise ValidationError("The file is larger than 1 MiB. Sum up its lines, or split the bill.")
        try:
            return read_document(file.read())
        except InvoiceDocumentError as error:
            raise ValidationError(list(error.problems)) from error

    def period(self) -> tuple[date, date]:
        """Return the first day and the one after the last."""
        return self.cleaned_data["first_day"], self.cleaned_data["last_day"] + timedelta(days=1)
