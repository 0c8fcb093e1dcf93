"""`manage.py seed_demo`: the demo organisation, for an installation that has nobody in it yet."""

import os
import secrets
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from portal.demo import seed
from portal.demo.story import DOMAIN, PEOPLE
from teams.models import User

SIGN_INS = Path(settings.BASE_DIR) / ".local" / "demo-sign-ins.txt"
WORTH_TRYING = {
    "ada": "engineer: asks for access",
    "ben": "her team's lead: approves Tier 2",
    "cleo": "his director: approves Tier 3",
    "fay": "finance: sees and limits everything",
    "audrey": "auditor: reads everything",
    "ann": "administrator",
}


class Command(BaseCommand):
    """Makes the demo organisation and says how to sign in."""

    help = "Load the demo organisation into an empty database and write its sign-ins to .local/."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--if-empty", action="store_true", help="do nothing when there are people already"
        )
        parser.add_argument("--password", help="the password of everybody, instead of a random one")
        parser.add_argument(
            "--sign-ins", type=Path, default=SIGN_INS, help="the file to write the sign-ins to"
        )

    def handle(
        self, *, if_empty: bool, password: str | None, sign_ins: Path, verbosity: int, **_options: Any
    ) -> None:
        """Seed, unless there is anybody."""
        if User.objects.exists():
            if if_empty:
                return
            raise CommandError(
                "There are people in this database already. Demo data goes into an empty one only:"
                " use another database, or --if-empty to leave this one as it is."
            )
        chosen = password or secrets.token_urlsafe(12)
        made = seed(password=chosen)
        _write_privately(sign_ins, _text(chosen))
        if verbosity:
            self.stdout.write(
                f"Made Northwind: {made.people} people, {made.projects} projects, {made.calls:,} calls.\n"
                f"{_text(chosen)}(also in {sign_ins})"
            )


def _text(password: str) -> str:
    lines = [f"  {f'{short}@{DOMAIN}':26} {PEOPLE[short]:14} {what}" for short, what in WORTH_TRYING.items()]
    return "\n".join([f"Demo sign-ins, all with the password {password}", *lines, ""])


def _write_privately(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whoever had it before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
