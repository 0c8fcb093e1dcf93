"""Forms of people and of their sign-ins."""

from collections.abc import Iterable
from typing import Any

from allauth.account.forms import (
    ChangePasswordForm,
    LoginForm,
    ReauthenticateForm,
    ResetPasswordForm,
    ResetPasswordKeyForm,
)
from allauth.mfa.webauthn.forms import AddWebAuthnForm
from django import forms

from core.forms import ReasonField
from teams.models import Department, Role, Team
from teams.services.people import MAX_NAME_CHARACTERS


class PlainForm(forms.Form):
    """A form of allauth as ours look: no label is said twice, and links stand where we put them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.widget.attrs.pop("placeholder", None)
            if "</a>" in str(field.help_text):
                field.help_text = ""
            label = str(field.label).lower().replace("email", "e-mail")
            field.label = label.capitalize()
            field.error_messages["required"] = f"Enter your {label}"


class SignInForm(PlainForm, LoginForm):  # type: ignore[misc]  # allauth ships no types
    """E-mail and password; the page says what to do without the password."""


class NewPasswordForm(PlainForm, ChangePasswordForm):  # type: ignore[misc]
    """Another password, and the present one."""


class LinkForm(PlainForm, ResetPasswordForm):  # type: ignore[misc]
    """Where the link for a new password goes."""


class FromLinkForm(PlainForm, ResetPasswordKeyForm):  # type: ignore[misc]
    """The password after a link."""


class AgainForm(PlainForm, ReauthenticateForm):  # type: ignore[misc]
    """The password, to confirm who one is."""


class AddPasskeyForm(AddWebAuthnForm):  # type: ignore[misc]  # allauth ships no types
    """A new passkey; it signs in alone unless the person says otherwise."""

    passwordless = forms.BooleanField(
        label="Sign in with it alone",
        required=False,
        initial=True,
        help_text="No password then. The device asks for a fingerprint, a face or a PIN.",
    )


class PersonForm(forms.Form):
    """Somebody new."""

    name = forms.CharField(
        label="Name",
        max_length=MAX_NAME_CHARACTERS,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        error_messages={"required": "Enter a name"},
    )
    email = forms.CharField(
        label="Work e-mail",
        help_text="It is for signing in; the password is set by “Forgot your password?”.",
        max_length=254,
        widget=forms.EmailInput(attrs={"autocomplete": "off"}),
        error_messages={"required": "Enter a work e-mail"},
    )


class RenameForm(forms.Form):
    """Another name, and why."""

    name = forms.CharField(
        label="Name",
        max_length=MAX_NAME_CHARACTERS,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        error_messages={"required": "Enter a name"},
    )
    reason = ReasonField(label="Why", help_text="Kept in the audit.", missing="Enter why the name changes")


class RoleForm(forms.Form):
    """A role, where it is held, and until when."""

    role = forms.ChoiceField(
        label="Role",
        choices=Role.choices,
        error_messages={"required": "Choose a role", "invalid_choice": "Choose a role"},
    )
    team = forms.ChoiceField(label="Team", required=False, help_text="For a team lead.")
    department = forms.ChoiceField(label="Department", required=False, help_text="For a director.")
    valid_until = forms.DateField(
        label="Last day",
        required=False,
        help_text="Empty: until it is ended.",
        input_formats=["%Y-%m-%d"],
        widget=forms.DateInput(format="%Y-%m-%d", attrs={"type": "date", "class": "short"}),
        error_messages={"invalid": "Enter a day such as 2026-12-31"},
    )

    def __init__(
        self, *args: Any, teams: Iterable[Team], departments: Iterable[Department], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        nothing = [("", "None")]
        fields: dict[str, Any] = self.fields
        fields["team"].choices = nothing + [(team.public_id, team.name) for team in teams]
        fields["department"].choices = nothing + [(one.public_id, one.name) for one in departments]


class WhyForm(forms.Form):
    """Why something is ended or done to a person."""

    reason = ReasonField(label="Why?", help_text="Kept in the audit.", missing="Enter why")
