"""`manage.py add_administrator ADDRESS --name NAME`: the first one, who lets in all others."""

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from allauth.account.forms import default_token_generator
from allauth.account.utils import user_pk_to_url_str
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.urls import reverse

from core.errors import DomainError
from teams import services
from teams.models import User


class Command(BaseCommand):
    """Makes an administrator, and prints a link by which he sets his password."""

    help = "Make the first administrator, and print a link by which he sets his password, once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options. There is none for a password: the shell would remember it."""
        parser.add_argument("email", help="the e-mail address to sign in with")
        parser.add_argument(
            "--name", required=True, help="what the person is called; kept for one who is known"
        )
        parser.add_argument(
            "--even-if-there-are-some",
            action="store_true",
            help="also when somebody administers already, for when none of them can sign in any more",
        )

    def handle(self, *, email: str, name: str, even_if_there_are_some: bool, **_options: Any) -> None:
        """Make the administrator and print the link."""
        try:
            person = services.add_administrator(
                email=email, name=name, even_if_there_are_some=even_if_there_are_some
            )
        except DomainError as error:
            raise CommandError(error.detail) from error
        days = timedelta(seconds=settings.PASSWORD_RESET_TIMEOUT).days
        self.stdout.write(f"{person.label} administers Purser from now on.")
        self.stdout.write(f"Set the password here, once, within {days} days; who has the link can:")
        self.stdout.write(link_to_set_password(person))


def link_to_set_password(person: User) -> str:
    """Return the address that "Forgot your password?" would have mailed; a new password ends it."""
    known = {"uidb36": user_pk_to_url_str(person), "key": default_token_generator.make_token(person)}
    return settings.BASE_URL + reverse("account_reset_password_from_key", kwargs=known)
