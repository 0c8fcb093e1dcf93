"""Who has to have a second factor: whoever holds a role, and whoever decides for somebody who does."""

import teams.adapter
from approvals.models import lent_to
from teams import sign_in
from teams.models import User


def needs_second_factor(user: User) -> bool:
    """Whether the person holds a role, lead and above, or is lent one now. At most two queries."""
    return sign_in.needs_second_factor(user) or lent_to(user).exists()


class SecondFactorAdapter(teams.adapter.SecondFactorAdapter):
    """The adapter of sign-in that knows of delegations too."""

    def needs_second_factor(self, user: User) -> bool:
        """Whether the person has to have one."""
        return needs_second_factor(user)
