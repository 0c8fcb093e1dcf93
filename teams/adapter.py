"""How sign-in behaves: accounts are made by an administrator or the identity provider; secrets are sealed."""

from collections.abc import Mapping
from typing import Any, cast

import structlog
from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.internal.emailkit import valid_email_or_none
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter, _build_apps_from_settings
from allauth.socialaccount.models import SocialAccount, SocialLogin
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from core.clients import client_address
from teams import services
from teams.models import RoleSource, User
from teams.sealing import seal, unseal
from teams.sign_in import (
    FACTORS,
    confirmed_lately,
    needs_second_factor,
    note_new_factor,
    note_provider_sign_in,
)

log = structlog.get_logger(__name__)

NOWHERE = "0.0.0.0"  # noqa: S104  an address that is nobody's, where a Unix socket names no peer
METHODS = {
    "reauthenticate": "Use your password",
    "mfa_reauthenticate": "Use a code",
    "mfa_reauthenticate:webauthn": "Use a passkey",
}


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth ships no types
    """allauth with public sign-up closed."""

    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "too_many_login_attempts": "Too many failed sign-ins. Try again later.",
        "email_password_mismatch": "This e-mail and password do not belong together.",
    }

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
        """Return the ways to confirm who one is, in our words; the identity provider asks its own people."""
        methods = super().get_reauthentication_methods(user)
        ways = [{**method, "description": METHODS[method["id"]]} for method in methods]
        if settings.OIDC_ISSUER and SocialAccount.objects.filter(user=user).exists():
            told = f"Sign in again with {settings.OIDC_NAME}"
            ways.append({"id": "provider", "description": told, "url": reverse("confirm_at_provider")})
        return ways

    def pre_login(self, request: HttpRequest, user: Any, **kwargs: Any) -> HttpResponse | None:
        """Let roles follow the groups that the identity provider names, before anything is shown."""
        sign_in = (kwargs.get("signal_kwargs") or {}).get("sociallogin")
        if sign_in is not None:
            token = sign_in.account.extra_data.get("id_token") or {}
            note_provider_sign_in(request, token.get("auth_time"))
        if sign_in is not None and user.is_active:
            groups = groups_of(sign_in.account.extra_data)
            if groups is not None:
                services.follow_groups(user=user, source=RoleSource.SIGN_IN, groups=groups)
        answer: HttpResponse | None = super().pre_login(request, user, **kwargs)
        return answer

    def send_notification_mail(self, template_prefix: str, user: Any, *args: Any, **kwargs: Any) -> None:
        """Record that a password or a factor came or went, and tell the person: it may not have been he."""
        has_another = services.record_sign_in_change(
            user=user,
            change=template_prefix.rpartition("/")[2],
            session_key=self.request.session.session_key or "",
        )
        if has_another:
            note_new_factor(self.request, user)


class IdentityProviderAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]  # allauth ships no types
    """allauth's sign-in at the identity provider: one provider, which may bring people in."""

    def list_apps(self, request: HttpRequest, provider: Any = None, client_id: Any = None) -> list[Any]:
        """Return the provider of the settings; the database names none."""
        apps = _build_apps_from_settings(provider=provider, client_id=client_id)
        return [app for named in apps.values() for app in named]

    def is_open_for_signup(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        """Let in whom the provider names, unless his address is somebody's here and not verified there."""
        address = sociallogin.user.email.strip().lower()
        return bool(
            settings.OIDC_CREATES_PEOPLE and address and not User.objects.filter(email=address).exists()
        )

    def populate_user(self, request: HttpRequest, sociallogin: SocialLogin, data: dict[str, Any]) -> User:
        """Take name and address as the provider tells them."""
        person = cast("User", sociallogin.user)
        person.email = (valid_email_or_none(data.get("email")) or "").lower()
        names = " ".join(filter(None, (data.get("first_name"), data.get("last_name"))))
        person.name = data.get("name") or names or person.email.partition("@")[0]
        return person

    def save_user(self, request: HttpRequest, sociallogin: SocialLogin, form: Any = None) -> User:
        """Make the account of somebody who is new."""
        new = cast("User", sociallogin.user)
        with transaction.atomic():
            sociallogin.user = services.create_person(actor=None, email=new.email, name=new.name)
            sociallogin.save(request, connect=True)
        return cast("User", sociallogin.user)


def groups_of(claims: Mapping[str, Any]) -> list[str] | None:
    """Return the groups that an identity provider names, none where it names none.

    None when there are more than it puts into a token: it then says where to ask instead, and roles stay.
    """
    documents = [claims.get("id_token") or {}, claims.get("userinfo") or {}]
    name = settings.OIDC_GROUPS_CLAIM
    for document in documents:
        told = document.get(name)
        if told is not None:
            return [told] if isinstance(told, str) else [str(group) for group in told]
    if any(name in (document.get("_claim_names") or {}) for document in documents):
        log.warning("sign_in.too_many_groups", claim=name)
        return None
    return []


class SecondFactorAdapter(DefaultMFAAdapter):  # type: ignore[misc]  # allauth ships no types
    """allauth's second factors: sealed at rest, and never taken from somebody who needs one."""

    error_messages = {
        **DefaultMFAAdapter.error_messages,
        "cannot_delete_authenticator": "Whoever decides needs a second factor. Add another one first.",
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
        return bool(others.exists()) or not self.needs_second_factor(user)

    def needs_second_factor(self, user: User) -> bool:
        """Whether the person has to have one."""
        return needs_second_factor(user)

    def generate_authenticator_name(self, user: Any, type: Any) -> str:  # noqa: A002  its name there
        """Suggest a name for a new passkey."""
        count = Authenticator.objects.filter(user=user, type=type).count()
        return f"Passkey {count + 1}"

    def get_public_key_credential_rp_entity(self) -> dict[str, str]:
        """Return how a passkey names this portal."""
        return {**super().get_public_key_credential_rp_entity(), "name": "Purser"}
