"""Checks for a deployment: `manage.py check --deploy` says what an operator should change."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004  Django's name for it
from django.db import DatabaseError, connection

from gateway.hot.holds import unknown_holds
from portal.roles import rights_of_role

HINT = "Serve as a role that owns nothing: docs/operations.md, Two database roles."


@register(Tags.security, deploy=True)
def serving_role_cannot_rewrite_history(**_options: Any) -> list[CheckMessage]:
    """Warn when the portal's own connection could change or delete what was recorded, or lacks a right."""
    try:
        found = rights_of_role(connection)
    except DatabaseError as error:
        return [Warning(f"The database could not be asked about its roles: {error}", id="purser.W004")]
    if found.owns:
        return [
            Warning(
                f"The role {found.role} serves and owns the tables ({len(found.owns)} of them), so it could"
                " switch off the guards of ledger, decisions and audit.",
                hint=HINT,
                id="purser.W001",
            )
        ]
    warnings: list[CheckMessage] = []
    if found.too_much:
        text = f"The role {found.role} may rewrite records: {', '.join(found.too_much)}."
        warnings.append(Warning(text, hint="Run `manage.py database_roles --apply`.", id="purser.W002"))
    if found.too_little:
        text = f"The role {found.role} lacks rights: {', '.join(found.too_little)}."
        warnings.append(Warning(text, hint="Run `manage.py database_roles --apply`.", id="purser.W003"))
    return warnings


@register("gateway")
def holds_are_for_what_there_is(**_options: Any) -> list[CheckMessage]:
    """Refuse times of holds for what nobody calls, and such as end before they begin."""
    found: list[CheckMessage] = []
    if unknown := unknown_holds():
        text = f"HOLD_SECONDS_FOR names what is neither a route nor a context: {', '.join(unknown)}."
        hint = "Routes are written as they are called, such as /v1/audio/speech; a context is `batch`."
        found.append(Error(text, hint=hint, id="purser.E007"))
    if min((settings.HOLD_SECONDS, *settings.HOLD_SECONDS_FOR.values())) < 1:
        text = "HOLD_SECONDS and HOLD_SECONDS_FOR must be one second or more: a call takes some time."
        found.append(Error(text, id="purser.E008"))
    return found


@register("sign_in", deploy=True)
def sign_in_is_fit_for_production(**_options: Any) -> list[CheckMessage]:
    """Refuse settings with which somebody else could sign in as a person here."""
    return [*_second_factor(), *_hosts(), *_cookies(), *_proxies(), *_limits(), *_provider()]


def _second_factor() -> Iterator[CheckMessage]:
    if not settings.MFA_REQUIRED:
        yield Error(
            "MFA_REQUIRED is off: leads, finance and administrators sign in with a password alone.",
            hint="Remove MFA_REQUIRED from the environment.",
            id="purser.E001",
        )


def _hosts() -> Iterator[CheckMessage]:
    if "*" in settings.ALLOWED_HOSTS or not settings.ALLOWED_HOSTS:
        yield Error(
            "ALLOWED_HOSTS lets requests name any host, so links in mails could lead elsewhere.",
            hint="Name the hosts that people use, such as purser.example.com.",
            id="purser.E002",
        )


def _cookies() -> Iterator[CheckMessage]:
    flags = {
        "SESSION_COOKIE_SECURE": settings.SESSION_COOKIE_SECURE,
        "CSRF_COOKIE_SECURE": settings.CSRF_COOKIE_SECURE,
        "SESSION_COOKIE_HTTPONLY": settings.SESSION_COOKIE_HTTPONLY,
        "SESSION_COOKIE_SAMESITE": settings.SESSION_COOKIE_SAMESITE in {"Lax", "Strict"},
    }
    wrong = [name for name, right in flags.items() if not right]
    if wrong:
        yield Error(
            f"Cookies of sessions can be read or sent where they should not: {', '.join(wrong)}.",
            hint="Set BASE_URL to the https:// address; the cookies follow it.",
            id="purser.E003",
        )


def _proxies() -> Iterator[CheckMessage]:
    behind_proxy = settings.SECURE_PROXY_SSL_HEADER is not None
    if settings.TRUSTED_PROXY_COUNT < 0 or behind_proxy != (settings.TRUSTED_PROXY_COUNT > 0):
        yield Error(
            "TRUST_FORWARDED_PROTO and TRUSTED_PROXY_COUNT disagree about whether a proxy stands before the"
            " portal: attempts to sign in would be counted by a wrong address, and the audit would name it.",
            hint="Behind a proxy that ends TLS set both; without one, neither.",
            id="purser.E004",
        )


def _limits() -> Iterator[CheckMessage]:
    limits = settings.ACCOUNT_RATE_LIMITS or {}
    missing = [name for name in ("login", "login_failed", "reauthenticate") if not limits.get(name)]
    if missing:
        yield Error(
            f"Passwords can be guessed without limit: ACCOUNT_RATE_LIMITS lacks {', '.join(missing)}.",
            id="purser.E005",
        )


def _provider() -> Iterator[CheckMessage]:
    if not settings.OIDC_ISSUER:
        return
    if urlsplit(settings.OIDC_ISSUER).scheme != "https" or not settings.OIDC_CLIENT_SECRET:
        yield Error(
            "The identity provider is asked without TLS or without a client secret.",
            hint="Give OIDC_ISSUER an https:// address, and set OIDC_CLIENT_SECRET.",
            id="purser.E006",
        )
