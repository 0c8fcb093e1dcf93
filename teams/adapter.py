"""How sign-in behaves: accounts are made by an administrator or the identity provider."""

from allauth.account.adapter import DefaultAccountAdapter
from django.http import HttpRequest


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth ships no types
    """allauth with public sign-up closed."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Nobody may open an account by himself."""
        return False
