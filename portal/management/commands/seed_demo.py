"""`manage.py seed_demo`: the demo organisation, for an installation that has nobody in it yet."""

import os
import secrets
from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from portal.demo import Seeded, seed_history
from portal.demo import seed as small_seed
from portal.demo.story import DOMAIN, PEOPLE
from teams.models import User
from usage.services import fold_days

SIGN_INS = Path(settings.BASE_DIR) / ".local" / "demo-sign-ins.txt"
DAYS, SEED = 90, 20_261_123
WORTH_TRYING = {
    "ada": "engineer: asks for access",
    "ben": "her team's lead: approves Tier 2",
    "cleo": "the director: approves Tier 3",
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
            "--sign-ins",
            type=Path,
            help="the file to write the sign-ins to; one in .local/ where the password is made up",
        )
        parser.add_argument(
            "--events",
            type=_count,
            metavar="N",
            help="a long history of so many calls",
        )
        parser.add_argument(
            "--days", type=_count, default=DAYS, help="how many days the long history has (90)"
        )
        parser.add_argument(
            "--seed", type=int, default=SEED, help="another number makes up another long history"
        )

    def handle(
        self, *, if_empty: bool, password: str | None, sign_ins: Path | None, verbosity: int, **options: Any
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
        made = _seed(chosen, **options)
        fold_days()
        kept_in = file_for(password, sign_ins)
        if kept_in:
            _write_privately(kept_in, _text(chosen))
        if verbosity:
            self.stdout.write(
                f"Made Northwind: {made.people} people, {made.projects} projects, {made.calls:,} calls.\n"
                f"{_text(chosen)}{f'(also in {kept_in})' if kept_in else ''}"
            )


def file_for(password: str | None, wanted: Path | None) -> Path | None:
    """Return where the sign-ins are kept; nowhere, unless told, when the password was chosen by who asks.

    Those of `make run` stay what they are while something else makes the same people elsewhere.
    """
    return wanted or (None if password else SIGN_INS)


def _seed(password: str, *, events: int | None, days: int, seed: int, **_options: Any) -> Seeded:
    if events is None:
        return small_seed(password=password)
    return seed_history(password=password, days=days, calls=events, seed=seed)


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ArgumentTypeError("it must be 1 or more")
    return number


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
