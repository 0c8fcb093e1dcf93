"""Who has to have a second factor: whoever holds a role, and whoever decides for somebody who does."""

from django.conf import settings

import teams.adapter
from approvals.models import lent_to
from core.errors import NotAllowedError
from core.models import SlackLink
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
    kept = settings.OIDC_PROVIDES_MFA or sign_in.has_factor(link.person)
    return not (link.with_second_factor and kept)


class SecondFactorAdapter(teams.adapter.SecondFactorAdapter):
    """The adapter of sign-in that knows of delegations too."""

    def needs_second_factor(self, user: User) -> bool:
        """Whether the person has to have one."""
        return needs_second_factor(user)
