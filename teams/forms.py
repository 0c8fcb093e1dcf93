"""Forms of people and of their sign-ins."""

from allauth.mfa.webauthn.forms import AddWebAuthnForm
from django import forms


class AddPasskeyForm(AddWebAuthnForm):  # type: ignore[misc]  # allauth ships no types
    """A new passkey; it signs in alone unless the person says otherwise."""

    passwordless = forms.BooleanField(
        label="Sign in with it alone",
        required=False,
        initial=True,
        help_text="No password then. The device asks for a fingerprint, a face or a PIN.",
    )
