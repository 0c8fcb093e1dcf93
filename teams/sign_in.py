"""Who sits at the browser: how lately he has shown it, and whether with a second factor."""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from allauth.account.authentication import AUTHENTICATION_METHODS_SESSION_KEY, get_authentication_records
from allauth.account.internal.flows.login import record_authentication
from allauth.mfa import app_settings
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.http import HttpRequest

from core import clock
from teams.models import RoleAssignment, User

CONFIRMED_FOR = timedelta(minutes=5)
ASKED_AT = "provider_asked_at"  # in the session
# Recovery codes help out when one of these is lost; they are none themselves.
FACTORS = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)


def confirmed_lately(request: HttpRequest) -> bool:
    """Whether the person signed in, or confirmed that it is he, within the last five minutes."""
    since = (clock.now() - CONFIRMED_FOR).timestamp()
    return any(_shown_at(record, request) > since for record in _records(request))


def note_provider_sign_in(request: HttpRequest, auth_time: object) -> None:
    """Keep when the identity provider itself asked the person who he is, as its token says (`auth_time`)."""
    request.session[ASKED_AT] = auth_time if isinstance(auth_time, int) else None


def stamp_sign_in(request: HttpRequest, **_: Any) -> None:
    """Keep by everybody's clock when the person has just shown who he is; allauth took this machine's."""
    *before, last = request.session[AUTHENTICATION_METHODS_SESSION_KEY]
    last = {**last, "at": clock.now().timestamp()}
    request.session[AUTHENTICATION_METHODS_SESSION_KEY] = [*before, last]


def counters_now() -> Iterator[int]:
    """Give the counters whose codes an authenticator app may show now, by everybody's clock (RFC 6238)."""
    counter = int(clock.now().timestamp()) // app_settings.TOTP_PERIOD
    yield from range(counter - app_settings.TOTP_TOLERANCE, counter + app_settings.TOTP_TOLERANCE + 1)


def _shown_at(record: Mapping[str, Any], request: HttpRequest) -> float:
    """Return when the person showed who he is, in seconds of the epoch.

    A provider that knows the browser lets it in without asking, so its own time counts, not ours. One that
    does not say when it asked shows nothing, unless OIDC_SAYS_WHEN is false.
    """
    at = float(record["at"])
    if record["method"] != "socialaccount" or not settings.OIDC_SAYS_WHEN:
        return at
    return min(at, float(request.session.get(ASKED_AT) or 0))


def needs_second_factor(user: User) -> bool:
    """Whether the person holds a role, lead and above, so that he has to have a second factor. One query."""
    if not settings.MFA_REQUIRED:
        return False
    return RoleAssignment.objects.live().filter(user=user).exists()


def lacks_second_factor(request: HttpRequest, user: User, *, needs: Callable[[User], bool]) -> bool:
    """Whether the person has to show a second factor before anything else, or set up one where he has none;
    `needs` says who has to.

    One that is added ends the sign-ins without it (services.factors); what it did not know of, such as one
    that was under way, ends here.
    """
    if not settings.MFA_REQUIRED or any(map(_shows_second_factor, _records(request))):
        return False
    return needs(user)


def note_new_factor(request: HttpRequest, user: User) -> None:
    """Keep that the person has just shown the second factor that he set up in this sign-in."""
    record_authentication(request, user, method="mfa")


def shows_second_factor(request: HttpRequest, user: User) -> bool:
    """Whether the person signed in with a second factor, or has one without which he cannot sign in again."""
    return any(map(_shows_second_factor, _records(request))) or has_factor(user)


def has_factor(user: User) -> bool:
    """Whether a second factor of the person is kept here. One query."""
    return bool(Authenticator.objects.filter(user=user, type__in=FACTORS).exists())


def _shows_second_factor(record: dict[str, Any]) -> bool:
    if record["method"] == "socialaccount":
        return bool(settings.OIDC_PROVIDES_MFA)
    return bool(record["method"] == "mfa")


def _records(request: HttpRequest) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = get_authentication_records(request, request.user)
    return records
