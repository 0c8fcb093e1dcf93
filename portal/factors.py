"""Who has to have a second factor: whoever holds a role, and whoever decides for somebody who does."""

from typing import Any

from django.conf import settings
from django.urls import reverse
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

import teams.adapter
from approvals.models import lent_to
from core.errors import NotAllowedError
from core.models import SlackLink
from keys.models import ApiToken, ServiceAccount
from teams import sign_in
from teams.models import User


class SecondFactorMissingError(NotAllowedError):
    """The person holds a role, or was lent one, and has no second factor yet."""

    code = "second_factor_missing"
    title = "A second factor is needed"


def needs_second_factor(user: User) -> bool:
    """Whether the person holds a role, lead and above, or is lent one now. At most two queries."""
    return sign_in.needs_second_factor(user) or lent_to(user).exists()


def lacks_factor_in_slack(link: SlackLink) -> bool:
    """Whether a press in Slack proves less than the person has to show before a page lets him decide.

    There is no session there: the account stands for the sign-in in which it was linked, for as long as he
    has a factor. A provider's own factor cannot be looked up.
    """
    if not settings.MFA_REQUIRED or not needs_second_factor(link.person):
        return False
    kept = _has_factor(link.person)
    return not (link.with_second_factor and kept)


class SecondFactorOfTheOwner(BasePermission):
    """A token opens no more than its owner's session: he may have made it before he had a role.

    A service cannot sign in: who gave it its role answered for that.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        """Let the call go on. Raises SecondFactorMissingError. At most three queries."""
        if not settings.MFA_REQUIRED or not isinstance(request.auth, ApiToken):
            return True
        owner = request.auth.owner
        if not needs_second_factor(owner) or _has_factor(owner):
            return True
        if ServiceAccount.objects.filter(user=owner).exists():
            return True
        raise SecondFactorMissingError(
            f"{owner} needs a second factor now, so this token waits for it. Set one up in the browser.",
            next_url=reverse("mfa_index"),
        )


def _has_factor(person: User) -> bool:
    """Whether the person cannot sign in without a second factor, kept here or at the provider."""
    return settings.OIDC_PROVIDES_MFA or sign_in.has_factor(person)


class SecondFactorAdapter(teams.adapter.SecondFactorAdapter):
    """The adapter of sign-in that knows of delegations too."""

    def needs_second_factor(self, user: User) -> bool:
        """Whether the person has to have one."""
        return needs_second_factor(user)
