"""How sign-in behaves: accounts are made by an administrator or the identity provider; secrets are sealed."""

from typing import Any, cast

from allauth.account.adapter import DefaultAccountAdapter
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from django.http import HttpRequest

from core.clients import client_address
from teams import services
from teams.models import User
from teams.sealing import seal, unseal
from teams.sign_in import FACTORS, confirmed_lately, needs_second_factor

NOWHERE = "0.0.0.0"  # noqa: S104  an address that is nobody's, where a Unix socket names no peer
METHODS = {
    "reauthenticate": "Use your password",
    "mfa_reauthenticate": "Use a code",
    "mfa_reauthenticate:webauthn": "Use a passkey",
}


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth ships no types
    """allauth with public sign-up closed."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Nobody may open an account by himself."""
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        """Return the address that limits are counted by, and that a session is shown with."""
        return client_address(request) or NOWHERE

    def is_reauthentication_required(self, *, app: str, **kwargs: Any) -> bool:
        """Ask again before a factor changes, unless the person has just signed in."""
        return not confirmed_lately(self.request)

    def get_reauthentication_methods(self, user: Any) -> list[dict[str, str]]:
        """Return the ways to confirm who one is, in our words."""
        methods = super().get_reauthentication_methods(user)
        return [{**method, "description": METHODS[method["id"]]} for method in methods]

    def send_notification_mail(self, template_prefix: str, user: Any, *args: Any, **kwargs: Any) -> None:
        """Record that a password or a factor came or went, and tell the person: it may not have been he."""
        services.record_sign_in_change(user=user, change=template_prefix.rpartition("/")[2])


class SecondFactorAdapter(DefaultMFAAdapter):  # type: ignore[misc]  # allauth ships no types
    """allauth's second factors: sealed at rest, and never taken from somebody who needs one."""

    error_messages = {
        **DefaultMFAAdapter.error_messages,
        "cannot_delete_authenticator": "Your role needs a second factor. Add another one first.",
        "incorrect_code": "This code is not right, or it was used already. Wait for the next one.",
    }

    def encrypt(self, text: str) -> str:
        """Seal what is stored."""
        return seal(text)

    def decrypt(self, encrypted_text: str) -> str:
        """Open what was stored."""
        return unseal(encrypted_text)

    def can_delete_authenticator(self, authenticator: Authenticator) -> bool:
        """Whether the person has another factor, or needs none."""
        user = cast("User", authenticator.user)
        others = Authenticator.objects.filter(user=user, type__in=FACTORS).exclude(pk=authenticator.pk)
        return bool(others.exists()) or not needs_second_factor(user)

    def generate_authenticator_name(self, user: Any, type: Any) -> str:  # noqa: A002  its name there
        """Suggest a name for a new passkey."""
        count = Authenticator.objects.filter(user=user, type=type).count()
        return f"Passkey {count + 1}"

    def get_public_key_credential_rp_entity(self) -> dict[str, str]:
        """Return how a passkey names this portal."""
        return {**super().get_public_key_credential_rp_entity(), "name": "Purser"}
